"""Metric rows: one flat row per finished round, the same for W&B and from the journal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import astuple
from pathlib import Path
from typing import Any

from aiotwin_nb.orchestration.events import Event, Reconfiguration, RoundFinished
from aiotwin_nb.orchestration.journal import read_journal
from aiotwin_nb.orchestration.ports import ClientResult
from aiotwin_nb.orchestration.state import Rules, RunState, evolve
from aiotwin_nb.scenario import number


def metric_row(state: RunState) -> dict[str, Any]:
    """The row of the last finished round, with what was changed and decided after it.

    Accuracy in percent, costs in the scenario's unit, seconds of wall time; `client/<id>/…` are of the last local round
    (seconds are summed over local rounds), with CPU seconds and peak memory of the round where clients have processes.
    """
    assert state.checkpoint is not None
    finished, row = state.checkpoint.result, state.history[-1]
    values: dict[str, Any] = {
        "round": row.round,
        "global/accuracy": row.accuracy,
        "global/loss": row.loss,
        "global/seconds": row.seconds,
        "cost/round": number(row.cost),
        "cost/total": number(state.spent),
        "clients/count": len(row.configuration.clients),
        "clients/left_out": len(finished.problems),
    }
    if state.rules.budget is not None:
        values["cost/budget_left"] = number(state.rules.budget - state.spent)
    return {**values, **_clients(finished.clients), **_changes(state)}


def _clients(results: Iterable[ClientResult]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for result in results:
        prefix = f"client/{result.client}"
        values[f"{prefix}/samples"] = result.samples
        values[f"{prefix}/train_loss"] = result.train_loss
        values[f"{prefix}/update_norm"] = result.update_norm
        values[f"{prefix}/seconds"] = values.get(f"{prefix}/seconds", 0.0) + result.seconds
        if result.cpu_seconds is not None and result.peak_rss_mb is not None:
            values[f"{prefix}/cpu_seconds"] = result.cpu_seconds
            values[f"{prefix}/peak_rss_mb"] = result.peak_rss_mb
    return values


def _changes(state: RunState) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for record in state.reconfigurations:
        if record.after_round == state.round:
            values["reconfiguration/change_cost"] = number(record.change_cost)
            values["reconfiguration/post_cost"] = number(record.post_cost)
            values["reconfiguration/decision"] = record.decision
            for name, nodes in (("joined", record.joined), ("left", record.left)):
                if nodes:
                    values[f"reconfiguration/{name}"] = list(nodes)
        elif record.evaluation_round == state.round and record.decision != "pending":
            values |= {f"decision/{name}": value for name, value in _evidence(record) if value is not None}
    return values


def _evidence(record: Reconfiguration) -> Iterator[tuple[str, Any]]:
    """What was decided and predicted; a fit is [a, b, first, last, horizon] of `Curve`."""
    yield "verdict", record.decision
    yield "revert_cost", None if record.revert_cost is None else number(record.revert_cost)
    for which in ("old", "new"):
        interval, curve = getattr(record, f"interval_{which}"), getattr(record, f"curve_{which}")
        yield f"predicted_{which}", getattr(record, f"predicted_{which}")
        yield f"interval_{which}", None if interval is None else list(interval)
        yield f"rounds_left_{which}", getattr(record, f"rounds_left_{which}")
        yield f"fit_{which}", None if curve is None else list(astuple(curve))


class StateAndRows:
    """A run's state and its metric rows, folded event by event."""

    def __init__(self, rules: Rules) -> None:
        self.state = RunState.before(rules)
        self._rows: list[dict[str, Any]] = []  # of all rounds but the last, whose row may still change

    def add(self, event: Event) -> None:
        """Take in the next event."""
        if isinstance(event, RoundFinished) and self.state.round >= 0:
            self._rows.append(metric_row(self.state))
        self.state = evolve(self.state, event)

    def rows(self) -> list[dict[str, Any]]:
        """All rows so far, one per round, ascending."""
        return [*self._rows, metric_row(self.state)] if self.state.round >= 0 else []


def rows_of(rules: Rules, events: Iterable[Event]) -> list[dict[str, Any]]:
    """All rows of a journal's events, one per round, ascending."""
    folded = StateAndRows(rules)
    for event in events:
        folded.add(event)
    return folded.rows()


class JournalSource:
    """Metric rows from a run's journal: the second source, when W&B is off or broken."""

    def __init__(self, journal: Path, rules: Rules) -> None:
        self._journal = journal
        self._rules = rules

    def rows(self) -> list[dict[str, Any]]:
        """All rows so far, one per round, ascending."""
        return rows_of(self._rules, (entry.event for entry in read_journal(self._journal)))
