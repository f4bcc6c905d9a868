"""Decisions without training: plans along a scenario's events, and decisions on a recorded accuracy curve."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from aiotwin_nb.errors import InvalidInput
from aiotwin_nb.orchestration.events import BoundaryReached, Observation, RoundFinished, RunStarted
from aiotwin_nb.orchestration.ports import RoundResult
from aiotwin_nb.orchestration.state import Rules, RunState
from aiotwin_nb.orchestration.step import decide
from aiotwin_nb.orchestration.summary import compared, initial_plan, ledger, planned_reconfiguration, reconfiguration


@dataclass(frozen=True)
class TraceRow:
    """One row of a recorded run: accuracy in percent; `total_cost`: spent by the end of the round."""

    round: int
    accuracy: float
    loss: float
    total_cost: Decimal


def plan_along_events(rules: Rules) -> dict[str, Any]:
    """Configuration and costs at the start and after every scripted event, each change made; no training."""
    objective = rules.scenario.objective.model_copy(update={"type": "total_budget", "overshoot": "allowed"})
    validation = rules.scenario.validation.model_copy(update={"policy": "off"})
    scenario = rules.scenario.model_copy(update={"objective": objective, "validation": validation})
    state = _observed(RunState.before(replace(rules, scenario=scenario)), RunStarted("", scenario.name, 0, "plan"))
    initial = state.initial
    assert initial is not None
    for after_round in rules.changes:
        state = _observed(replace(state, round=after_round, status="running"), BoundaryReached(after_round))
        if state.status == "failed":
            raise InvalidInput(f"events: after round {after_round}: {state.message}")
    return {
        "initial": initial_plan(initial),
        "reconfigurations": [planned_reconfiguration(record) for record in state.reconfigurations],
    }


def plan_by_strategies(rules: Rules, names: Sequence[str]) -> dict[str, Any]:
    """What each strategy plans for the start, in figures ({"strategies": [...], "unit"}); no training.

    The scenario's own strategy has its arguments, the others their defaults. `moved` counts clients that are elsewhere
    than in the scenario's own plan.
    """
    from aiotwin_nb.planning.comparison import Failed, compare_strategies

    scenario, own = rules.scenario, rules.scenario.strategy
    chosen = {name: own.args if name == own.name else {} for name in names}
    request = rules.request(scenario.infrastructure, None)
    rows = compare_strategies(chosen, request, rules.plan(scenario.infrastructure, None))
    strategies = [{"name": r.name, "error": r.error} if isinstance(r, Failed) else compared(r) for r in rows]
    return {"strategies": strategies, "unit": rules.cost_model.unit}


def replay(rules: Rules, trace: list[TraceRow]) -> RunState:
    """Let the orchestrator decide along a recorded curve; costs are the scenario's, accuracies the trace's."""
    state = _observed(RunState.before(rules), RunStarted("replay", rules.scenario.name, rules.scenario.seed, "replay"))
    for row in trace:
        if state.status != "running":
            break
        cost = state.round_cost if row.round > 0 else Decimal(0)
        state = _observed(state, RoundFinished(RoundResult(row.round, row.accuracy, row.loss, 0.0), cost))
        if state.status == "running":
            state = _observed(state, BoundaryReached(row.round))
    return state


def replay_summary(state: RunState) -> dict[str, Any]:
    """What `aiotwin replay --json` prints."""
    return {
        "reconfigurations": [reconfiguration(record) for record in state.reconfigurations],
        "ledger": ledger(state),
    }


def _observed(state: RunState, observation: Observation) -> RunState:
    return decide(state, observation)[0]


def read_trace(path: Path) -> list[TraceRow]:
    """Read a recorded run: CSV rows round,accuracy,loss,total cost, with or without a header.

    Raises InvalidInput naming file, line and what is expected.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = [(i, cells) for i, cells in enumerate(csv.reader(file), start=1) if any(c.strip() for c in cells)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InvalidInput(f"{path}: cannot be read as CSV: {error}") from None
    if lines and not _is_number(lines[0][1][0]):
        lines = lines[1:]
    rows = [_trace_row(path, number, cells) for number, cells in lines]
    if not rows:
        raise InvalidInput(f"{path}: has no rows; a trace has lines like 1,15.31,2.28,1716")
    first = 1 if rows[0].round == 1 else 0
    for expected, (row, (number, _)) in enumerate(zip(rows, lines, strict=True), start=first):
        if row.round != expected:
            raise InvalidInput(
                f"{path}:{number}: round {row.round} where round {expected} is due; rounds run 0, 1, 2, … without a gap"
            )
    return rows


def _trace_row(path: Path, number: int, cells: list[str]) -> TraceRow:
    try:
        round_, accuracy, loss, cost = cells
        row = TraceRow(int(round_), float(accuracy), float(loss), Decimal(cost))
    except (ValueError, ArithmeticError):
        raise InvalidInput(
            f"{path}:{number}: {','.join(cells)!r} is not a row; expected four numbers: round,accuracy,loss,total cost"
        ) from None
    if not 0 <= row.accuracy <= 100:
        raise InvalidInput(f"{path}:{number}: accuracy {row.accuracy}: must be a percentage, 0–100")
    return row


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
