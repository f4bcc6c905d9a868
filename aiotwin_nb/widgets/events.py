"""Panel: Events. Make things happen to the nodes: now or later, in the running run or in the draft's script."""

from __future__ import annotations

import time
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

import ipywidgets as widgets
import yaml

from aiotwin_nb import api
from aiotwin_nb.cluster.happenings import Happenings
from aiotwin_nb.continuum import Infrastructure, Role
from aiotwin_nb.errors import AIoTwinError, InvalidInput
from aiotwin_nb.orchestration.foretell import Foretold, begun, foretell
from aiotwin_nb.orchestration.inbox import Command, find_mistakes, next_boundary, nodes_at, parse_command
from aiotwin_nb.orchestration.rundir import scenario_yaml
from aiotwin_nb.orchestration.state import RunState
from aiotwin_nb.scenario import NodeSpec, Scenario
from aiotwin_nb.widgets import happenings
from aiotwin_nb.widgets.deeds import Deed, Doer
from aiotwin_nb.widgets.field import Field
from aiotwin_nb.widgets.follow import Snapshot
from aiotwin_nb.widgets.library import ready_nodes
from aiotwin_nb.widgets.painter import Painter, same
from aiotwin_nb.widgets.panel import Panel
from aiotwin_nb.widgets.session import Session

PAUSE = 0.1  # seconds between two estimates
CLASSES = 10  # labels of every built-in data set
_SLOW = 0.25  # seconds from which on an estimate is not made anew with every round
_OWN = "own"
_LABELLED = "labelled"
_ENDS = (
    ("cordon", "cordon: nothing new starts there"),
    ("drain", "drain: its pods end in good order"),
    ("kill", "kill: its pods end as in a crash"),
)
_KINDS = {
    "join": "A node joins",
    "leave": "A node leaves",
    "fail": "An aggregator fails",
    "link": "A link changes",
    "data": "Data change",
}
_FIELDS = {  # which fields each kind of event has
    "join": ("ready", "id", "role", "links", "data", "part", "noise", "share"),
    "leave": ("node",),
    "fail": ("node",),
    "link": ("node", "peer", "cost"),
    "data": ("node", "label", "samples"),
}


class EventsPanel(Panel):
    """A form for one event with what is foretold of it, and the list of everything that happens to the run.

    Events of a run on a cluster are made to happen there where they can be: pods are killed and, where nodes are the
    cluster's own, these are labelled, cordoned or drained. The run hears of it from the cluster.
    """

    title = "Events"

    def __init__(self, session: Session) -> None:
        self.kind = widgets.ToggleButtons(
            options=[(text, kind) for kind, text in _KINDS.items()],
            tooltips=list(_KINDS.values()),
            style={"button_width": "auto"},
        )
        self.fields = _fields()
        self.confirm = widgets.Button(description="Confirm", button_style="primary", layout=_BUTTON)
        self.said = widgets.HTML()
        self.estimate = widgets.HTML()
        self.listed = widgets.HTML()
        self.export = widgets.Button(description="Export as scenario", layout=_BUTTON)
        self.dropping = widgets.Button(description="Take out of the draft", layout=_BUTTON)
        self._goes_to = widgets.HTML()
        self._form = widgets.VBox(layout={"flex": "1 1 380px", "min_width": "320px"})
        self._drop_row = widgets.HBox([self.fields["event"], self.dropping], layout=_ROW)
        beside = widgets.VBox(
            [self.estimate, widgets.HBox([self.confirm], layout=_ROW), self.said],
            layout={"flex": "1 1 320px", "min_width": "300px"},
        )
        super().__init__(
            session,
            children=[
                self._goes_to,
                self.kind,
                widgets.HBox([self._form, beside], layout={"flex_flow": "row wrap", "grid_gap": "4px 28px"}),
                widgets.HTML("<b>What happens and happened</b>"),
                self.listed,
                self._drop_row,
                widgets.HBox([self.fields["file"], self.export], layout=_ROW),
            ],
        )
        self._begun: tuple[Scenario, RunState] | None = None
        self._told: Foretold | None = None
        self._told_for: tuple[Any, ...] = ()
        self._told_in = 0.0
        self._seen: tuple[Any, ...] = ()
        self._filling = self._closed = False
        self._filled: dict[str, str] = {}
        self._on: tuple[Path | None, str] = None, ""  # the run that was looked at, and whose nodes it has on a cluster
        self._doer = Doer(self._hands, self._tell)
        self._doing_deed = False
        self._asked = 0  # counts the form's changes, so that an estimate that comes late is dropped
        self._painter = Painter(self._refresh, pause=PAUSE, name="aiotwin-events")
        self.kind.observe(self._changed_kind, "value")
        self.fields["ready"].observe(self._fill, "value")
        for name, field in self.fields.items():
            if name not in ("ready", "file", "event"):
                field.observe(self._changed, "value")
        self.fields["file"].observe(self._check_file, "value")
        self.confirm.on_click(self._confirm)
        self.export.on_click(self._export)
        self.dropping.on_click(self._take_out)
        session.observe(self._follow, ["scenario", "snapshot", "phase"])
        session.observe(self._selected, "selected")
        self._offer()
        self.fields["ready"].value = self.fields["ready"].choices[0][0]
        self._changed_kind()

    def settle(self, timeout: float = 10.0) -> bool:
        """Wait until the estimate and the list are up to date; returns whether they are (timeout in seconds)."""
        return self._painter.settle(timeout)

    def describe(self) -> str:
        """What happens and happened, and what is foretold of the event in the form."""
        self.settle()
        lines = ["Events", happenings.as_text(self.happenings) or "nothing has happened and nothing is scripted"]
        if self._told is not None and not self.mistakes:
            lines += [f"in the form: {happenings.words(self.change)}", happenings.foretold_text(self._told)]
        return "\n".join(lines)

    def close(self) -> None:
        """End the panel's thread. Safe to call twice."""
        if self._closed:
            return
        self._closed = True
        self.session.unobserve(self._follow, ["scenario", "snapshot", "phase"])
        self.session.unobserve(self._selected, "selected")
        self._doer.close()
        self._painter.close()
        super().close()

    # What the form says.

    @property
    def live(self) -> Snapshot | None:
        """The run that events go to; None when they go into the draft."""
        snapshot = self.session.snapshot
        return snapshot if snapshot is not None and snapshot.status in ("running", "stopped", "interrupted") else None

    @property
    def on_cluster(self) -> str:
        """Whose nodes the run that events go to has on a cluster: simulated or actual; empty where it is on none."""
        run = self.session.run
        if run is None or self.live is None:
            return ""
        if self._on[0] != run.path:
            options = api.cluster_of(run.path)
            self._on = run.path, "" if options is None else options.infrastructure
        return self._on[1]

    @property
    def deed(self) -> Deed | None:
        """What is to be done to the run's cluster; None where the event is a command to the run, or for the draft."""
        if not self._is_deed():
            return None
        node, how = self.fields["node"].value, self.fields["how"].value
        if self.kind.value == "fail":
            return Deed("fail", node)
        if self.kind.value == "leave":
            return Deed("remove", node, how=how)  # type: ignore[arg-type]  # one of the field's choices
        labels = None if self._as_labelled() else NodeSpec.model_validate(self.change["add"][0]).to_node()
        return Deed("add", self.fields["machine"].value.strip(), labels=labels)

    @property
    def happenings(self) -> list[happenings.Happening]:
        """Everything scripted and injected, of the run if there is one, else of the draft."""
        snapshot = self.session.snapshot
        if snapshot is None:
            return happenings.of_draft(self.session.scenario)
        return happenings.of_run(snapshot.state, snapshot.commands)

    @property
    def after_round(self) -> int | None:
        """When the event is to act; None: at the next boundary."""
        if self.live is not None and self.fields["when"].value == "now":
            return None
        return _whole(self.fields["round"].value, "round")

    @property
    def change(self) -> dict[str, Any]:
        """The event as in a scenario, without its moment; raises InvalidInput for what cannot be read."""
        value = {name: field.value.strip() for name, field in self.fields.items()}
        match self.kind.value:
            case "join":
                return {"add": [_node(value)]}
            case "leave" | "fail":
                return {"remove": [value["node"]]}
            case "link":
                return {"link": {value["node"]: {value["peer"]: _number(value["cost"], "cost")}}}
            case _:
                label, samples = _whole(value["label"], "label"), _whole(value["samples"], "samples")
                return {"data": {value["node"]: {label: samples}}}

    @property
    def mistakes(self) -> dict[str, str]:
        """{field: what is wrong with it}; "" is the form as a whole."""
        wrong: dict[str, str] = {}
        if self._is_deed() and self.kind.value == "join" and not self.fields["machine"].value.strip():
            wrong["machine"] = "name a node of the cluster, as `kubectl get nodes` does"
        if self._is_unforeseeable():
            return wrong
        raw: dict[str, Any] = {"command": "inject"}
        for read in (lambda: self.change, lambda: {"after_round": self.after_round}):
            try:
                raw |= read()
            except _Unreadable as error:
                wrong[error.field] = str(error)
        if wrong:
            return wrong
        for mistake in find_mistakes(raw, self._state(), self._waiting()):
            wrong.setdefault(_field_of(mistake.path, self.kind.value), mistake.text)
        return wrong or _untrainable(
            raw, self.session.scenario if self.live is None else self.live.state.rules.scenario
        )

    # Inside: what people do.

    def _changed_kind(self, change: Any = None) -> None:
        self._offer()
        self._arrange()
        if self.kind.value == "join":
            self._fill()
        self._changed()

    def _arrange(self) -> None:
        """Show the fields that this kind of event has."""
        divided = _is_divided(self._state().rules.scenario)
        names = [n for n in _FIELDS[self.kind.value] if n != ("data" if divided else "part")]
        if self._is_deed():  # at once: a cluster knows no rounds
            more = {"join": ["machine", *(["ready"] if self._as_labelled() else names)], "leave": [*names, "how"]}
            names = more.get(self.kind.value, names)
        else:
            names += ["when", "round"]
        self._form.children = [self.fields[name] for name in names]

    def _is_deed(self) -> bool:
        """Whether the event is one that is made to happen on the cluster."""
        kinds = {"simulated": ("fail",), "actual": ("join", "leave", "fail")}
        return self.kind.value in kinds.get(self.on_cluster, ())

    def _as_labelled(self) -> bool:
        """Whether a cluster node is to join as its labels say."""
        return self.fields["ready"].value == _LABELLED

    def _is_unforeseeable(self) -> bool:
        """Whether only the cluster knows what will come of the event."""
        return self._is_deed() and (self.kind.value == "fail" or (self.kind.value == "join" and self._as_labelled()))

    def _fill(self, change: Any = None) -> None:
        """Put the chosen ready node into the fields."""
        self._arrange()
        if (values := self._chosen()) is not None:
            self._put(values)
        self._changed(change)

    def _fill_again(self) -> None:
        """Put it there as it is now, unless people have begun to change it."""
        values = self._chosen() if self.kind.value == "join" else None  # takes a while, in which people go on typing
        if values is not None and all(self.fields[name].value == value for name, value in self._filled.items()):
            self._put(values)
            self._changed()
        else:
            self._show_mistakes()

    def _chosen(self) -> dict[str, str] | None:
        """The chosen ready node as values of fields; None when people fill them themselves."""
        raw = self._ready().get(self.fields["ready"].value)
        if raw is None:
            return None
        noise = raw.get("label_noise", {"kind": "none", "share": 0})
        return {
            "id": raw["id"],
            "role": raw["role"],
            "links": _pairs(raw["links"]),
            "data": _pairs(raw.get("data", {})),
            "part": "/".join(map(str, raw.get("partition", ()))),
            "noise": noise["kind"],
            "share": f"{noise['share']:g}",
        }

    def _put(self, values: dict[str, str]) -> None:
        self._filling, self._filled = True, values
        try:
            for name, value in values.items():
                self.fields[name].value = value
        finally:
            self._filling = False

    def _changed(self, change: Any = None) -> None:
        """Check the form, say what is wrong where, and have the rest foretold."""
        if self._filling:
            return
        if change is not None:
            self.said.value = ""
        self._asked += 1
        self._show_mistakes()
        self._painter.touch()

    def _show_mistakes(self) -> None:
        joins_client = self.kind.value == "join" and self.fields["role"].value == "client"
        for name in ("data", "part", "noise", "share"):
            self.fields[name].disabled = not joins_client
        self.fields["share"].disabled = not joins_client or self.fields["noise"].value == "none"
        self.fields["round"].disabled = self.live is not None and self.fields["when"].value == "now"
        wrong = self.mistakes
        for name, field in self.fields.items():
            if name != "file" and field.error != wrong.get(name, ""):
                field.error = wrong.get(name, "")
        self.confirm.disabled = bool(wrong) or self._doing_deed
        if general := wrong.get(""):
            self.said.value = f'<span class="aiotwin-wrong" role="alert">{escape(general)}</span>'
        if wrong:
            self.estimate.value = (
                '<div class="aiotwin-card aiotwin-quiet">What this would cost is shown once the fields are right.</div>'
            )
        self.confirm.description = self._doing()

    def _doing(self) -> str:
        what = {"join": "Let it join", "leave": "Let it leave", "fail": "Let it fail"}.get(self.kind.value, "Change it")
        return what if self.live is not None else f"{what} (in the draft)"

    def _selected(self, change: Any = None) -> None:
        chosen = self.session.selected
        if chosen in [value for value, _ in self.fields["node"].choices]:
            self.fields["node"].value = chosen

    def _confirm(self, button: Any = None) -> None:
        if self.mistakes:
            return self._show_mistakes()
        if (deed := self.deed) is not None:
            return self._do(deed)
        change, moment = self.change, self.after_round
        when = "at the next round boundary" if moment is None else f"after round {moment}"
        try:
            if self.live is not None:
                self.session.inject({**change, "after_round": moment})
                told = f"Sent: {happenings.words(change)}. It acts {when}."
            else:
                events = [*self.session.scenario.resolved()["events"], {**change, "after_round": moment}]
                self.session.change({"events": events})
                told = f"In the draft: {happenings.words(change)} {when}."
        except InvalidInput as error:
            self.said.value = f'<span class="aiotwin-wrong" role="alert">{escape(str(error))}</span>'
            return None
        self._filled = {name: self.fields[name].value for name in self._filled}  # used up: the next one is offered
        self._painter.touch()
        self.said.value = f'<span role="status">{escape(told)}</span>'
        return None

    def _do(self, deed: Deed) -> None:
        """Have something done to the cluster; what came of it is shown when the cluster has told."""
        self._doing_deed = self.confirm.disabled = True
        self.said.value = '<span role="status">asking the cluster …</span>'
        self._doer.ask(deed)

    def _hands(self) -> tuple[Happenings, str]:
        run = self.session.run
        return self.session.on_cluster(), "" if run is None else run.path.resolve().name

    def _tell(self, words: str, went_wrong: bool) -> None:
        kind = 'class="aiotwin-wrong" role="alert"' if went_wrong else 'role="status"'
        self.said.value = f"<span {kind}>{escape(words)}</span>"
        self._doing_deed = False
        self.confirm.disabled = bool(self.mistakes)
        self._painter.touch()

    def _take_out(self, button: Any = None) -> None:
        """Take an event out of the draft."""
        events = list(self.session.scenario.resolved()["events"])
        try:
            del events[int(self.fields["event"].value)]
            self.session.change({"events": events})
            self.fields["event"].error = ""
        except (ValueError, IndexError):
            return
        except InvalidInput as error:  # what another event needs cannot go first
            self.fields["event"].error = f"the others need it: {str(error).partition(': ')[2]}"

    def _export(self, button: Any = None) -> None:
        """Write the run as a scenario file, or the draft where there is no run."""
        run = self.session.run
        try:
            told = self.session.scenario if run is None else api.scenario_of(run.path)
            with Path(self.fields["file"].value).open("x", encoding="utf-8") as file:
                file.write(scenario_yaml(told))
        except FileExistsError:
            self.fields["file"].error = "is there already; choose another name"
        except (OSError, AIoTwinError) as error:
            self.fields["file"].error = f"cannot be written: {error}"
        else:
            self.fields["file"].error = ""
            self.fields["file"].hint = f"written; run it with: aiotwin run {self.fields['file'].value}"

    def _check_file(self, change: Any = None) -> None:
        self.fields["file"].error, self.fields["file"].hint = "", ""
        self.export.disabled = not self.fields["file"].value.strip()

    # Inside: what there is.

    def _follow(self, change: Any = None) -> None:
        self._painter.touch()

    def _state(self) -> RunState:
        """The state that an event meets: the run's, or that of the draft before its first round."""
        if self.live is not None:
            return self.live.state
        scenario = self.session.scenario
        if self._begun is None or self._begun[0] is not scenario:
            state = RunState.before(api.rules(scenario))
            self._begun = scenario, state
        return self._begun[1]

    def _waiting(self) -> list[Command]:
        """Commands that were sent and have not acted."""
        sent = self.live.commands if self.live is not None else ()
        return [parse_command(each.command) for each in sent if each.status == "received"]

    def _nodes(self) -> Infrastructure:
        state = self._state()
        try:
            moment = self.after_round
        except _Unreadable:
            moment = None
        return nodes_at(state, max(moment or 0, next_boundary(state)), self._waiting())

    def _ready(self) -> dict[str, dict[str, Any]]:
        state = self._state()
        clusters = state.configuration.as_dict() if state.configuration is not None else {}
        coming = [change.added for change in state.rules.changes.values()]
        coming += [command.to_change().added for command in self._waiting()]
        taken = {node.id for added in coming for node in added}
        return ready_nodes(self._nodes(), clusters, classes=CLASSES, taken=taken)

    def _offer(self) -> None:
        """Offer the nodes there are, and for a draft only moments."""
        nodes, fields = self._nodes(), self.fields
        ready = [(name, name) for name in self._ready()]
        own = (_OWN, "Own: fill in the fields below")
        actual = self.on_cluster == "actual"
        labelled = [(_LABELLED, "As its labels say: it is only uncordoned")] if actual else []
        fields["ready"].offer([*labelled, *ready, own])
        if actual and not fields["machine"].value:
            fields["machine"].value = next(reversed([*self._state().departed]), "")
        las, everybody = nodes.local_aggregators, tuple(nodes.nodes)
        failing = everybody if self.on_cluster else las
        chosen = {"fail": failing, "data": nodes.clients}.get(self.kind.value, (*nodes.clients, *las))
        fields["node"].offer([(i, i) for i in chosen])
        peers = [i for i, node in nodes.nodes.items() if node.role is not Role.CLIENT and i != fields["node"].value]
        fields["peer"].offer([(i, i) for i in peers])
        self._offer_moments()
        fields["event"].offer(_numbered(self.session.scenario))
        self._selected()

    def _offer_moments(self) -> None:
        """A draft has rounds only; a run that takes over begins with now."""
        when, later = self.fields["when"], ("later", "after a round")
        before = len(when.choices)
        when.offer([("now", "at the next round boundary"), later] if self.live else [later])
        if len(when.choices) > before:
            when.value = "now"

    def _refresh(self) -> None:
        """Bring list and estimate up to date; runs in the painter's thread."""
        live = self.live
        self._show(self._goes_to, self._target(live))
        self._show(self.listed, happenings.as_html(self.happenings))
        self._drop_row.layout.display = "none" if live is not None or not self.session.scenario.events else ""
        state = self._state()
        seen = (live is None, self.on_cluster, state.infrastructure, state.rules, len(self._waiting()))
        if not same(seen, self._seen):
            self._seen = seen
            self._name_kinds()
            self._offer()
            self._arrange()
            self._fill_again()
        asked = (self._asked, state if self._told_in < _SLOW or live is None else None, len(self._waiting()))
        if self._told_for and same(asked, self._told_for):
            return
        self._told_for = asked
        self._foretell(asked[0])

    def _name_kinds(self) -> None:
        """On a cluster it is pods that fail, and any of them may."""
        named = {**_KINDS, **({"fail": "A pod fails"} if self.on_cluster else {})}
        options = tuple((text, kind) for kind, text in named.items())
        if options != self.kind.options:
            chosen, self._filling = self.kind.value, True
            self.kind.options = options
            self.kind.value, self._filling = chosen, False

    def _target(self, live: Snapshot | None) -> str:
        name = self.session.scenario.name
        text = (
            f"Goes into the draft <b>{escape(name)}</b>."
            if live is None
            else f"Goes to the run <b>{escape(live.path.name)}</b>{', on its cluster' if self.on_cluster else ''}."
        )
        return f'<span class="aiotwin-quiet">{text}</span>'

    def _foretell(self, asked: int) -> None:
        try:
            if self.mistakes:
                self._told = None
                return
            if self._is_unforeseeable():
                self._told = None
                self._show(self.estimate, f'<div class="aiotwin-card">{escape(_UNFORESEEABLE[self.kind.value])}</div>')
                return
            began = time.perf_counter()
            command = parse_command({"command": "inject", **self.change, "after_round": self.after_round})
            state = begun(self._state())
            if self.live is None:
                self._begun = self.session.scenario, state
            told = foretell(state, command.to_change(), command.after_round, waiting=self._waiting())
            self._told_in = time.perf_counter() - began
        except AIoTwinError as error:
            self._told = None
            if asked == self._asked:
                self._show(self.estimate, f'<div class="aiotwin-card aiotwin-wrong">{escape(str(error))}</div>')
            return
        if asked == self._asked:
            self._told = told
            self._show(self.estimate, happenings.foretold_html(told))

    @staticmethod
    def _show(widget: widgets.HTML, text: str) -> None:
        if widget.value != text:
            widget.value = text


_UNFORESEEABLE = {
    "fail": "The pod is killed, and its Deployment starts another one, which takes its place. The orchestrator plans "
    "without the node only if it stays away.",
    "join": "Its labels say what it is; the run hears of it from the cluster.",
}
_BUTTON = {"width": "auto", "flex": "0 0 auto"}
_ROW = {"align_items": "center", "grid_gap": "12px"}


def _fields() -> dict[str, Field]:
    roles = [("client", "client"), ("local_aggregator", "local aggregator")]
    noise = [("none", "none"), ("shift", "shifted: label + 1"), ("random", "random labels")]
    return {
        "ready": Field("ready node", choices=[(_OWN, _OWN)], hint="made to measure for the nodes that are there"),
        "id": Field("name"),
        "role": Field("role", choices=roles),
        "links": Field(
            "links", placeholder="n1: 150, n2: 120", hint="cost per MB to other nodes, like n1: 150, n2: 120"
        ),
        "data": Field("data", placeholder="7: 40, 8: 40", hint="samples per label, like 7: 40, 8: 40"),
        "part": Field("part of the data", placeholder="0/4", hint="which part of how many, like 0/4"),
        "noise": Field("label noise", choices=noise),
        "share": Field("share of wrong", value="0", hint="0 to 1"),
        "machine": Field("cluster node", hint="as `kubectl get nodes` names it, or by its id in the run"),
        "how": Field("how", choices=list(_ENDS)),
        "node": Field("node", kind="choice"),
        "peer": Field("link to", kind="choice"),
        "cost": Field("cost per MB", value="50"),
        "label": Field("label", value="0"),
        "samples": Field("samples", value="40", hint="what the client has of this label from then on"),
        "when": Field("when", choices=[("later", "after a round")]),
        "round": Field("after round", kind="number", value="10"),
        "event": Field("event", kind="choice"),
        "file": Field("file", value="as-it-happened.yaml"),
    }


class _Unreadable(InvalidInput):
    """A field whose text cannot be read."""

    def __init__(self, field: str, text: str) -> None:
        super().__init__(text)
        self.field = field


def _node(value: Mapping[str, str]) -> dict[str, Any]:
    raw: dict[str, Any] = {"id": value["id"], "role": value["role"], "links": _mapping(value["links"], "links")}
    if value["role"] != "client":
        return raw
    if data := _mapping(value["data"], "data"):
        raw["data"] = data
    if value["part"]:
        index, slash, count = value["part"].partition("/")
        if not slash:
            raise _Unreadable("part", "must look like 0/4")
        raw["partition"] = [_whole(index, "part"), _whole(count, "part")]
    if value["noise"] != "none":
        raw["label_noise"] = {"kind": value["noise"], "share": _number(value["share"], "share")}
    return raw


def _mapping(text: str, field: str) -> dict[Any, Any]:
    """`n1: 150, n2: 120` as a dictionary."""
    example = "n1: 150, n2: 120" if field == "links" else "7: 40, 8: 40"
    try:
        found = yaml.safe_load("{" + text + "}")
    except yaml.YAMLError:
        found = None
    if not isinstance(found, dict) or any(value is None for value in found.values()):
        raise _Unreadable(field, f"must look like {example}")
    return {str(key) if field == "links" else key: value for key, value in found.items()}


def _pairs(values: Mapping[Any, Any]) -> str:
    return ", ".join(f"{key}: {value}" for key, value in values.items())


def _number(text: str, field: str) -> float | int:
    try:
        return int(text) if text.lstrip("+-").isdecimal() else float(text)
    except ValueError:
        raise _Unreadable(field, f"is {text!r}; must be a number") from None


def _whole(text: str, field: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise _Unreadable(field, f"is {text!r}; must be a whole number") from None


def _field_of(path: tuple[str | int, ...], kind: str) -> str:
    """The field that a path in a command belongs to."""
    match path:
        case ("add", _, name, *_):
            return {"partition": "part", "label_noise": "share"}.get(str(name), str(name))
        case ("after_round", *_):
            return "round"
        case ("link", _, _, *_):
            return "cost"
        case ("data", _, _, *_):
            return "samples"
        case ("remove" | "link" | "data", *_):
            return "node"
    return ""


def _untrainable(raw: Mapping[str, Any], scenario: Scenario) -> dict[str, str]:
    """What the training would refuse: labels that the data set lacks, and clients without samples."""
    if _is_divided(scenario):
        return {}
    clients = [node for node in raw.get("add", ()) if node["role"] == "client"]
    for field, data in [("data", node.get("data", {})) for node in clients] + [
        ("label", d) for d in raw.get("data", {}).values()
    ]:
        if foreign := [label for label in data if label not in range(CLASSES)]:
            return {field: f"label {foreign[0]} is not in the data set; allowed: 0 to {CLASSES - 1}"}
        if field == "data" and not sum(data.values()):
            return {"data": "the client has no samples; give some, like 7: 40, 8: 40"}
    return {}


def _is_divided(scenario: Scenario) -> bool:
    """Whether the task divides the data, so that clients have parts instead of samples per label."""
    return scenario.task.file is not None or scenario.task.partition is not None


def _numbered(scenario: Scenario) -> list[tuple[str, str]]:
    described = (
        (i, event.after_round, happenings.words(event.model_dump(mode="json", exclude_defaults=True)))
        for i, event in enumerate(scenario.events)
    )
    return [(str(i), f"after round {r}: {text}") for i, r, text in described]
