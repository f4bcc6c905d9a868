"""The question a full validation window asks: the arguments of `decision.validate`, as a function of the state.

Its `context` is what the orchestrator knows besides the accuracy curve, as plain, JSON-able data:

    labels            {client: {label: samples}} declared by the members of the new configuration
    labels_before     the same of the configuration to return to
    per_class         [[round, {label: accuracy in percent}], …] of every round whose task reports it
    clients           {client: [[round, samples, train loss, ‖w_after − w_before‖₂], …]}, last local round of each round
    training          {epochs, local_rounds} per global round, {learning_rate, batch_size} of the task
    extra_rounds_left rounds by which the window may still be extended; absent or 0: the policy has to decide

Labels are what a node declares: nobody but its owner knows whether they are right.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from aiotwin_nb.continuum import Change, Infrastructure
from aiotwin_nb.orchestration.events import Window
from aiotwin_nb.orchestration.state import HistoryRow, RunState
from aiotwin_nb.planning.configuration import Configuration


def question(state: RunState, window: Window, *, extra_rounds_left: int = 0) -> dict[str, Any]:
    """Return the arguments of `decision.validate` for a window, as things stand in a state."""
    scenario = state.rules.scenario
    rows = [(row.round, row.accuracy, row.loss) for row in state.history]
    home, _ = infrastructure_for(window, state)
    return {
        "before": [row for row in rows if row[0] <= window.base_round],
        "window": [row for row in rows if row[0] > window.start_round],
        "round_cost_before": window.base_round_cost,
        "round_cost_after": state.round_cost,
        "spent": state.spent,
        "budget": state.rules.budget,
        "revert_cost": revert_cost(state, window),
        "objective": scenario.objective.type,
        "target": scenario.objective.target_accuracy,
        "policy": scenario.validation.policy,
        "trend": scenario.validation.trend,
        "context": _context(state, window, home, extra_rounds_left),
    }


def infrastructure_for(window: Window, state: RunState) -> tuple[Infrastructure, Change]:
    """Return the infrastructure with the nodes of the window's base that are missing, and the change that adds them."""
    returned = Change(added=tuple(state.departed[i] for i in window.missing))
    return state.infrastructure.apply(returned), returned


def revert_cost(state: RunState, window: Window) -> Decimal:
    """Return what going back to the window's base costs."""
    home, _ = infrastructure_for(window, state)
    return state.rules.cost_model.change_cost(home, state.current, window.base)


def _context(state: RunState, window: Window, home: Infrastructure, extra_rounds_left: int) -> dict[str, Any]:
    scenario = state.rules.scenario
    return {
        "labels": _labels(state.infrastructure, state.current),
        "labels_before": _labels(home, window.base),
        "per_class": [[row.round, dict(row.per_class)] for row in state.history if row.per_class],
        "clients": _clients(state.history),
        "training": {
            "epochs": state.current.epochs,
            "local_rounds": state.current.local_rounds,
            "learning_rate": scenario.task.learning_rate,
            "batch_size": scenario.task.batch_size,
        },
        "extra_rounds_left": extra_rounds_left,
    }


def _labels(infrastructure: Infrastructure, configuration: Configuration) -> dict[str, dict[int, int]]:
    return {client: dict(infrastructure.nodes[client].data) for client in configuration.clients}


def _clients(history: tuple[HistoryRow, ...]) -> dict[str, list[list[float]]]:
    found: dict[str, list[list[float]]] = {}
    for row in history:
        last = {result.client: result for result in row.clients}  # later local rounds replace earlier ones
        for client, result in last.items():
            found.setdefault(client, []).append([row.round, result.samples, result.train_loss, result.update_norm])
    return found
