"""What a change would cost and do, by the orchestrator's own rules: `decide` is folded ahead, nothing is trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import ROUND_CEILING, Decimal

from aiotwin_nb.continuum import Change
from aiotwin_nb.decision import rounds_left
from aiotwin_nb.errors import InvalidInput
from aiotwin_nb.orchestration.events import BoundaryReached, CommandApplied, Decided, Reconfiguration, RunStarted
from aiotwin_nb.orchestration.inbox import Command, next_boundary
from aiotwin_nb.orchestration.ledger import LedgerEntry
from aiotwin_nb.orchestration.state import RunState, evolve
from aiotwin_nb.orchestration.step import decide
from aiotwin_nb.planning.configuration import Configuration


@dataclass(frozen=True)
class Standing:
    """How a run stands at a boundary. `round_cost`: Ψ_gr; `rounds_left`: those that budget and max_rounds allow."""

    configuration: Configuration
    round_cost: Decimal
    spent: Decimal
    rounds_left: int


@dataclass(frozen=True)
class Foretold:
    """What becomes of a change that acts after round `after_round`.

    `before` and `after`: how the run stands at that boundary without and with everything that acts there. `record`: the
    reconfiguration that follows (with its costs, its decision or `pending`, and the reason); None when members and
    places stay as they are. `ended`: why the run ends there or has ended before; empty when it goes on. `skipped`:
    parts of the change that make no sense then. `assuming`: what this rests on and nobody can know yet.
    """

    after_round: int
    before: Standing
    after: Standing
    record: Reconfiguration | None = None
    ended: str = ""
    skipped: tuple[str, ...] = ()
    assuming: tuple[str, ...] = ()

    @property
    def change_cost(self) -> Decimal:
        """Ψ_rc: what is paid at the boundary; 0 where nothing is changed."""
        return self.after.spent - self.before.spent


def foretell(
    state: RunState, change: Change, after_round: int | None = None, *, waiting: Sequence[Command] = ()
) -> Foretold:
    """Say what the orchestrator would do about a change, from a run's present state or from `RunState.before(rules)`.

    `after_round`: when it acts, by default at the next boundary. `waiting`: commands that came before it. Raises
    InvalidInput for a run that has ended and for a boundary that has passed.
    """
    state = begun(state)
    moment = next_boundary(state) if after_round is None else after_round
    if moment < next_boundary(state):
        raise InvalidInput(f"round {moment} has passed; give {next_boundary(state)} or more")
    ahead = _Ahead(state, waiting)
    ahead.go_to(moment)
    before = _standing(ahead.state)
    if ahead.state.status != "running":
        return Foretold(ahead.state.round, before, before, ended=ahead.ended, assuming=tuple(ahead.assuming))
    known = len(ahead.state.reconfigurations)
    skipped = ahead.act(CommandApplied("foretold", moment, change))
    after = ahead.state
    return Foretold(
        after_round=moment,
        before=before,
        after=_standing(after),
        record=after.reconfigurations[known] if len(after.reconfigurations) > known else None,
        ended="" if after.status == "running" else ahead.ended,
        skipped=skipped,
        assuming=tuple(ahead.assuming),
    )


def begun(state: RunState) -> RunState:
    """The state of a run that has its first configuration and goes on; raises InvalidInput when it has ended."""
    if state.status in ("finished", "failed"):
        raise InvalidInput(f"the run has ended ({state.stop_reason}); nothing can change any more")
    if state.configuration is None:
        scenario = state.rules.scenario
        state, _ = decide(state, RunStarted("", scenario.name, scenario.seed, ""))
    return replace(state, status="running")


class _Ahead:
    """A run's state as it goes on without training: rounds cost what they cost, their accuracies stay unknown."""

    def __init__(self, state: RunState, waiting: Sequence[Command]) -> None:
        self.state = state
        self.assuming: list[str] = []
        self._waiting = [(max(command.after_round or 0, next_boundary(state)), command) for command in waiting]

    @property
    def ended(self) -> str:
        """Why the run has ended."""
        return f"the run ends after round {self.state.round}: {self.state.message or self.state.stop_reason}"

    def go_to(self, moment: int) -> None:
        """Go on until the boundary after a round, short of what acts there; or to the run's end."""
        while self.state.status == "running":
            self._finish_round()
            if self.state.round == moment or self.state.status != "running":
                return
            self.act()

    def act(self, *more: CommandApplied) -> tuple[str, ...]:
        """Let everything act that is due at this boundary; returns what was skipped."""
        now = self.state.round
        due = [command for moment, command in self._waiting if moment == now]
        for command in due:
            stop = "stopped" if command.command == "stop" else None
            self.state = evolve(self.state, CommandApplied("", now, command.to_change(), stop))
        for applied in more:
            self.state = evolve(self.state, applied)
        self.state, actions = decide(self.state, BoundaryReached(now))
        return tuple(text for action in actions for text in getattr(action, "skipped", ()))

    def _finish_round(self) -> None:
        state = self.state
        number = next_boundary(state)
        if state.round < number:
            ledger = state.ledger
            if number > 0:
                ledger = ledger.charge(LedgerEntry(number, "round", state.round_cost))
            state = replace(state, round=number, round_under_way=None, ledger=ledger)
        self.state = state
        if state.window is not None and state.round >= state.window.evaluation_round:
            self._assume_kept(state.window.index)
        if state.round >= state.rules.scenario.training.max_rounds:
            self.state = replace(self.state, status="finished", stop_reason="rounds")

    def _assume_kept(self, index: int) -> None:
        record = self.state.reconfigurations[index]
        self.assuming.append(f"the change after round {record.after_round} is kept")
        kept = replace(record, decision="kept", reason="assumed")
        self.state = evolve(self.state, Decided(index, kept, tuple(sorted(self.state.idle))))


def _standing(state: RunState) -> Standing:
    rules = state.rules
    left = rules.scenario.training.max_rounds - state.round
    if rules.hard_budget is not None:
        left = min(left, rounds_left(rules.hard_budget - state.spent, state.round_cost))
    elif rules.budget is not None:  # the round that reaches the budget is the last
        rounds = (max(rules.budget - state.spent, Decimal(0)) / state.round_cost).to_integral_value(ROUND_CEILING)
        left = min(left, int(rounds))
    return Standing(state.current, state.round_cost, state.spent, left)
