"""Forecasts on recorded cluster runs of the original system (CIFAR-10, 13 nodes), as a check from outside.

Nothing is trained or tuned on them. The folder holds 1a/ and 1b/, each with cluster.csv, changes.csv and rva.csv.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from aiotwin_nb.bench.branches import plain
from aiotwin_nb.decision import validate
from aiotwin_nb.orchestration.events import RoundFinished, RunStarted
from aiotwin_nb.orchestration.ports import RoundResult
from aiotwin_nb.orchestration.question import question
from aiotwin_nb.orchestration.replay import read_trace
from aiotwin_nb.orchestration.state import Rules, RunState, evolve
from aiotwin_nb.orchestration.step import decide
from aiotwin_nb.scenario.load import build_scenario
from aiotwin_nb.scenario.located import parse_yaml

FINALS = {"1a": (48.84, 47.63), "1b": (53.11, 64.69)}  # published: after a revert, kept
_SCENARIO = """
name: recorded
nodes: {csv: cluster.csv}
objective: {budget: 100000, overshoot: allowed}
events: [{after_round: 10, add: {csv: changes.csv}}]
"""


def forecasts(folder: Path, trends: tuple[str, ...] = ("log_original", "log", "average")) -> list[dict[str, Any]]:
    """Return each method's forecast of both futures of each run, beside what happened; none without the folder."""
    rows: list[dict[str, Any]] = []
    for run, finals in FINALS.items():
        if not (folder / run / "rva.csv").is_file():
            continue
        asked = recorded_question(folder / run)
        methods: dict[str, dict[str, Any]] = {
            "default, rows alone": {"policy": "default", "context": None},
            "default, labels known": {"policy": "default"},
            **{f"rva, {trend}": {"policy": "rva", "trend": trend} for trend in trends},
        }
        for name, changes in methods.items():
            decision = validate(**{**asked, **changes})
            for future, predicted, interval, happened in (
                ("old", decision.predicted_old, decision.interval_old, finals[0]),
                ("new", decision.predicted_new, decision.interval_new, finals[1]),
            ):
                rows.append(
                    {
                        "run": run, "method": name, "future": future, "decision": decision.decision,
                        "predicted": predicted, "interval": interval, "happened": happened,
                        "error": None if predicted is None else predicted - happened,
                    }
                )  # fmt: skip
    return rows


def recorded_question(folder: Path) -> dict[str, Any]:
    """Return what was asked at the end of a recorded run's window: the journal of a replay up to there."""
    scenario = build_scenario(parse_yaml(_SCENARIO, "recorded"), folder)
    rules = Rules.of(scenario)
    state, _ = decide(RunState.before(rules), RunStarted("recorded", "recorded", 0, "replay"))
    for row in read_trace(folder / "rva.csv"):
        finished = RoundFinished(
            RoundResult(row.round, row.accuracy, row.loss, 0.0), state.round_cost * min(row.round, 1)
        )
        seen = evolve(state, finished)
        if seen.window is not None and seen.round == seen.window.evaluation_round:
            return plain(question(seen, seen.window))
        state, _ = decide(state, finished)
        state = _next(state, row.round)
    raise ValueError(f"{folder}: the recorded run ends before its validation")


def _next(state: RunState, after_round: int) -> RunState:
    from aiotwin_nb.orchestration.events import BoundaryReached

    return decide(state, BoundaryReached(after_round))[0]
