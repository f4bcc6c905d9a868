"""Both branches of every reconfiguration: what keeping would have given, and what reverting would have given."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any, Literal

from aiotwin_nb.decision import Verdict
from aiotwin_nb.orchestration.events import OBSERVATIONS, Action, Event, Reconfigured
from aiotwin_nb.orchestration.loop import Orchestrator
from aiotwin_nb.orchestration.ports import Runtime, Tracker
from aiotwin_nb.orchestration.state import Rules, RunState
from aiotwin_nb.orchestration.step import decide
from aiotwin_nb.orchestration.store import MemoryStore
from aiotwin_nb.scenario import number

TIE_POINTS = 0.5
LAST_EVALUATIONS = 3


def compare_branches(rules: Rules, new_runtime: Callable[[], Runtime], tracker: Tracker) -> list[dict[str, Any]]:
    """Run a scenario, then the road not taken of each of its reconfigurations, each to the end of the budget.

    A branch's final accuracy is the mean of its last 3 evaluations (percent). The reverted branch pays for the change,
    the window and the revert; nodes that left come back for it.
    """
    with TemporaryDirectory(prefix="aiotwin-compare-") as folder:
        store = _Snapshots(Path(folder), rules)
        taken = Orchestrator(rules, new_runtime(), store, tracker).run("compare")

        def run(forks: dict[int, Verdict]) -> RunState:
            branch = replace(rules, forks=forks, returning=True)
            orchestrator = Orchestrator(branch, new_runtime(), MemoryStore(), tracker)
            state = parting(branch, store.events)
            snapshot = store.snapshot(state.round)
            # Another branch never parts elsewhere than where there is a snapshot, but it could always begin anew.
            return orchestrator.branch(state, snapshot) if snapshot.is_file() else orchestrator.run("compare")

        return _branches(taken, run)


def parting(rules: Rules, events: Iterable[Event]) -> RunState:
    """The state in which a branch parts from a run with these events: the first decision that its rules make otherwise.

    What they have in common up to there need not be trained again. The run's last state if they never part.
    """
    state = RunState.before(rules)
    recorded: list[Event] = []
    actions: tuple[Action, ...] = ()
    for event in events:
        if not isinstance(event, OBSERVATIONS):
            recorded.append(event)
            continue
        if tuple(recorded) != actions:
            break
        state, actions = decide(state, event)
        recorded = []
    return state


class _Snapshots(MemoryStore):
    """Keeps a checkpoint of the rounds after which a branch may part: where a change acts, and where a window ends."""

    def __init__(self, folder: Path, rules: Rules) -> None:
        super().__init__()
        self._folder, self._rounds = folder, set(rules.changes)

    def record(self, event: Event) -> None:
        """Keep an event."""
        super().record(event)
        if isinstance(event, Reconfigured) and event.window is not None:
            self._rounds.add(event.window.evaluation_round)

    def checkpoint(self, number: int, save: Callable[[Path], None]) -> tuple[str, str]:
        """Keep the checkpoints that branches go on from."""
        if number in self._rounds:
            save(self.snapshot(number))
        return "", ""

    def snapshot(self, number: int) -> Path:
        """Where the checkpoint of a round is, if it was kept."""
        return self._folder / f"{number}.npz"


def _branches(taken: RunState, run: Callable[[dict[int, Verdict]], RunState]) -> list[dict[str, Any]]:
    results = []
    for record in taken.reconfigurations:
        refused = record.decision == "refused"
        was_reverted = record.decision == "reverted"
        other = None if refused else run({record.after_round: "kept" if was_reverted else "reverted"})
        kept, reverted = (other, taken) if was_reverted or refused else (taken, other)
        results.append(
            {
                "seed": taken.rules.scenario.seed,
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
