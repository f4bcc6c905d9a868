"""Panel: Topology. The draft as it is planned, or the run as it stands; a click or a key selects a node."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path
from typing import Any

import anywidget
import ipywidgets as widgets
import traitlets

from aiotwin_nb import api
from aiotwin_nb.continuum import Node
from aiotwin_nb.errors import AIoTwinError
from aiotwin_nb.scenario import Scenario, number
from aiotwin_nb.scenario.model import ChangeSpec
from aiotwin_nb.widgets.figures import Picture, draw_topology
from aiotwin_nb.widgets.follow import SentCommand, Snapshot
from aiotwin_nb.widgets.nodes import ROLE_WORDS, NodeView, Shown, data_words, describe, message, of_draft, of_run
from aiotwin_nb.widgets.painter import Painter, same
from aiotwin_nb.widgets.panel import Panel
from aiotwin_nb.widgets.session import Session

_HERE = Path(__file__).parent
PAUSE = 0.05  # seconds between two updates
_PICTURE_AT_MOST = 60  # clients in a still picture, which has a row for each


class Topology(anywidget.AnyWidget):
    """The tree of the nodes. Only what is different is sent; a browser that comes later asks for the whole."""

    _esm = _HERE / "topology.js"
    _css = _HERE / "topology.css"
    graph = traitlets.Dict().tag(sync=True, to_json=lambda _, widget: widget.shown.as_message())
    selected = traitlets.Unicode("").tag(sync=True)

    def __init__(self, **options: Any) -> None:
        self.shown = Shown("")
        super().__init__(**options)

    def show(self, shown: Shown) -> None:
        """Show another topology, or the same with changes."""
        news = message(self.shown, shown)
        self.shown = shown
        if news is not None:
            self.send(news)


class TopologyPanel(Panel):
    """The tree of GA, LAs and clients, what is selected in detail, and a choice between the run and the draft."""

    title = "Topology"

    def __init__(self, session: Session) -> None:
        self.view = Topology(layout=widgets.Layout(width="100%"))
        self._heading = widgets.HTML()
        self._source = widgets.ToggleButtons(
            options=[("Run", "run"), ("Draft", "draft")],
            tooltips=["the run as it stands", "the scenario as it is planned now"],
            layout=widgets.Layout(display="none"),
            style={"button_width": "64px"},
        )
        self._card = widgets.HTML()
        head = widgets.HBox(
            [self._heading, self._source],
            layout=widgets.Layout(justify_content="space-between", align_items="center"),
        )
        super().__init__(session, children=[head, self.view, self._card])
        self._planned: tuple[Scenario, Shown] | None = None
        self._drawn: tuple[Any, ...] = ()
        self._painter = Painter(self._draw, pause=PAUSE, name="aiotwin-topology")
        self._tie = traitlets.link((session, "selected"), (self.view, "selected"))
        self._closed = False
        session.observe(self._wake, ["scenario", "snapshot", "phase"])
        session.observe(self._show_card, "selected")
        self._source.observe(self._wake, "value")
        self._wake()

    def settle(self, timeout: float = 10.0) -> bool:
        """Wait until everything that happened is shown; returns whether it is (timeout in seconds)."""
        return self._painter.settle(timeout)

    def describe(self) -> str:
        """The tree in words."""
        self.settle()
        return describe(self.view.shown)

    def picture(self) -> Picture | None:
        """The tree as a still picture; None where it has too many clients for one."""
        self.settle()
        shown = self.view.shown
        if not shown.nodes or len(shown.infrastructure.clients) > _PICTURE_AT_MOST:
            return None
        clusters = {a: [v.id for v in views if v.role == "client"] for a, views in shown.clusters().items() if a}
        joining = [view.id for view in shown.nodes.values() if view.standing in ("later", "trial")]
        return Picture(draw_topology(shown.infrastructure, clusters, joining=joining, title=shown.title))

    def close(self) -> None:
        """End the panel's thread; the run goes on. Safe to call twice."""
        if self._closed:
            return
        self._closed = True
        self._tie.unlink()
        self.session.unobserve(self._wake, ["scenario", "snapshot", "phase"])
        self.session.unobserve(self._show_card, "selected")
        self._painter.close()
        super().close()

    # Inside.

    def _wake(self, change: Any = None) -> None:
        self._painter.touch()

    def _draw(self) -> None:
        """Show what there is now; runs in the painter's thread."""
        session = self.session
        snapshot, scenario = session.snapshot, session.scenario
        self._source.layout.display = "none" if snapshot is None else ""
        run = snapshot is not None and self._source.value == "run"
        if run:
            assert snapshot is not None
            seen = _visible(snapshot)
            if same(seen, self._drawn):
                return self._title(of=snapshot)
            shown = of_run(snapshot.state, snapshot.path.name, _coming(snapshot.commands))
        else:
            seen, shown = ("draft", scenario), self._draft(scenario)
        self._drawn = seen
        self.view.show(shown)
        self._title(of=snapshot if run else None)
        self._show_card()
        return None

    def _title(self, of: Snapshot | None) -> None:
        shown = self.view.shown
        title = shown.title if of is None else f"{of.path.name}, after round {max(of.state.round, 0)}"
        problem = f' <span class="aiotwin-wrong">{escape(shown.problem)}</span>'
        text = f"<b>{escape(title)}</b>" + (problem if shown.problem else "")
        if self._heading.value != text:
            self._heading.value = text

    def _draft(self, scenario: Scenario) -> Shown:
        if self._planned is None or self._planned[0] is not scenario:
            try:
                shown = of_draft(scenario, api.plan(scenario))
            except AIoTwinError as error:
                shown = of_draft(scenario, None, str(error))
            self._planned = scenario, shown
        return self._planned[1]

    def _show_card(self, change: Any = None) -> None:
        shown, chosen = self.view.shown, self.session.selected
        view = shown.nodes.get(chosen)
        text = "" if view is None else card(view, shown.infrastructure.nodes[chosen], shown.labels)
        if self._card.value != text:
            self._card.value = text


def _visible(snapshot: Snapshot) -> tuple[Any, ...]:
    """The parts of a snapshot that the topology depends on; between rounds mostly the very same objects."""
    state = snapshot.state
    problems = state.checkpoint.result.problems if state.checkpoint else {}
    return (
        "run",
        snapshot.path,
        state.infrastructure,
        state.configuration,
        state.idle,
        state.departed,
        state.window,
        tuple(problems.items()),
        snapshot.commands,
        state.status,
    )


def _coming(commands: Iterable[SentCommand]) -> dict[str, tuple[int | None, Node]]:
    """Nodes that people have asked for and that have not joined yet."""
    found: dict[str, tuple[int | None, Node]] = {}
    for sent in commands:
        if sent.status == "received":
            spec = ChangeSpec.model_validate({"add": sent.command.get("add", [])})
            found |= {node.id: (sent.command.get("after_round"), node) for node in spec.to_change().added}
    return found


# The card of the selected node.


def card(view: NodeView, node: Node, labels: Iterable[int]) -> str:
    """A node in detail, as HTML: role, cluster, links with costs, samples per label, noise, load and speed."""
    rows = [("role", ROLE_WORDS[view.role])]
    if view.parent:
        cost = "" if view.cost is None else f", {view.cost:,} per MB"
        rows.append(("cluster", f"{view.parent}{cost}"))
    if view.why:
        rows.append(("state", view.why))
    if node.links:
        rows.append(("links (cost per MB)", _pairs({i: f"{number(c):,}" for i, c in node.links.items()}, view.parent)))
    if view.role == "client":
        rows.append(("data", data_words(view, list(labels))))
    if node.data:
        rows.append(("samples per label", _pairs({str(label): f"{n:,}" for label, n in sorted(node.data.items())})))
    if node.label_noise.kind != "none" and node.label_noise.share:
        kind = {"shift": "label + 1", "random": "drawn at random"}.get(node.label_noise.kind, node.label_noise.kind)
        rows.append(("label noise", f"{node.label_noise.share:.0%} wrong ({kind})"))
    if node.speed is not None:
        rows.append(("speed", f"{number(node.speed):,} samples/s"))
    if node.energy is not None:
        rows.append(("energy", f"{number(node.energy):,}"))
    if node.load:
        rows.append(("load after round 1, 2, …", " ".join(f"{value:.0%}" for value in node.load[:12])))
    cells = "".join(
        f"<dt>{escape(name)}</dt><dd>{text if text.startswith('<span') else escape(text)}</dd>" for name, text in rows
    )
    label = f"Details of node {escape(view.id)}"
    return f'<section class="aiotwin-card" aria-label="{label}"><b>{escape(view.id)}</b><dl>{cells}</dl></section>'


def _pairs(values: Mapping[str, str], used: str = "") -> str:
    """Names with values, the used one in bold."""
    return "".join(
        f"<span><i>{escape(name)}</i> {f'<b>{value}</b>' if name == used else value}</span>"
        for name, value in values.items()
    )
