"""Panel: Cluster. Where the nodes are, and how each of them is."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any, Literal

import ipywidgets as widgets

from aiotwin_nb.cluster import find_kubeconfigs, open_connection, providers
from aiotwin_nb.cluster.connection import DEFAULT_NAMESPACE, Connection
from aiotwin_nb.cluster.kubeconfig import Kubeconfig, read_kubeconfig
from aiotwin_nb.cluster.live import LiveNodes
from aiotwin_nb.cluster.records import Records
from aiotwin_nb.continuum import Node, Role
from aiotwin_nb.errors import AIoTwinError
from aiotwin_nb.orchestration.ports import ClusterPlace, ClusterProvider, ClusterStatus
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
KINDS_OF_NODES = (
    ("the scenario's, simulated: several on a node of the cluster", "simulated"),
    ("the cluster's own, as their labels say", "actual"),
)
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

    Clusters come from providers (`aiotwin_nb.cluster_providers`); they are asked in a thread. The one that is attached
    to becomes the session's `cluster`: there runs start. Its nodes are watched.
    """

    title = "Cluster"

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self.status: ClusterStatus | None = None  # of the cluster, once its provider has told
        self.missing: tuple[str, ...] = ()
        self.trouble = ""
        self._used: ClusterPlace | None = None
        self._live: LiveNodes | None = None
        self._made: dict[tuple[Any, ...], ClusterProvider] = {}
        self._shown: Any = None
        self._setting = False
        self._way = widgets.ToggleButtons(options=WAYS, tooltips=TIPS, style={"button_width": "auto"})
        self._way.add_class("aiotwin-ways")
        self._file = widgets.Dropdown(description="Kubeconfig", tooltip="Files that exist here", style=LABELS)
        self._context = widgets.Dropdown(description="Context", tooltip="A cluster and a user in it", style=LABELS)
        self._namespace = widgets.Text(
            description="Namespace",
            tooltip="Where pods are made; it has to exist",
            continuous_update=False,
            style=LABELS,
        )
        self._creator = widgets.Dropdown(
            options=[(words, name) for name, words in CREATORS.items()], description="With", style=LABELS
        )
        self._kind = widgets.Dropdown(
            options=KINDS_OF_NODES, description="Nodes", tooltip="Which nodes a run on the cluster has", style=LABELS
        )
        for control in (self._file, self._context, self._namespace, self._creator, self._kind):
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
            self._namespace,
            self._creator,
            self._kind,
            self._note,
            self._buttons,
            self._table,
        ]
        self._errands: Latest[Errand] = Latest(self._run_errand, name="aiotwin-cluster")
        self._tables = Painter(self._draw_table, pause=CALM, name="aiotwin-nodes")
        self._way.observe(lambda _: self._choose(), "value")
        self._file.observe(lambda _: None if self._setting else self._file_chosen(), "value")
        self._context.observe(lambda _: None if self._setting else self._context_chosen(), "value")
        for control in (self._namespace, self._creator):
            control.observe(self._chosen, "value")
        self._kind.observe(lambda _: self._use(self._used), "value")
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
        if self._live is not None:
            self._live.close()
        self._tables.close()
        super().close()

    # Ways to a cluster.

    def _choose(self) -> None:
        way = self.way
        files = _files() if way == "attach" else []
        with self._quietly():
            _offer(self._file, [(_home(each.path), each) for each in files])
            self._offer_contexts()
        for control in (self._file, self._context, self._namespace):
            control.layout.display = None if files else "none"
        self._creator.layout.display = None if way == "create" else "none"
        self._kind.layout.display = "none" if way == "embedded" else None
        self._get.description, self._get.icon = ("Attach", "link") if way == "attach" else ("Create", "plus")
        self._delete.layout.display = None if way == "create" else "none"
        self._ask("look")
        self._tables.touch()

    def _file_chosen(self) -> None:
        with self._quietly():
            self._offer_contexts()
        self._ask("look")

    def _context_chosen(self) -> None:
        with self._quietly():
            self._offer_namespace()
        self._ask("look")

    def _offer_contexts(self) -> None:
        file, known = self._file.value, self._attached_here()
        names = file.contexts if file is not None else ()
        _offer(self._context, [(name, name) for name in names], known and known.context)
        self._context.disabled = self._context.value is None
        self._offer_namespace()

    def _offer_namespace(self) -> None:
        """The namespace of the attached cluster, else that of the context, else the usual one."""
        file, known, context = self._file.value, self._attached_here(), self._context.value
        named = {entry.name: entry.namespace for entry in file.entries} if file is not None else {}
        if known is not None:
            named[known.context] = known.namespace
        self._namespace.value = named.get(context, "") or DEFAULT_NAMESPACE

    def _attached_here(self) -> ClusterPlace | None:
        """The cluster that is attached to, where it is one of the chosen file."""
        file, attached = self._file.value, _attached()
        return attached if file is not None and attached is not None and _is_file_of(file, attached) else None

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
        if self.way == "embedded":
            return None
        if self.way == "create":
            return Errand(do, str(self._creator.value), {})
        file = self._file.value
        named = {
            "kubeconfig": None if file is None else file.path,
            "context": self._context.value,
            "namespace": self._namespace.value.strip() or None if file is not None else None,
        }
        return Errand(do, "attach", {name: value for name, value in named.items() if value is not None})

    def _ask(self, do: Do) -> None:
        self.status, self.missing, self.trouble = None, (), ""
        self._use(None)
        self._follow_nodes(None)
        errand = self._errand(do)
        if errand is None:
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
        self._follow_nodes(status)
        if status is not None and status.reachable and (errand.do == "get" or _is_attached(status)):
            self._use(status.place)
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

    def _use(self, place: ClusterPlace | None) -> None:
        """Have runs start on a cluster; None: on this machine."""
        self._used = place
        chosen = None if place is None else {**vars(place), "infrastructure": str(self._kind.value)}
        self.session.set_trait("cluster", chosen)

    def _follow_nodes(self, status: ClusterStatus | None) -> None:
        """Watch the nodes of a cluster that answers, and those of the one before no longer."""
        before, self._live = self._live, None
        if before is not None:  # a server that hangs must not hold people up
            threading.Thread(target=before.close, name="aiotwin-cluster-end", daemon=True).start()
        if status is not None and status.reachable and status.place is not None:
            self._live = LiveNodes(_connect(status.place), self._nodes_changed).start()

    def _nodes_changed(self) -> None:
        self._tables.touch()

    # What is shown.

    def _enable(self, enabled: bool) -> None:
        for button in (self._get, self._look, self._delete):
            button.disabled = not enabled

    def _draw_note(self) -> None:
        parts = [complaint(self.trouble)]
        if lacks := self._lacks():
            parts.append(f"<div class='aiotwin-complaint'>What is missing for this:{_items(lacks)}</div>")
        if self.way == "embedded":
            parts.append(remark(f"All nodes are simulated on this machine ({_machine()}); nothing else is needed."))
        elif self.status is not None:
            parts.append(self._status_html(self.status))
        self._note.value = "".join(parts)
        self._buttons.layout.display = "none" if self.way == "embedded" else None
        self._enable(True)
        self._get.disabled = bool(self.missing)

    def _status_html(self, status: ClusterStatus) -> str:
        word, kind = ("reachable", "good") if status.reachable else ("not reachable", "bad")
        version = f" {escape(status.version)}" if status.version else ""
        used = f" {chip('runs start here', 'good')}" if self.session.cluster is not None else ""
        notes = f"<div class='aiotwin-remark'>Good to know:{_items(status.notes)}</div>" if status.notes else ""
        return f"<div>{chip(word, kind)} <b>{escape(status.name)}</b>{version}{used}</div>{notes}"

    def _lacks(self) -> list[str]:
        """What this machine or the cluster lacks for the chosen way, each with the command that gets it."""
        return [*self.missing, *(self.status.missing if self.status else ())]

    def _where(self) -> str:
        lines = [f"{self.way}: " + ("; ".join(self._lacks()) or self.trouble or "not asked yet")]
        if self.status is not None:
            lines = [f"{self.way}: {self.status.name}, {'reachable' if self.status.reachable else 'not reachable'}"]
            lines += [f"missing: {each}" for each in self._lacks()]
            lines += [f"note: {each}" for each in self.status.notes]
        return "\n".join(lines).replace("`", "")

    def _draw_table(self) -> None:
        rows = self._plain_rows()
        news = self._news()
        shown = (rows, news, self.session.selected)
        if shown == self._shown:
            return
        self._shown = shown
        words = "of the cluster" if self._of_cluster() else "of the run" if self.session.snapshot else "of the scenario"
        marked = [(_row_class(row, self.session.selected), [escape(cell) for cell in row]) for row in rows]
        self._table.value = heading(f"{len(rows)} nodes", words) + news + table(COLUMNS, marked, "Nodes")

    def _news(self) -> str:
        """Whether the table of a cluster is up to date."""
        live = self._live
        if live is None:
            return ""
        if not live.problem:
            return chip("watched", "good", "The cluster tells of every change of its nodes")
        words = f"not up to date: nothing was heard for {live.stale_seconds:.0f} s ({live.problem})"
        return f"<div role='status'>{chip('stale', 'bad')} {escape(words)}</div>"

    def _of_cluster(self) -> ClusterStatus | None:
        """The cluster whose nodes are shown; None while those of the scenario or the run are."""
        return None if self.way == "embedded" else self.status

    def _plain_rows(self) -> list[tuple[str, ...]]:
        status, live = self._of_cluster(), self._live
        if status is None:
            return list(self._scenario_rows())
        return [_cluster_row(node) for node in (live and live.rows) or status.nodes]

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


def _offer(dropdown: widgets.Dropdown, options: Sequence[tuple[str, Any]], wanted: Any = None) -> None:
    """Set the options of a dropdown and choose the one that is wanted, else the first."""
    dropdown.options = options
    values = [value for _, value in options]
    dropdown.value = wanted if wanted in values else values[0] if values else None


def _attached() -> ClusterPlace | None:
    """The cluster that is attached to."""
    try:
        return Records().attached
    except AIoTwinError:  # a damaged record is told by whoever is asked for it
        return None


def _files() -> list[Kubeconfig]:
    """The kubeconfig files that exist, that of the attached cluster first."""
    found, attached = find_kubeconfigs(), _attached()
    if attached is None or not Path(attached.kubeconfig).is_file():
        return found
    others = [file for file in found if not _is_file_of(file, attached)]
    return [read_kubeconfig(Path(attached.kubeconfig)), *others]


def _is_file_of(file: Kubeconfig, attached: ClusterPlace) -> bool:
    return str(file.path.absolute()) == attached.kubeconfig


def _connect(place: ClusterPlace) -> Connection:
    return open_connection(place.kubeconfig, place.context, place.namespace)


def _is_attached(status: ClusterStatus) -> bool:
    """Whether it is the cluster that is attached to already."""
    attached = _attached()
    return attached is not None and status.place == attached


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
    state = node.get("state") or {True: "ready", False: "not ready"}.get(bool(node.get("ready")), "–")
    links = node.get("links")
    words = ", ".join(f"{peer} {cost}" for peer, cost in links.items()) if isinstance(links, Mapping) else links
    name = node.get("name", node.get("id"))
    cells = (name, node.get("role"), state, node.get("cpu"), node.get("memory"), words, node.get("data"))
    return tuple("–" if cell is None else str(cell) for cell in cells)


def _row_class(row: tuple[str, ...], selected: str) -> str:
    if row[0] == selected:
        return "aiotwin-chosen"
    return "aiotwin-away" if row[2] in ("left", "outside the pipeline") else ""


def _items(texts: Iterable[str]) -> str:
    return f"<ul>{''.join(f'<li>{_with_code(each)}</li>' for each in texts)}</ul>"


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
