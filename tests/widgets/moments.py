"""A run as panels see it, moment by moment: really trained, but in this process and in memory."""

from functools import cache
from pathlib import Path

from aiotwin_nb import api
from aiotwin_nb.orchestration.loop import Orchestrator
from aiotwin_nb.orchestration.state import RunState, evolve
from aiotwin_nb.orchestration.store import MemoryStore
from aiotwin_nb.tracking import NullTracker
from aiotwin_nb.widgets.follow import Snapshot

ROUNDS = {"training__max_rounds": 18}  # a few more than up to the decision after round 15


@cache
def states(lab, **overrides):
    """The state after every event of a run of a lab, on the fast runtime; overrides with __ for dots."""
    scenario = api.resolve(lab, overrides)
    rules, store = api.check(scenario), MemoryStore()
    Orchestrator(rules, api.make_runtime("stacked", scenario), store, NullTracker()).run("test")
    found = [RunState.before(rules)]
    for event in store.events:
        found.append(evolve(found[-1], event))
    return found


def moment(path, number, lab="improvement", **overrides):
    """The snapshot when a round has just finished and everything that follows from it has happened; -1: the end."""
    every = states(lab, **overrides)
    wanted = [state for state in every if state.round == number] if number >= 0 else every
    return Snapshot(path=Path(path), state=wanted[-1], status=wanted[-1].status)


def branch(kept, reverted, best):
    """What both roads of the change after round 10 gave: final accuracies, or None where there is no such road."""
    ends = [end and {"final_accuracy": end, "rounds": 40, "total_cost": 99000} for end in (kept, reverted)]
    return {"after_round": 10, "kept": ends[0], "reverted": ends[1], "decision": "kept", "best": best}
