"""The state of a run: a fold over its events."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import reduce
from typing import Literal

from aiotwin_nb.continuum import Change, Infrastructure, Node
from aiotwin_nb.decision import Verdict
from aiotwin_nb.errors import InvalidInput
from aiotwin_nb.orchestration.events import (
    BoundaryReached,
    Charged,
    CommandApplied,
    Decided,
    Deployed,
    Event,
    InfrastructureChanged,
    Planned,
    Reconfiguration,
    Reconfigured,
    RoundFinished,
    RoundStarted,
    RunEnded,
    RunResumed,
    RunStarted,
    Window,
    WindowExtended,
    WindowMoved,
)
from aiotwin_nb.orchestration.ledger import Ledger, LedgerEntry
from aiotwin_nb.orchestration.ports import ClientResult, RoundResult
from aiotwin_nb.planning import PlanningRequest, make_plan
from aiotwin_nb.planning.configuration import Configuration
from aiotwin_nb.planning.costs import CostModel, cost_model
from aiotwin_nb.planning.updates import unpack
from aiotwin_nb.scenario import Scenario


@dataclass(frozen=True)
class Rules:
    """What a run is decided by: the scenario and what follows from it.

    `forks`: verdicts imposed on the reconfigurations made after given rounds (`aiotwin compare`). `returning`: nodes
    that left come back for a revert; only a counterfactual may say so.
    """

    scenario: Scenario
    cost_model: CostModel
    changes: Mapping[int, Change]
    forks: Mapping[int, Verdict] = field(default_factory=dict)
    returning: bool = False

    @classmethod
    def of(cls, scenario: Scenario, *, model_size_mb: Decimal | None = None) -> Rules:
        """Derive the rules; `model_size_mb` is needed when the scenario says auto."""
        size = model_size_mb if scenario.model_size_mb == "auto" else scenario.model_size_mb
        if not isinstance(size, Decimal):
            raise InvalidInput("model_size_mb: is auto, and what it came to when the run began (notes.json) is missing")
        costs = cost_model(scenario.cost.model, model_size_mb=size, args=scenario.cost.args)
        return cls(scenario, costs, scenario.changes())

    @property
    def budget(self) -> Decimal | None:
        """The budget, or None."""
        return self.scenario.objective.budget

    @property
    def hard_budget(self) -> Decimal | None:
        """The budget that no payment may exceed, or None when overshoot is allowed."""
        return None if self.scenario.objective.overshoot == "allowed" else self.budget

    def plan(
        self, infrastructure: Infrastructure, current: Configuration | None, training: Training | None = None
    ) -> Configuration:
        """The strategy's configuration for an infrastructure; its cost is known to be computable.

        `training`: what it has shown; None before there was any.
        """
        strategy, shown = self.scenario.strategy, training or Training()
        request = replace(
            self.request(infrastructure, current),
            updates={client: unpack(text) for client, text in shown.updates.items()},
            norms={client: [norm] for client, norm in shown.norms.items()},
        )
        configuration = make_plan(strategy.name, strategy.args, request)
        self.cost_model.round_cost(infrastructure, configuration)
        return configuration

    def request(self, infrastructure: Infrastructure, current: Configuration | None) -> PlanningRequest:
        """The question that a strategy is asked."""
        training = self.scenario.training
        return PlanningRequest(infrastructure, training.epochs, training.local_rounds, self.cost_model, current)


@dataclass(frozen=True)
class Training:
    """What training has shown of the clients, each by its latest round: strategies and drops use it.

    `norms`: ‖w_after − w_before‖₂ of the last local round; `updates`: changes of the last layer, packed.
    """

    norms: Mapping[str, float] = field(default_factory=dict)
    updates: Mapping[str, str] = field(default_factory=dict)

    def after(self, result: RoundResult) -> Training:
        """With what a round has shown."""
        norms = {client.client: client.update_norm for client in result.clients}  # later local rounds come later
        return Training({**self.norms, **norms}, {**self.updates, **result.updates})

    def without(self, clients: Collection[str]) -> Training:
        """Without clients whose data are others now."""
        norms = {client: norm for client, norm in self.norms.items() if client not in clients}
        return Training(norms, {client: update for client, update in self.updates.items() if client not in clients})


@dataclass(frozen=True)
class HistoryRow:
    """One finished round. `cost`: of the round alone; `total_cost`: everything spent by its end.

    `per_class` and `clients` are those of the round's result; decisions use them.
    """

    round: int
    accuracy: float
    loss: float
    cost: Decimal
    total_cost: Decimal
    seconds: float
    configuration: Configuration
    per_class: Mapping[int, float] = field(default_factory=dict)
    clients: tuple[ClientResult, ...] = ()


@dataclass(frozen=True)
class RunState:
    """Everything known about a run at one moment.

    `round`: the last finished one (0 is the untrained model, -1 nothing yet). `boundary`: the last finished round whose
    events have acted. `departed`: nodes that left. `idle`: nodes that exist but stay outside the pipeline, because
    their joining was refused or reverted, or because they are avoided. `overloaded`: nodes whose overload was forecast.
    `training`: what it has shown of the clients.
    """

    rules: Rules
    infrastructure: Infrastructure
    run_id: str = ""
    runtime: str = ""
    configuration: Configuration | None = None
    round_cost: Decimal = Decimal(0)
    initial: Planned | None = None
    round: int = -1
    round_under_way: int | None = None
    boundary: int = -1
    history: tuple[HistoryRow, ...] = ()
    ledger: Ledger = field(default_factory=Ledger)
    reconfigurations: tuple[Reconfiguration, ...] = ()
    window: Window | None = None
    departed: Mapping[str, Node] = field(default_factory=dict)
    idle: frozenset[str] = frozenset()
    overloaded: frozenset[str] = frozenset()
    commands: tuple[CommandApplied, ...] = ()
    checkpoint: RoundFinished | None = None
    training: Training = field(default_factory=Training)
    repeated_rounds: int = 0
    status: Literal["running", "finished", "stopped", "failed"] = "running"
    stop_reason: str = ""
    message: str = ""

    @classmethod
    def before(cls, rules: Rules) -> RunState:
        """The state before anything happened."""
        return cls(rules, rules.scenario.infrastructure)

    @property
    def current(self) -> Configuration:
        """The configuration in force."""
        assert self.configuration is not None, "the run has no configuration before it is planned"
        return self.configuration

    @property
    def spent(self) -> Decimal:
        """Everything spent so far."""
        return self.ledger.total

    def plannable(self) -> Infrastructure:
        """The nodes a strategy may use: all but those that stay outside the pipeline."""
        return Infrastructure({i: n for i, n in self.infrastructure.nodes.items() if i not in self.idle})


def evolve(state: RunState, event: Event) -> RunState:
    """The state after an event; a pure fold step."""
    match event:
        case RunStarted():
            return replace(state, run_id=event.run_id, runtime=event.runtime)
        case Planned():
            return replace(state, configuration=event.configuration, round_cost=event.round_cost, initial=event)
        case RoundStarted():
            return replace(state, round_under_way=event.round)
        case RoundFinished():
            return _finished(state, event)
        case BoundaryReached():
            return replace(state, boundary=event.after_round)
        case CommandApplied():
            return replace(state, commands=(*state.commands, event))
        case InfrastructureChanged():
            return _changed(state, event)
        case Charged():
            return replace(state, ledger=state.ledger.charge(LedgerEntry(event.round, event.kind, event.cost)))
        case Deployed():
            return replace(state, configuration=event.configuration, round_cost=event.round_cost)
        case Reconfigured():
            records = (*state.reconfigurations, event.reconfiguration)
            return replace(
                state, reconfigurations=records, window=event.window or state.window, idle=frozenset(event.idle)
            )
        case WindowMoved():
            return replace(state, window=event.window)
        case Decided():
            records = (*state.reconfigurations[: event.index], event.reconfiguration)
            records += state.reconfigurations[event.index + 1 :]
            return replace(state, reconfigurations=records, window=None, idle=frozenset(event.idle))
        case WindowExtended():
            return _extended(state, event)
        case RunEnded():
            return replace(
                state, status=event.status, stop_reason=event.stop_reason, message=event.message, commands=()
            )
        case RunResumed():
            again = event.repeated_round is not None
            return replace(
                state, status="running", stop_reason="", message="", repeated_rounds=state.repeated_rounds + again
            )
        case _:
            return state


def fold(rules: Rules, events: Iterable[Event]) -> RunState:
    """The state after all events of a journal."""
    return reduce(evolve, events, RunState.before(rules))


def _finished(state: RunState, event: RoundFinished) -> RunState:
    result = event.result
    ledger = state.ledger
    if result.round > 0:
        ledger = ledger.charge(LedgerEntry(result.round, "round", event.cost))
    row = HistoryRow(
        round=result.round,
        accuracy=result.accuracy,
        loss=result.loss,
        cost=event.cost,
        total_cost=ledger.total,
        seconds=result.seconds,
        configuration=state.current,
        per_class=result.per_class,
        clients=result.clients,
    )
    return replace(
        state,
        round=result.round,
        round_under_way=None,
        history=(*state.history, row),
        ledger=ledger,
        checkpoint=event,
        training=state.training.after(result),
    )


def _extended(state: RunState, event: WindowExtended) -> RunState:
    assert state.window is not None, "only an open window can be extended"
    pending = replace(state.reconfigurations[event.index], evaluation_round=event.evaluation_round, reason=event.reason)
    records = (*state.reconfigurations[: event.index], pending, *state.reconfigurations[event.index + 1 :])
    return replace(
        state, reconfigurations=records, window=replace(state.window, evaluation_round=event.evaluation_round)
    )


def _changed(state: RunState, event: InfrastructureChanged) -> RunState:
    change = event.change
    left = {i: state.infrastructure.nodes[i] for i in change.removed}
    touched = {*change.removed, *(n.id for n in change.added), *change.links, *change.data}
    back = {node.id for node in change.added}
    return replace(
        state,
        infrastructure=state.infrastructure.apply(change),
        departed={i: n for i, n in {**state.departed, **left}.items() if i not in back},
        idle=(state.idle - touched - set(change.readmitted)) | set(change.avoided),
        overloaded=(state.overloaded | set(change.avoided)) - touched - set(change.readmitted),
        training=state.training.without({*change.removed, *back, *change.data}),
        commands=(),
    )
