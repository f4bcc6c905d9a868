"""Both futures of a scenario's decision, each run to the end of the budget, and the question a policy would be asked.

Branches are run by the orchestrator with the `stacked` runtime and imposed verdicts (`Rules.forks`), as `aiotwin
compare` does; the question is what the orchestrator itself asks, from the journal folded up to the evaluation round.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any

from aiotwin_nb.api import training_spec
from aiotwin_nb.bench.rehearsal import Rehearsal
from aiotwin_nb.decision import Verdict
from aiotwin_nb.orchestration.compare import LAST_EVALUATIONS
from aiotwin_nb.orchestration.events import Event, RoundFinished
from aiotwin_nb.orchestration.loop import Orchestrator
from aiotwin_nb.orchestration.ports import Runtime
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

    `extensions`: the extra window rounds for which the revert is run; questions are recorded up to the most of them.
    """
    from aiotwin_nb.runtime.stacked import StackedRuntime

    begin = scenario.events[0].after_round
    forks = [begin, *(begin + scenario.validation.window + extra for extra in extensions)]  # refused, or reverted
    with TemporaryDirectory() as folder:
        runtime = Rehearsal(StackedRuntime(training_spec(scenario)), Path(folder), forks)
        kept, events = _run(scenario, "kept", runtime)
        record = kept.reconfigurations[0] if kept.reconfigurations else None
        if record is None or record.decision != "kept" or kept.status != "finished":
            return None
        questions = _questions(kept.rules, events, max(extensions))
        reverted = {}
        for extra in extensions:
            longer = _with_window(scenario, scenario.validation.window + extra)
            state, _ = _run(longer, "reverted", runtime)
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
        kept=final_accuracy(kept),
        reverted=reverted,
    )


def final_accuracy(state: RunState) -> float:
    """Mean accuracy (percent) of the last 3 evaluations."""
    return fmean(row.accuracy for row in state.history[-LAST_EVALUATIONS:])


def _with_window(scenario: Scenario, rounds: int) -> Scenario:
    validation = scenario.validation.model_copy(update={"window": rounds})
    return scenario.model_copy(update={"validation": validation})


def _run(scenario: Scenario, verdict: Verdict, runtime: Runtime) -> tuple[RunState, list[Event]]:
    forks = {event.after_round: verdict for event in scenario.events}
    rules = replace(Rules.of(scenario), forks=forks, returning=True)
    store = MemoryStore()
    state = Orchestrator(rules, runtime, store, NullTracker()).run("bench")
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


def is_held_out(seed: int) -> bool:
    """Odd numbers are held out for scoring; even ones are for training."""
    return seed % 2 == 1


def load_cases(path: Path) -> list[Case]:
    """Return the cases of a file, or of all files cases-*.jsonl of a folder."""
    files = sorted(path.glob("cases-*.jsonl")) if path.is_dir() else [path]
    return [case for file in files for line in file.read_text().splitlines() if (case := from_json(line))]


def to_json(case: Case | None, number: int) -> str:
    """Return a case as a line of JSON; also that a number gave no decision, so that it need not be run again."""
    return json.dumps({"seed": number} if case is None else asdict(case))


def from_json(line: str) -> Case | None:
    """Return the case of a line, None where there was no decision."""
    raw = json.loads(line)
    if "kept" not in raw:
        return None
    for key in ("questions", "reverted"):  # JSON has made text of the extra rounds
        raw[key] = {int(extra): value for extra, value in raw[key].items()}
    return Case(**raw)


def plain(asked: dict[str, Any]) -> dict[str, Any]:
    """Return a question with decimals as plain numbers, so that it can be kept as JSON."""
    return {key: number(value) if hasattr(value, "as_tuple") else value for key, value in asked.items()}
