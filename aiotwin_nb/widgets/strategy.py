"""Panel: Strategy and budget. What is chosen, and what it would cost, before anything runs."""

from __future__ import annotations

import inspect
import math
import threading
from collections.abc import Callable, Mapping
from html import escape
from typing import Any

import ipywidgets as widgets
import yaml

from aiotwin_nb import api
from aiotwin_nb.decision import policies, trends
from aiotwin_nb.errors import AIoTwinError, InvalidInput
from aiotwin_nb.planning.strategies import strategies
from aiotwin_nb.scenario import Scenario, lab_names, number, parse_value
from aiotwin_nb.widgets.figures import Picture
from aiotwin_nb.widgets.latest import Latest
from aiotwin_nb.widgets.panel import Panel
from aiotwin_nb.widgets.pareto import draw_pareto
from aiotwin_nb.widgets.preview import Preview, preview, rounds_bought
from aiotwin_nb.widgets.session import Session
from aiotwin_nb.widgets.theme import (
    FULL,
    LABELS,
    amount,
    box,
    complaint,
    heading,
    html,
    number_of,
    remark,
    style_sheet,
    table,
)

MANY = 12  # clients; of a cluster with more one sees the number first
SETTLED = 0.4  # seconds without a change before all strategies are compared
FILE = "a YAML file …"
OBJECTIVES = (
    ("best model for the budget", "total_budget"),
    ("target accuracy at least cost", "cost_min"),
    ("budget or target, whichever comes first", "both"),
)
WORDS = {  # what the registered docstrings say to programmers, said to people
    "rva": "reverts when the old configuration is predicted to end better; a tie keeps (the original's rule)",
    "proactive": "decides before a change is made",
}


class StrategyPanel(Panel):
    """Strategy, objective, budget and validation of the draft; its plan and the strategies' comparison beside it.

    While a run is under way the controls describe it and cannot be moved.
    """

    title = "Strategy and budget"

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self.plan: Preview | None = None  # of the draft, or the last one that worked out
        self.trouble = ""  # why the draft has no plan
        self.comparison: Mapping[str, Any] | None = None
        self._showing = threading.RLock()  # held while controls are set by us, so that they do not call back
        self._syncing = False
        self._controls = _Controls(self._edited)
        self._result = html("", "aiotwin-plan")
        self._table = html()
        self._picture = html("", "aiotwin-picture")
        self._again = widgets.Button(
            description="New run from this",
            icon="copy",
            layout=widgets.Layout(width="auto"),
            tooltip="Let the run go on, and make its scenario a new draft",
        )
        self._again.on_click(lambda _: self._new_run())
        locked = html(remark("These are the values of the run that is under way; it is not changed from here."))
        self._notice = box(widgets.HBox, [locked, self._again], "aiotwin-row")
        self.children = [
            style_sheet(),
            self._notice,
            box(
                widgets.HBox,
                [
                    box(widgets.VBox, self._controls.rows),
                    box(widgets.VBox, [self._result, self._table, self._picture]),
                ],
                "aiotwin-columns",
            ),
        ]
        self._planner: Latest[Scenario] = Latest(self._make_plan, name="aiotwin-plan")
        self._comparer: Latest[Scenario] = Latest(self._compare, settle=SETTLED, name="aiotwin-compare")
        session.observe(self._scenario_changed, "scenario")
        session.observe(self._liveness_changed, ["snapshot", "phase"])
        self._liveness: tuple[bool, bool] | None = None
        self._liveness_changed()
        self._scenario_changed()

    def describe(self) -> str:
        """The choices and the plan, in words."""
        scenario = self.session.scenario
        lines = [
            f"{scenario.name}: strategy {scenario.strategy.name}, {_objective_words(scenario)}, "
            f"{scenario.training.epochs} epochs × {scenario.training.local_rounds} local rounds, "
            f"validation {scenario.validation.policy} ({scenario.validation.trend}, W = {scenario.validation.window}), "
            f"seed {scenario.seed}"
        ]
        if self.trouble:
            return "\n".join([*lines, f"no plan: {self.trouble}"])
        try:
            return "\n".join([*lines, *_plan_words(self.plan_now())])
        except AIoTwinError as error:
            return "\n".join([*lines, f"no plan: {error}"])

    def picture(self) -> Picture | None:
        """Cost of a round against imbalance, for all strategies; None before they are compared, or without labels."""
        if self.comparison is None or all(row.get("imbalance") is None for row in self.comparison["strategies"]):
            return None
        return Picture(draw_pareto(self.comparison, size=(5.2, 3.9)), dpi=150)

    def plan_now(self) -> Preview:
        """The draft's plan, made here and now; raises InvalidInput or InfeasiblePlan."""
        return preview(self.session.scenario)

    def close(self) -> None:
        """End what plans in the background."""
        self._planner.close()
        self._comparer.close()
        super().close()

    # Controls → scenario.

    def _edited(self, name: str, changes: Callable[[], Mapping[str, Any] | str]) -> None:
        """Take what a control was set to: changes of the draft, or (text) the name or file of another scenario.

        What makes no sense is told at the control and leaves the draft alone.
        """
        if self._syncing:
            return
        try:
            wanted = changes()
            if isinstance(wanted, str):
                self.session.scenario = api.resolve(wanted, {})
            else:
                self.session.change(wanted)
            self._controls.complain(name, "")
        except AIoTwinError as error:
            self._controls.complain(name, _without_place(str(error)))
        self.session.mistake = self._controls.mistake
        self._dim()

    def _dim(self) -> None:
        """The plan on show is dimmed while the controls say something else."""
        if self.trouble or self._controls.mistake:
            self._result.add_class("aiotwin-dim")
        else:
            self._result.remove_class("aiotwin-dim")

    # Scenario → controls and plan.

    def _scenario_changed(self, _: Any = None) -> None:
        scenario = self.session.scenario
        with self._showing:
            self._syncing = True
            try:
                self._controls.show(scenario)
            finally:
                self._syncing = False
        self.session.mistake = ""
        self._planner.ask(scenario)
        self._comparer.ask(scenario)

    def _make_plan(self, scenario: Scenario) -> None:
        try:
            plan = preview(scenario)
        except AIoTwinError as error:
            self.trouble = _without_place(str(error))
            self._controls.complain_about_plan(str(error), self.trouble)
            self._dim()
            return
        except Exception as error:  # a strategy from another package may fail in any way; the lab goes on
            self.trouble = f"{type(error).__name__}: {error}"
            self._controls.complain_about_plan("", f"strategy {scenario.strategy.name} failed: {self.trouble}")
            self._dim()
            return
        self.plan, self.trouble = plan, ""
        self._controls.complain_about_plan("", "")
        self._controls.tell_rounds(plan)
        self._result.value = _plan_html(plan)
        self._dim()

    def _compare(self, scenario: Scenario) -> None:
        if self.comparison is not None:
            self._table.add_class("aiotwin-dim")
        try:
            comparison = api.compare_plans(scenario)
        except Exception:  # the draft has no plan at all: said at its control
            return
        if self._comparer.overtaken:
            return
        self.comparison = comparison
        self._table.value = _comparison_html(comparison, scenario)
        self._table.remove_class("aiotwin-dim")
        picture = self.picture()
        self._picture.value = "" if picture is None else picture.html

    # A run under way.

    def _liveness_changed(self, _: Any = None) -> None:
        session = self.session
        starting = session.phase == "starting"
        live = starting or (session.snapshot is not None and session.snapshot.live)
        if (live, starting) == self._liveness:
            return
        self._liveness = (live, starting)
        self._controls.lock(live)
        self._notice.layout.display = None if live else "none"
        self._again.layout.display = "none" if starting else None

    def _new_run(self) -> None:
        self.session.detach()


class _Controls:
    """The controls by name, the line under each, and what each of them changes."""

    def __init__(self, edited: Callable[[str, Callable[[], Mapping[str, Any] | str]], None]) -> None:
        self._lines: dict[str, widgets.HTML] = {}
        self._controls: dict[str, widgets.Widget] = {}
        self._edited = edited
        self._complaints: dict[str, str] = {}
        self._plan_complaint = ("", "")
        self._quiet: dict[str, str] = {}
        text = {"continuous_update": False}
        self.rows: list[widgets.Widget] = [html(heading("Scenario"))]
        self._add("scenario", widgets.Dropdown(options=[*lab_names(), FILE]), "Scenario", "A lab, or a file of yours")
        self._add("file", widgets.Text(placeholder="my-lab.yaml", **text), "File", "Path of a scenario file (YAML)")
        self._add("seed", widgets.IntText(**text), "Seed", "Every random draw of the run follows from it")
        self.rows.append(html(heading("Pipeline")))
        self._add("strategy", widgets.Dropdown(options=strategies.names()), "Strategy", "How clients get aggregators")
        self._add("args", widgets.Text(**text), "Arguments", "Arguments of the strategy, as YAML: keep: 3")
        self._add("epochs", widgets.IntText(**text), "Epochs", "Epochs on a client's data in one local round")
        self._add("local_rounds", widgets.IntText(**text), "Local rounds", "L: local rounds in one global round")
        self.rows.append(html(heading("Objective and budget")))
        self._add("objective", widgets.Dropdown(options=OBJECTIVES), "Objective", "What the run is for")
        self._add("target", widgets.FloatText(**text), "Target", "Accuracy in percent at which the run stops")
        self._add("limited", widgets.Checkbox(indent=False), "with a budget as a guard", "Stop when it is spent, too")
        self._add("budget", widgets.FloatSlider(readout_format=",.0f"), "Budget", "What the run may spend, cost units")
        self.rows.append(html(heading("Validation of changes")))
        self._add("policy", widgets.Dropdown(options=policies.names()), "Policy", "Who decides whether a change stays")
        self._add("window", widgets.IntText(**text), "Window W", "W: rounds that are watched before the decision")
        self._add("trend", widgets.Dropdown(options=trends.names()), "Trend", "The curve that looks into the future")
        self._paths: dict[str, Callable[[Any], Mapping[str, Any] | str]] = {
            "scenario": str,
            "file": str.strip,
            "seed": lambda v: {"seed": v},
            "strategy": lambda v: {"strategy": {"name": v, "args": {}}},
            "args": _arguments_from,
            "epochs": lambda v: {"training.epochs": v},
            "local_rounds": lambda v: {"training.local_rounds": v},
            "objective": self._objective,
            "target": lambda v: {"objective.target_accuracy": v},
            "limited": lambda v: {"objective.budget": self["budget"].value if v else None},
            "budget": lambda v: {"objective.budget": round(v, 9)},  # the browser counts steps in floats
            "policy": lambda v: {"validation.policy": v},
            "window": lambda v: {"validation.window": v},
            "trend": lambda v: {"validation.trend": v},
        }

    def __getitem__(self, name: str) -> Any:
        return self._controls[name]

    def show(self, scenario: Scenario) -> None:
        """Set every control to what the scenario says."""
        objective = scenario.objective
        self._show_name(scenario.name)
        self["seed"].value = min(scenario.seed, 2**53)
        self["strategy"].value = scenario.strategy.name
        self["args"].value = _as_yaml(scenario.strategy.args)
        self["args"].placeholder = _arguments(scenario.strategy.name)
        self["epochs"].value, self["local_rounds"].value = scenario.training.epochs, scenario.training.local_rounds
        self["objective"].value = objective.type
        self["target"].value = objective.target_accuracy or 90.0
        self["limited"].value = objective.budget is not None
        if objective.budget is not None:
            _fit(self["budget"], float(objective.budget))
        self["policy"].value, self["trend"].value = scenario.validation.policy, scenario.validation.trend
        self["window"].value = scenario.validation.window
        self._reveal("args", bool(scenario.strategy.args) or self["args"].placeholder != "")
        self._reveal("target", objective.type != "total_budget")
        self._reveal("limited", objective.type == "cost_min")
        self._reveal("budget", objective.budget is not None)
        for name, words in (
            ("strategy", _first_line(strategies.get(scenario.strategy.name))),
            ("policy", WORDS.get(scenario.validation.policy) or _first_line(policies.get(scenario.validation.policy))),
        ):
            self._quiet[name] = words
        self._complaints.clear()
        for name in self._lines:
            self._write(name)

    def tell_rounds(self, plan: Preview) -> None:
        """Say at the budget what it buys."""
        self._quiet["budget"] = _rounds_words(plan)
        self._write("budget")

    def complain(self, name: str, text: str) -> None:
        """Say at a control what is wrong with its value; nothing takes it back."""
        self._complaints[name] = text
        self._write(name)

    @property
    def mistake(self) -> str:
        """The first control whose value makes no sense, and why; empty when all do."""
        return next((f"{self[name].description}: {text}" for name, text in self._complaints.items() if text), "")

    def complain_about_plan(self, error: str, text: str) -> None:
        """Say why there is no plan, at the control that can mend it."""
        old, _ = self._plan_complaint
        name = "budget" if "objective.budget" in error else "args" if "argument" in error else "strategy"
        self._plan_complaint = (name, text)
        for each in {old, name} & set(self._lines):
            self._write(each)

    def lock(self, locked: bool) -> None:
        """Let the controls be moved, or not."""
        for control in self._controls.values():
            control.disabled = locked

    def _add(self, name: str, control: widgets.Widget, label: str, tip: str) -> None:
        control.description, control.tooltip = label, tip
        if not isinstance(control, widgets.Checkbox):
            control.style = LABELS
        control.layout = widgets.Layout(**FULL)
        if isinstance(control, widgets.IntText | widgets.FloatText):
            control.layout.width = "230px"
        self._controls[name] = control
        self._lines[name] = html("", "aiotwin-under")
        self._lines[name].layout.display = "none"
        self.rows += [control, self._lines[name]]
        control.observe(lambda change: self._moved(name, change.new), "value")

    def _moved(self, name: str, value: Any) -> None:
        if name == "scenario":
            self._reveal("file", value == FILE)
        if (name == "scenario" and value not in lab_names()) or (name == "file" and not value.strip()):
            return
        self._edited(name, lambda: self._paths[name](value))

    def _objective(self, kind: str) -> Mapping[str, Any]:
        changes: dict[str, Any] = {"objective.type": kind}
        if kind != "total_budget":
            changes["objective.target_accuracy"] = self["target"].value
        if kind != "cost_min" and not self["limited"].value:
            changes["objective.budget"] = self["budget"].value
        return changes

    def _show_name(self, name: str) -> None:
        options = [*lab_names(), FILE]
        if name not in options:
            options.insert(0, name)
        if tuple(self["scenario"].options) != tuple(options):
            self["scenario"].options = options
        self["scenario"].value = name
        self._reveal("file", False)

    def _reveal(self, name: str, visible: bool) -> None:
        self[name].layout.display = None if visible else "none"

    def _write(self, name: str) -> None:
        plan_at, plan_text = self._plan_complaint
        text = self._complaints.get(name) or (plan_text if plan_at == name else "")
        quiet = self._quiet.get(name, "") if self[name].layout.display != "none" else ""
        line = self._lines[name]
        line.value = complaint(text) or (remark(quiet) if quiet else "")
        line.layout.display = None if line.value else "none"


def _fit(slider: widgets.FloatSlider, value: float) -> None:
    """Give a budget slider a sensible range around a value, in steps that people would choose.

    The browser moves a value that no step reaches to the next one, which would change the draft: steps count from the
    slider's lower end, so that is where the odd rest goes.
    """
    if slider.value == value:  # it may be in somebody's hand
        return
    if not (slider.min <= value <= slider.max <= 8 * value and _is_reached(slider, value)):
        step = _nice(value / 100)
        low = round(math.fmod(value, step), 9) % step
        high = low + math.ceil(4 * value / step) * step
        with slider.hold_sync(), slider.hold_trait_notifications():  # one message: the browser checks after each
            slider.min, slider.max, slider.step, slider.value = low, high, step, value
    slider.value = value


def _is_reached(slider: widgets.FloatSlider, value: float) -> bool:
    steps = (value - slider.min) / slider.step
    return bool(abs(steps - round(steps)) < 1e-6)


def _nice(value: float) -> float:
    """The largest of 1, 2, 5, 10, 20 … that is not above a value."""
    power = 10.0 ** math.floor(math.log10(value))
    return max(factor * power for factor in (1, 2, 5) if factor * power <= value * (1 + 1e-9))


def _first_line(thing: object) -> str:
    return (inspect.getdoc(thing) or "no description").splitlines()[0].removesuffix(".")


def _arguments(name: str) -> str:
    """What a strategy may be given, as a hint; empty when it takes nothing."""
    _request, *accepted = inspect.signature(strategies.get(name)).parameters.values()
    needed = [parameter.name for parameter in accepted if parameter.default is parameter.empty]
    optional = [parameter.name for parameter in accepted if parameter.name not in needed]
    parts = [f"needs {', '.join(needed)}"] if needed else []
    return "; ".join([*parts, f"may have {', '.join(optional)}"] if optional else parts)


def _arguments_from(text: str) -> Mapping[str, Any]:
    """The change that a line of arguments asks for; raises InvalidInput when it is no line of arguments."""
    try:
        value = parse_value(text if text.strip().startswith("{") else f"{{{text}}}", "arguments")
    except InvalidInput:
        value = None
    if not isinstance(value, dict):
        raise InvalidInput("must look like name: value, name: value")
    return {"strategy.args": value}


def _as_yaml(args: Mapping[str, Any]) -> str:
    text = yaml.safe_dump(dict(args), default_flow_style=True, width=10_000).strip() if args else ""
    return text[1:-1]


def _without_place(message: str) -> str:
    """An error's own words: what the control already shows (its path, the scenario's name) is left away."""
    first = message.splitlines()[0]
    if first.startswith("--set "):
        first = first.split(": ", 2)[-1]
    return first.removeprefix("objective.budget: ")


# The plan, in words and in HTML.


def _objective_words(scenario: Scenario) -> str:
    objective = scenario.objective
    budget = "" if objective.budget is None else f"budget {number(objective.budget):,}"
    target = "" if objective.type == "total_budget" else f"target {objective.target_accuracy:g} %"
    return ", ".join(part for part in (budget, target) if part)


def _rounds_words(plan: Preview) -> str:
    limit = "" if plan.rounds < plan.max_rounds else f" (max_rounds; a round costs {plan.round_cost:,})"
    bought = f"buys {plan.rounds} rounds{limit}"
    if plan.budget is None:
        bought = f"no budget; at most {plan.max_rounds} rounds"
    if not plan.changes or plan.rounds_with_changes == plan.rounds:
        return bought
    return f"{bought}; {plan.rounds_with_changes} if all scripted changes are made and kept"


def _plan_words(plan: Preview) -> list[str]:
    clusters = " | ".join(f"{la} ← {' '.join(clients)}" for la, clients in plan.clusters.items())
    lines = [f"plan: {clusters}; a round costs {plan.round_cost:,} (Ψ_gr); {_rounds_words(plan)}"]
    lines += [
        f"after round {change.after_round}: {change.describe()}; the change costs {change.change_cost:,} (Ψ_rc), "
        f"then a round costs {change.round_cost:,}"
        for change in plan.changes
    ]
    return lines


def _plan_html(plan: Preview) -> str:
    figures = [
        (amount(plan.round_cost), "a round, Ψ_gr", "Ψ_gr: what one global round costs, in the cost model's unit"),
        (str(plan.rounds), "rounds", "as many as the budget buys if nothing changes"),
    ]
    if plan.changes:
        tip = "as many as the budget buys if all scripted changes are made and kept"
        figures.append((str(plan.rounds_with_changes), "with the changes", tip))
    shown = "".join(
        f"<div title='{escape(tip, quote=True)}'><strong>{value}</strong><span>{escape(label)}</span></div>"
        for value, label, tip in figures
    )
    text = heading("The plan", "at the start; nothing is trained for it") + f"<div class='aiotwin-figure'>{shown}</div>"
    text += _clusters_html(plan.clusters, ())
    if plan.client_cost is not None:
        links = f"Of a round, the clients' links cost {amount(plan.client_cost)}"
        text += remark(f"{links}, those of the local aggregators {amount(plan.uplink_cost)}.")
    for change in plan.changes:
        text += heading(f"After round {change.after_round}: {change.describe()}")
        text += _clusters_html(change.clusters, change.joins)
        costs = f"The change costs {amount(change.change_cost)} (Ψ_rc), every round after it "
        more = number_of(change.round_cost - plan.round_cost)
        text += remark(f"{costs}{amount(change.round_cost)} ({more:+,}, Ψ_pr).")
    return f"<div aria-live='polite'>{text}</div>"


def _clusters_html(clusters: Mapping[str, Any], new: tuple[str, ...]) -> str:
    def client(name: str) -> str:
        return f"<i class='aiotwin-new' title='joins'>{escape(name)}</i>" if name in new else f"<i>{escape(name)}</i>"

    def cluster(la: str, clients: Any) -> str:
        head, members = f"<b>{escape(la)}</b> ←", " ".join(map(client, clients))
        if len(clients) <= MANY:
            return f"<div class='aiotwin-cluster'>{head} {members}</div>"
        joins = " ".join(client(name) for name in clients if name in new)
        summary = f"<summary>{head} {len(clients)} clients {joins}</summary>"
        return f"<details class='aiotwin-cluster'>{summary}{members}</details>"

    return "".join(cluster(la, clients) for la, clients in clusters.items())


COLUMNS = (
    ("Strategy", "by name; the chosen one is marked"),
    ("Ψ_gr ", "cost of a global round at the start"),
    ("Rounds ", "as many as the budget buys at this cost"),
    ("Imbalance ", "mean KL divergence of the clusters' labels from all labels, in nats; 0 is perfectly balanced"),
)
FRONT = "<span title='on the Pareto front: no other plan is better in cost and balance at once'> ◆</span>"


def _comparison_html(comparison: Mapping[str, Any], scenario: Scenario) -> str:
    made = [row for row in comparison["strategies"] if "error" not in row]
    failed = [row for row in comparison["strategies"] if "error" in row]
    rows = [_compared_row(row, scenario) for row in sorted(made, key=lambda row: row["round_cost"])]
    text = heading("All strategies", "◆ no other is better in both cost and balance")
    text += table(COLUMNS, rows, "Strategies compared")
    if failed:
        items = "".join(f"<li><b>{escape(row['name'])}</b>: {escape(row['error'])}</li>" for row in failed)
        names = escape(", ".join(row["name"] for row in failed))
        text += (
            f"<details class='aiotwin-remark'><summary>without a plan here: {names}</summary><ul>{items}</ul></details>"
        )
    return text


def _compared_row(row: Mapping[str, Any], scenario: Scenario) -> tuple[str, list[str]]:
    chosen = row["name"] == scenario.strategy.name
    about = _first_line(strategies.get(row["name"])) + f"; clusters of {' + '.join(map(str, row['sizes']))}"
    bought = rounds_bought(row["round_cost"], (), scenario.objective.budget, scenario.training.max_rounds)
    balance = "–" if row["imbalance"] is None else f"{abs(row['imbalance']):.3f}"
    return "aiotwin-chosen" if chosen else "", [
        f"<span title='{escape(about, quote=True)}'>{'▸ ' if chosen else ''}{escape(row['name'])}</span>",
        amount(row["round_cost"]),
        str(bought),
        balance + (FRONT if row["pareto"] else ""),
    ]
