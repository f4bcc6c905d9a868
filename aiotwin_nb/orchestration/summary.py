"""summary.json: what came of a run, computed from its state."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

from aiotwin_nb.continuum import Change
from aiotwin_nb.orchestration.events import Planned, Reconfiguration
from aiotwin_nb.orchestration.state import HistoryRow, RunState
from aiotwin_nb.planning.comparison import Compared
from aiotwin_nb.scenario import number


def summarise(state: RunState) -> dict[str, Any]:
    """The summary of a run (fields: architecture note); accuracies in percent, costs in the scenario's unit."""
    scenario = state.rules.scenario
    accuracies = [row.accuracy for row in state.history]
    return {
        "run_id": state.run_id,
        "scenario": scenario.name,
        "seed": scenario.seed,
        "runtime": state.runtime,
        "strategy": scenario.strategy.name,
        "status": state.status,
        "stop_reason": state.stop_reason,
        "message": state.message,
        "rounds": max(state.round, 0),
        "final_accuracy": accuracies[-1] if accuracies else None,
        "best_accuracy": max(accuracies) if accuracies else None,
        "final_loss": finite(state.history[-1].loss) if state.history else None,
        "total_cost": number(state.spent),
        "budget": optional(state.rules.budget),
        "initial": None if state.initial is None else initial_plan(state.initial),
        "reconfigurations": [reconfiguration(record) for record in state.reconfigurations],
        "repeated_rounds": state.repeated_rounds,
        "history": [history_row(row) for row in state.history],
        "ledger": ledger(state),
    }


def initial_plan(planned: Planned) -> dict[str, Any]:
    """The first configuration and its costs."""
    return {
        "clusters": planned.configuration.as_dict(),
        "round_cost": number(planned.round_cost),
        "aggregation_cost": number(planned.aggregation_cost),
    }


def compared(row: Compared) -> dict[str, Any]:
    """One strategy of a comparison; `optimal`, `gap` and `bound` are None where the strategy proves nothing."""
    report = row.report
    return {
        "name": row.name,
        "clusters": row.configuration.as_dict(),
        "round_cost": number(row.round_cost),
        "aggregation_cost": number(row.aggregation_cost),
        "client_links": number(row.client_links),
        "imbalance": row.imbalance,
        "sizes": list(row.sizes),
        "epochs": row.configuration.epochs,
        "local_rounds": row.configuration.local_rounds,
        "moved": list(row.moved),
        "left_out": list(row.left_out),
        "optimal": None if report is None else report.optimal,
        "gap": None if report is None else finite(report.gap),
        "objective": None if report is None else finite(report.objective),
        "bound": None if report is None else finite(report.bound),
        "seconds": row.seconds,
        "pareto": row.pareto,
    }


def planned_reconfiguration(record: Reconfiguration) -> dict[str, Any]:
    """A reconfiguration's plan and costs, without a decision."""
    return {
        "after_round": record.after_round,
        "trigger": {**trigger(record.trigger), "proactive": record.proactive},
        "clusters": record.configuration.as_dict(),
        "aggregation_cost": number(record.aggregation_cost),
        "change_cost": number(record.change_cost),
        "round_cost_before": number(record.round_cost_before),
        "round_cost_after": number(record.round_cost_after),
        "post_cost": number(record.post_cost),
        "moved": list(record.moved),
    }


def reconfiguration(record: Reconfiguration) -> dict[str, Any]:
    """A reconfiguration with its decision and evidence."""
    return {
        **planned_reconfiguration(record),
        "decision": record.decision,
        "evaluation_round": record.evaluation_round,
        "budget_left_at_evaluation": optional(record.budget_left_at_evaluation),
        "predicted_old": record.predicted_old,
        "predicted_new": record.predicted_new,
        "interval_old": None if record.interval_old is None else list(record.interval_old),
        "interval_new": None if record.interval_new is None else list(record.interval_new),
        "rounds_left_old": record.rounds_left_old,
        "rounds_left_new": record.rounds_left_new,
        "accuracy_at_evaluation": record.accuracy_at_evaluation,
        "revert_cost": optional(record.revert_cost),
        "fit_old": None if record.curve_old is None else vars(record.curve_old),
        "fit_new": None if record.curve_new is None else vars(record.curve_new),
        "reason": record.reason,
    }


def trigger(change: Change) -> dict[str, Any]:
    """What set a reconfiguration off."""
    return {
        "added": [node.id for node in change.added],
        "removed": list(change.removed),
        "links": {i: {peer: number(cost) for peer, cost in links.items()} for i, links in change.links.items()},
        "data": {i: {str(label): n for label, n in data.items()} for i, data in change.data.items()},
        "avoided": list(change.avoided),
        "readmitted": list(change.readmitted),
    }


def history_row(row: HistoryRow) -> dict[str, Any]:
    """One finished round."""
    return {
        "round": row.round,
        "accuracy": row.accuracy,
        "loss": finite(row.loss),
        "cost": number(row.cost),
        "total_cost": number(row.total_cost),
        "seconds": row.seconds,
        "clusters": row.configuration.as_dict(),
    }


def ledger(state: RunState) -> list[dict[str, Any]]:
    """Every payment in order."""
    return [{"round": e.round, "kind": e.kind, "cost": number(e.cost)} for e in state.ledger.entries]


def optional(value: Decimal | None) -> int | float | None:
    """A number, or None."""
    return None if value is None else number(value)


def finite(value: float) -> float | None:
    """None for what JSON has no number for."""
    return value if math.isfinite(value) else None
