"""Panel: Cluster. Where the nodes are, and how each of them is."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any, Literal

import ipywidgets as widgets

from aiotwin_nb.cluster import find_kubeconfigs, providers
from aiotwin_nb.continuum import Node, Role
from aiotwin_nb.errors import AIoTwinError
from aiotwin_nb.orchestration.ports import ClusterProvider, ClusterStatus
from aiotwin_nb.scenario import number
from aiotwin_nb.widgets.latest import Latest
from aiotwin_nb.widgets.painter import Painter
from aiotwin_nb.widgets.panel import Panel
from aiotwin_nb.widgets.session import Session
from aiotwin_nb.widgets.theme import (
    FULL,
    LABELS,
    box,
    chip,
    complaint,
    heading,
    html,
    remark,
    style_sheet,
    table,
)

WAYS = (("Embedded", "embedded"), ("Attach", "attach"), ("Create (K3s)", "create"))
TIPS = (
    "All nodes are simulated on this machine",
    "Use a cluster that exists, by its kubeconfig",
    "Make a K3s cluster on this machine",
)
K3D_INSTALLER = "https://raw.githubusercontent.com/k3d-io/k3d/main/install.sh"
CREATORS = {"k3d": "K3s in Docker (k3d)", "k3s": "K3s on this machine"}
ROLES = {Role.GLOBAL_AGGREGATOR: "global aggregator", Role.LOCAL_AGGREGATOR: "local aggregator", Role.CLIENT: "client"}
COLUMNS = (
    ("Node", "its id"),
    ("Role", "what it does in the pipeline"),
    ("State", "whether it can take part"),
    ("CPU ", "cores"),
    ("Memory ", "of the node"),
    ("Links", "cost per MB to other nodes"),
    ("Data", "training samples, and their labels"),
)
LABELS_SHOWN = 6
CALM = 0.2  # seconds between two drawings of the table at least

Do = Literal["look", "get", "delete"]


@dataclass(frozen=True)
class Errand:
    """What a provider is asked, in the background: look how the cluster is, get it, or delete it."""

    do: Do
    name: str
    options: Mapping[str, Any]


class ClusterPanel(Panel):
    """Embedded, attach or create; and the table of the nodes.

    Clusters come from providers (`aiotwin_nb.cluster_providers`); they are asked in a thread.
    """

    title = "Cluster"

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self.status: ClusterStatus | None = None  # of the cluster, once its provider has told
        self.missing: tuple[str, ...] = ()
        self.trouble = ""
        self._made: dict[tuple[Any, ...], ClusterProvider] = {}
        self._shown: Any = None
        self._setting = False
        self._way = widgets.ToggleButtons(options=WAYS, tooltips=TIPS, style={"button_width": "auto"})
        self._way.add_class("aiotwin-ways")
        self._file = widgets.Dropdown(description="Kubeconfig", tooltip="Files that exist here", style=LABELS)
        self._context = widgets.Dropdown(description="Context", tooltip="A cluster and a user in it", style=LABELS)
        self._creator = widgets.Dropdown(
            options=[(words, name) for name, words in CREATORS.items()], description="With", style=LABELS
        )
        for control in (self._file, self._context, self._creator):
            control.layout = widgets.Layout(**FULL)
        self._get = widgets.Button(description="Attach", icon="link", tooltip="Use this cluster")
        self._look = widgets.Button(description="Look again", icon="refresh", tooltip="Ask the cluster how it is")
        self._delete = widgets.Button(description="Delete", icon="trash", tooltip="Delete what was created here")
        self._buttons = box(widgets.HBox, [self._get, self._look, self._delete], "aiotwin-row")
        self._note, self._table = html(), html()
        self.children = [
            style_sheet(),
            html(heading("Cluster", "where the nodes are")),
            self._way,
            self._file,
            self._context,
            self._creator,
            self._note,
            self._buttons,
            self._table,
        ]
        self._errands: Latest[Errand] = Latest(self._run_errand, name="aiotwin-cluster")
        self._tables = Painter(self._draw_table, pause=CALM, name="aiotwin-nodes")
        self._way.observe(lambda _: self._choose(), "value")
        self._file.observe(lambda _: None if self._setting else self._file_chosen(), "value")
        for control in (self._context, self._creator):
            control.observe(self._chosen, "value")
        self._get.on_click(lambda _: self._ask("get"))
        self._look.on_click(lambda _: self._ask("look"))
        self._delete.on_click(lambda _: self._ask("delete"))
        session.observe(lambda _: self._tables.touch(), ["scenario", "snapshot", "selected"])
        self._choose()
        self._draw_table()

    @property
    def way(self) -> str:
        """embedded, attach or create."""
        return str(self._way.value)

    def choose(self, way: str) -> None:
        """Choose embedded, attach or create."""
        self._way.value = way

    def describe(self) -> str:
        """Where the nodes are, and the nodes, in words."""
        where = {"embedded": "embedded: all nodes are simulated on this machine"}.get(self.way, self._where())
        return "\n".join([where, *(", ".join(part for part in row if part) for row in self._plain_rows())])

    def close(self) -> None:
        """End what asks in the background; clusters stay as they are."""
        self._errands.close()
        self._tables.close()
        super().close()

    # Ways to a cluster.

    def _choose(self) -> None:
        way = self.way
        files = find_kubeconfigs() if way == "attach" else []
        with self._quietly():
            _offer(self._file, [(_home(each.path), each) for each in files])
            self._offer_contexts()
        self._file.layout.display = self._context.layout.display = None if files else "none"
        self._creator.layout.display = None if way == "create" else "none"
        self._get.description, self._get.icon = ("Attach", "link") if way == "attach" else ("Create", "plus")
        self._delete.layout.display = None if way == "create" else "none"
        self._ask("look")
        self._tables.touch()

    def _file_chosen(self) -> None:
        with self._quietly():
            self._offer_contexts()
        self._ask("look")

    def _offer_contexts(self) -> None:
        chosen = self._file.value
        _offer(self._context, [(name, name) for name in chosen.contexts] if chosen is not None else [])
        self._context.disabled = self._context.value is None

    @contextmanager
    def _quietly(self) -> Iterator[None]:
        """While choices are set by the panel itself, nobody is asked."""
        self._setting = True
        try:
            yield
        finally:
            self._setting = False

    def _chosen(self, _: Any) -> None:
        if not self._setting:
            self._ask("look")

    def _errand(self, do: Do) -> Errand | None:
        """What to ask which provider; None when there is nobody to ask."""
        if self.way == "create":
            return Errand(do, str(self._creator.value), {})
        file = self._file.value
        if self.way == "embedded" or file is None or self._context.value is None:
            return None
        return Errand(do, "attach", {"kubeconfig": file.path, "context": self._context.value})

    def _ask(self, do: Do) -> None:
        self.status, self.missing, self.trouble = None, (), ""
        errand = self._errand(do)
        if errand is None or errand.name not in providers.names():
            self._draw_note()
            return
        self._note.value = remark({"look": "asking …", "get": "getting the cluster …", "delete": "deleting …"}[do])
        self._enable(False)
        self._errands.ask(errand)

    def _run_errand(self, errand: Errand) -> None:
        """Ask a provider, in the thread; whatever it answers or raises is shown."""
        status: ClusterStatus | None = None
        missing: tuple[str, ...] = ()
        trouble = ""
        try:
            provider = self._provider(errand)
            missing = tuple(provider.missing())
            if not missing or errand.do == "delete":
                status = self._answer(provider, errand.do)
        except AIoTwinError as error:
            trouble = str(error)
        except Exception as error:  # a provider talks to the world: anything may go wrong, and the lab goes on
            trouble = f"{errand.name}: {type(error).__name__}: {error}"
        if self._errands.overtaken or errand.name != getattr(self._errand(errand.do), "name", None):
            return
        self.status, self.missing, self.trouble = status, missing, trouble
        self._draw_note()
        self._draw_table()

    def _answer(self, provider: ClusterProvider, do: Do) -> ClusterStatus:
        if do == "get":
            return provider.create(self.session.scenario.resolved())
        if do == "delete":
            provider.delete()
        return provider.status()

    def _provider(self, errand: Errand) -> ClusterProvider:
        key = (errand.name, *sorted((name, str(value)) for name, value in errand.options.items()))
        if key not in self._made:
            self._made[key] = providers.get(errand.name)(**errand.options)
        return self._made[key]

    # What is shown.

    def _enable(self, enabled: bool) -> None:
        for button in (self._get, self._look, self._delete):
            button.disabled = not enabled

    def _draw_note(self) -> None:
        lacks = self._lacks()
        parts = [complaint(self.trouble)]
        if lacks:
            items = "".join(f"<li>{_with_code(each)}</li>" for each in lacks)
            parts.append(f"<div class='aiotwin-complaint'>What is missing for this:<ul>{items}</ul></div>")
        if self.way == "embedded":
            parts.append(remark(f"All nodes are simulated on this machine ({_machine()}); nothing else is needed."))
        elif self.status is not None:
            kind = "good" if self.status.reachable else "bad"
            word = "reachable" if self.status.reachable else "not reachable"
            version = f" {escape(self.status.version)}" if self.status.version else ""
            parts.append(f"<div>{chip(word, kind)} <b>{escape(self.status.name)}</b>{version}</div>")
        self._note.value = "".join(parts)
        there = self._errand("look")
        self._buttons.layout.display = "none" if there is None or there.name not in providers.names() else None
        self._enable(True)
        self._get.disabled = bool(lacks)

    def _lacks(self) -> list[str]:
        """What this machine or this version lacks for the chosen way, each with the command that gets it."""
        if self.way == "embedded":
            return []
        told = [*self.missing, *(self.status.missing if self.status else ())]
        if self.way == "attach":
            return [*_attach_lacks(self._file.options, self._file.value), *told]
        return [*_create_lacks(str(self._creator.value)), *told]

    def _where(self) -> str:
        lines = [f"{self.way}: " + ("; ".join(self._lacks()) or self.trouble or "not asked yet")]
        if self.status is not None:
            lines = [f"{self.way}: {self.status.name}, {'reachable' if self.status.reachable else 'not reachable'}"]
        return lines[0].replace("`", "")

    def _draw_table(self) -> None:
        rows = self._plain_rows()
        shown = (rows, self.session.selected)
        if shown == self._shown:
            return
        self._shown = shown
        words = "of the cluster" if self._of_cluster() else "of the run" if self.session.snapshot else "of the scenario"
        marked = [(_row_class(row, self.session.selected), [escape(cell) for cell in row]) for row in rows]
        self._table.value = heading(f"{len(rows)} nodes", words) + table(COLUMNS, marked, "Nodes")

    def _of_cluster(self) -> ClusterStatus | None:
        """The cluster whose nodes are shown; None while those of the scenario or the run are."""
        return None if self.way == "embedded" else self.status

    def _plain_rows(self) -> list[tuple[str, ...]]:
        status = self._of_cluster()
        return list(self._scenario_rows()) if status is None else [_cluster_row(node) for node in status.nodes]

    def _scenario_rows(self) -> Iterable[tuple[str, ...]]:
        snapshot = self.session.snapshot
        ready = "ready (simulated)" if self.way == "embedded" else "declared in the scenario"
        if snapshot is None:
            for node in self.session.scenario.infrastructure.nodes.values():
                yield _node_row(node, ready)
            return
        for node in snapshot.state.infrastructure.nodes.values():
            yield _node_row(node, "outside the pipeline" if node.id in snapshot.state.idle else ready)
        for node in snapshot.state.departed.values():
            yield _node_row(node, "left")


def _offer(dropdown: widgets.Dropdown, options: Sequence[tuple[str, Any]]) -> None:
    """Set the options of a dropdown and choose the first."""
    dropdown.options = options
    dropdown.value = options[0][1] if options else None


def _node_row(node: Node, state: str) -> tuple[str, ...]:
    links = ", ".join(f"{peer} {number(cost):,}" for peer, cost in node.links.items())
    return (node.id, ROLES[node.role], state, "shared", "shared", links, _data_words(node))


def _data_words(node: Node) -> str:
    if node.role is not Role.CLIENT:
        return ""
    if node.partition is not None:
        return f"part {node.partition[0]} of {node.partition[1]}"
    if not node.data:
        return "none declared"
    labels = [str(label) for label in node.data]
    shown = ", ".join(labels[:LABELS_SHOWN]) + (" …" if len(labels) > LABELS_SHOWN else "")
    noise = "" if node.label_noise.kind == "none" else f", {node.label_noise.share:.0%} wrong labels"
    return f"{node.samples:,} (labels {shown}{noise})"


def _cluster_row(node: Mapping[str, Any]) -> tuple[str, ...]:
    """A node as a provider tells of it (name, role, ready, cpu, memory, links, data); a dash for what it does not."""
    ready = node.get("ready")
    state = {True: "ready", False: "not ready", None: "–"}.get(ready, str(ready))
    links = node.get("links")
    words = ", ".join(f"{peer} {cost}" for peer, cost in links.items()) if isinstance(links, Mapping) else links
    name = node.get("name", node.get("id"))
    cells = (name, node.get("role"), state, node.get("cpu"), node.get("memory"), words, node.get("data"))
    return tuple("–" if cell is None else str(cell) for cell in cells)


def _row_class(row: tuple[str, ...], selected: str) -> str:
    if row[0] == selected:
        return "aiotwin-chosen"
    return "aiotwin-away" if row[2] in ("left", "outside the pipeline") else ""


def _attach_lacks(files: Any, chosen: Any) -> list[str]:
    lacks = []
    if "attach" not in providers.names():
        lacks.append("attaching to a cluster is not part of this version; choose Embedded")
    if importlib.util.find_spec("kubernetes") is None:
        lacks.append("the Kubernetes client: `pip install 'aiotwin-nb[kubernetes]'`")
    if not files:
        lacks.append("a kubeconfig ($KUBECONFIG, ~/.kube/config or K3s's own): `export KUBECONFIG=/path/to/kubeconfig`")
    elif chosen is not None and chosen.problem:
        lacks.append(f"{_home(chosen.path)} {chosen.problem}")
    return lacks


def _create_lacks(name: str) -> list[str]:
    lacks = []
    if name not in providers.names():
        lacks.append(f"creating a cluster with {name} is not part of this version; choose Embedded")
    if name == "k3d":
        if shutil.which("docker") is None:
            lacks.append("Docker: see docs.docker.com, 'Install Docker Engine'")
        if shutil.which("k3d") is None:
            lacks.append(f"k3d, by its official installer: `curl -s {K3D_INSTALLER} | bash`")
    elif shutil.which("k3s") is None:
        lacks.append("k3s, by its official installer (asks for root): `curl -sfL https://get.k3s.io | sh -`")
    return lacks


def _with_code(text: str) -> str:
    """Text with `commands` between backquotes, as HTML."""
    parts = escape(text).split("`")
    return "".join(f"<code>{part}</code>" if i % 2 else part for i, part in enumerate(parts))


def _home(path: Path) -> str:
    """A path as people write it: with ~ for the home folder."""
    try:
        return f"~/{path.relative_to(Path.home())}"
    except ValueError:
        return str(path)


def _machine() -> str:
    cores = os.cpu_count() or 1
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    except (ValueError, OSError, AttributeError):
        return f"{cores} cores"
    return f"{cores} cores, {memory:.0f} GB memory"
