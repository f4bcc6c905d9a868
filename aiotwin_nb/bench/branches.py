"""Both futures of a scenario's decision, each run to the end of the budget, and the question a policy would be asked.

Branches are run by the orchestrator with the `stacked` runtime and imposed verdicts (`Rules.forks`), as `aiotwin
compare` does; the question is what the orchestrator itself asks, from the journal folded up to the evaluation round.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

from aiotwin_nb.api import training_spec
from aiotwin_nb.decision import Verdict
from aiotwin_nb.orchestration.compare import LAST_EVALUATIONS
from aiotwin_nb.orchestration.events import Event, RoundFinished
from aiotwin_nb.orchestration.loop import Orchestrator
from aiotwin_nb.orchestration.question import question
from aiotwin_nb.orchestration.state import Rules, RunState, evolve
from aiotwin_nb.orchestration.store import MemoryStore
from aiotwin_nb.scenario import Scenario, number
from aiotwin_nb.tracking import NullTracker


@dataclass(frozen=True)
class Case:
    """One decision whose both outcomes are known.

    `questions`: {extra rounds in the window: arguments of `validate`}. `kept`, `reverted`: final accuracies in percent
    (mean of the last 3 evaluations); `reverted` by the extra rounds after which the revert was made.
    """

    data_set: str
    name: str
    seed: int
    window: int
    questions: dict[int, dict[str, Any]]
    kept: float
    reverted: dict[int, float]


def run_case(scenario: Scenario, extensions: Sequence[int] = (0,)) -> Case | None:
    """Run both branches; None when the event leads to no decision (nothing changed, or the budget refuses it).

    `extensions`: the extra window rounds for which the revert is run and the question recorded.
    """
    kept_state, kept_events = _run(scenario, "kept")
    record = kept_state.reconfigurations[0] if kept_state.reconfigurations else None
    if record is None or record.decision != "kept" or kept_state.status != "finished":
        return None
    questions = _questions(kept_state.rules, kept_events, max(extensions))
    reverted = {}
    for extra in extensions:
        state, _ = _run(_with_window(scenario, scenario.validation.window + extra), "reverted")
        if extra in questions and state.reconfigurations[0].decision == "reverted":
            reverted[extra] = final_accuracy(state)
    if 0 not in reverted:
        return None
    return Case(
        data_set=str(scenario.task.name),
        name=scenario.name,
        seed=scenario.seed,
        window=scenario.validation.window,
        questions=questions,
        kept=final_accuracy(kept_state),
        reverted=reverted,
    )


def final_accuracy(state: RunState) -> float:
    """Mean accuracy (percent) of the last 3 evaluations."""
    return fmean(row.accuracy for row in state.history[-LAST_EVALUATIONS:])


def _with_window(scenario: Scenario, rounds: int) -> Scenario:
    validation = scenario.validation.model_copy(update={"window": rounds})
    return scenario.model_copy(update={"validation": validation})


def _run(scenario: Scenario, verdict: Verdict) -> tuple[RunState, list[Event]]:
    from aiotwin_nb.runtime.stacked import StackedRuntime

    forks = {event.after_round: verdict for event in scenario.events}
    rules = replace(Rules.of(scenario), forks=forks, returning=True)
    store = MemoryStore()
    state = Orchestrator(rules, StackedRuntime(training_spec(scenario)), store, NullTracker()).run("bench")
    return state, store.events


def _questions(rules: Rules, events: Sequence[Event], extra_rounds: int) -> dict[int, dict[str, Any]]:
    """Return the question after the window and after each extra round, from the journal of the branch that was kept."""
    state, window, found = RunState.before(rules), None, {}
    for event in events:
        state = evolve(state, event)
        window = state.window or window
        if window is not None and isinstance(event, RoundFinished):
            extra = state.round - window.evaluation_round
            if 0 <= extra <= extra_rounds:
                found[extra] = plain(question(state, window))
    return found


def plain(asked: dict[str, Any]) -> dict[str, Any]:
    """Return a question with decimals as plain numbers, so that it can be kept as JSON."""
    return {key: number(value) if hasattr(value, "as_tuple") else value for key, value in asked.items()}
