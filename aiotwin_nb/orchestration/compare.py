"""Both branches of every reconfiguration: what keeping would have given, and what reverting would have given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from statistics import fmean
from typing import Any, Literal

from aiotwin_nb.decision import Verdict
from aiotwin_nb.orchestration.loop import Orchestrator
from aiotwin_nb.orchestration.ports import Runtime, Tracker
from aiotwin_nb.orchestration.state import Rules, RunState
from aiotwin_nb.orchestration.store import MemoryStore
from aiotwin_nb.scenario import number

TIE_POINTS = 0.5
LAST_EVALUATIONS = 3


def compare_branches(rules: Rules, new_runtime: Callable[[], Runtime], tracker: Tracker) -> list[dict[str, Any]]:
    """Run a scenario, then the road not taken of each of its reconfigurations, each to the end of the budget.

    A branch's final accuracy is the mean of its last 3 evaluations (percent). The reverted branch pays for the change,
    the window and the revert; nodes that left come back for it.
    """

    def run(forks: dict[int, Verdict]) -> RunState:
        branch = replace(rules, forks=forks, returning=bool(forks))
        return Orchestrator(branch, new_runtime(), MemoryStore(), tracker).run("compare")

    taken = run({})
    results = []
    for record in taken.reconfigurations:
        refused = record.decision == "refused"
        was_reverted = record.decision == "reverted"
        other = None if refused else run({record.after_round: "kept" if was_reverted else "reverted"})
        kept, reverted = (other, taken) if was_reverted or refused else (taken, other)
        results.append(
            {
                "seed": rules.scenario.seed,
                "after_round": record.after_round,
                "kept": _outcome(kept),
                "reverted": _outcome(reverted),
                "decision": record.decision,
                "best": _best(kept, reverted),
            }
        )
    return results


def _outcome(state: RunState | None) -> dict[str, Any] | None:
    if state is None:
        return None
    return {"final_accuracy": _final(state), "rounds": state.round, "total_cost": number(state.spent)}


def _final(state: RunState) -> float:
    return fmean(row.accuracy for row in state.history[-LAST_EVALUATIONS:])


def _best(kept: RunState | None, reverted: RunState | None) -> Literal["kept", "reverted", "tie"]:
    if kept is None or reverted is None:
        return "reverted" if kept is None else "kept"
    gain = _final(kept) - _final(reverted)
    return "tie" if abs(gain) <= TIE_POINTS else "kept" if gain > 0 else "reverted"
