"""The loop around `decide`: it does the I/O. Every event is in the store before anything is done about it.

observe (round finished, command, boundary) → decide → record the actions → perform them → next
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from aiotwin_nb.errors import AIoTwinError, InvalidInput, RunFailed
from aiotwin_nb.orchestration.events import (
    OBSERVATIONS,
    Action,
    BoundaryReached,
    CommandApplied,
    Deployed,
    Event,
    Note,
    Observation,
    RoundFinished,
    RunEnded,
    RunResumed,
    RunStarted,
)
from aiotwin_nb.orchestration.metrics import metric_row, rows_of
from aiotwin_nb.orchestration.ports import RoundResult, Runtime, Tracker
from aiotwin_nb.orchestration.state import Rules, RunState, evolve, fold
from aiotwin_nb.orchestration.step import decide
from aiotwin_nb.orchestration.store import DirectoryStore, Store
from aiotwin_nb.orchestration.summary import summarise

Listener = Callable[[Event, RunState], None]


class Orchestrator:
    """Runs one scenario on a runtime, from the start or from where its store says it was."""

    def __init__(
        self, rules: Rules, runtime: Runtime, store: Store, tracker: Tracker, listeners: Sequence[Listener] = ()
    ) -> None:
        self.state = RunState.before(rules)
        self._rules = rules
        self._runtime = runtime
        self._store = store
        self._tracker = tracker
        self._listeners = list(listeners)
        self.interrupted = threading.Event()

    def run(self, run_id: str) -> RunState:
        """Run from the start to the end; returns the last state."""
        scenario = self._rules.scenario
        with self._closing():
            self._store.watch(lambda: self.state)
            self._observe(RunStarted(run_id, scenario.name, scenario.seed, self._runtime.name))
            self._start_runtime()
            self._rounds()
        return self.state

    def resume(self, tracked: Collection[int] = ()) -> RunState:
        """Go on with a run that was stopped or whose process died; returns the last state.

        `tracked`: rounds that the tracker's earlier segments hold; the others are logged again from the journal.
        """
        store = self._store
        assert isinstance(store, DirectoryStore), "only a run directory remembers what there is to resume"
        if not store.past:
            return self.run(store.directory.run_id)
        with self._closing():
            past, under_way = self._restore_state(store.past)
            if self.state.status == "finished":
                return self.state
            store.watch(lambda: self.state)
            checkpoint = self._verified_checkpoint(store)
            self._observe(RunResumed(self.state.round, under_way))
            if checkpoint is None:
                self._start_runtime()
            else:
                self._runtime.restore(checkpoint, self.state.infrastructure, self.state.current)
            for row in rows_of(self._rules, past):
                if row["round"] not in tracked:
                    self._tracker.log(row)
            self._rounds()
        return self.state

    def listen(self, listener: Listener) -> None:
        """Show events to somebody else too."""
        self._listeners.append(listener)

    def note(self, note: Note) -> None:
        """Put a note on record and show it; from any thread, while the run goes on."""
        try:
            self._store.record(note)
        except (RunFailed, ValueError, OSError):
            return  # the run has ended, or the disk is full: then the loop says so
        self._tell(note)

    def branch(self, state: RunState, checkpoint: Path) -> RunState:
        """Go on from a state of another run and the checkpoint of its last finished round; returns the last state."""
        with self._closing():
            self.state = state
            if state.status == "running":
                self._runtime.restore(checkpoint, state.infrastructure, state.current)
                self._rounds()
        return self.state

    # The steps of a run.

    def _rounds(self) -> None:
        """Round after round, with a boundary between any two, until the run ends or rests."""
        while self.state.status == "running":
            if self.state.round_under_way is None:
                self._boundary()
            if self.state.round_under_way is not None:
                self._finish_round(self._runtime.run_round(self.state.round_under_way))

    def _boundary(self) -> None:
        """Between two rounds: commands and scripted events act."""
        after_round = self.state.round
        if self.interrupted.is_set():
            self._observe(CommandApplied(f"signal-{after_round}", after_round, stop="interrupted"))
        for command_id, command in self._store.commands(self.state):
            stop = "stopped" if command.command == "stop" else None
            self._observe(CommandApplied(command_id, after_round, command.to_change() or None, stop))
        self._observe(BoundaryReached(after_round))
        self._tracker.log(metric_row(self.state))

    def _start_runtime(self) -> None:
        try:
            result = self._runtime.start(self.state.infrastructure, self.state.current)
        except InvalidInput as error:
            raise RunFailed(str(error)) from error  # the run has begun: its directory says why it failed
        self._finish_round(result)

    def _finish_round(self, result: RoundResult) -> None:
        name, digest = self._store.checkpoint(result.round, self._runtime.save)
        cost = self.state.round_cost if result.round > 0 else self.state.round_cost * 0
        self._observe(RoundFinished(result, cost, name, digest))
        if self.state.status != "running":
            self._tracker.log(metric_row(self.state))

    def _observe(self, observation: Observation) -> None:
        """Record an observation, decide, record what follows, and do it."""
        self._store.record(observation)
        state, actions = decide(self.state, observation)
        for action in actions:
            self._store.record(action)
        self.state = state
        self._perform(actions)
        self._tell(observation, *actions)

    def _perform(self, actions: Sequence[Action]) -> None:
        if self.state.status == "running" and any(isinstance(action, Deployed) for action in actions):
            self._runtime.apply(self.state.infrastructure, self.state.current)

    def _tell(self, *events: Event) -> None:
        """Show events; a listener that can no longer show anything (a closed terminal) is left out from then on."""
        for listener in list(self._listeners):
            try:
                for event in events:
                    listener(event, self.state)
            except (OSError, ValueError):
                self._listeners.remove(listener)

    # Resuming.

    def _restore_state(self, past: Sequence[Event]) -> tuple[list[Event], int | None]:
        """Fold the journal, and complete the actions of its last observation if the process died between them.

        Returns all events, the completed ones included, and the round that was under way and has to be repeated.
        """
        last = max(i for i, event in enumerate(past) if isinstance(event, OBSERVATIONS))
        observation: Any = past[last]
        _, actions = decide(fold(self._rules, past[:last]), observation)
        recorded = [event for event in past[last + 1 :] if isinstance(event, Action)]
        missing = actions[len(recorded) :]
        self.state = fold(self._rules, past)
        under_way = self.state.round_under_way
        for action in missing:
            self._store.record(action)
            self.state = evolve(self.state, action)
        return [*past, *missing], under_way

    def _verified_checkpoint(self, store: DirectoryStore) -> Path | None:
        finished = self.state.checkpoint
        return None if finished is None else store.verified_checkpoint(finished.checkpoint, finished.sha256)

    # Ending.

    @contextmanager
    def _closing(self) -> Iterator[None]:
        """End the runtime, the tracker and the store whatever happens; an error is on record before it is raised."""
        try:
            yield
        except InvalidInput:
            raise  # nothing has happened to the run
        except Exception as error:
            self._record_failure(error)
            raise
        finally:
            self._runtime.close()
            summary = summarise(self.state)
            try:
                self._store.summary(summary)
            finally:
                self._tracker.summary({k: v for k, v in summary.items() if isinstance(v, str | int | float)})
                self._tracker.finish(0 if self.state.status in ("finished", "stopped") else 1)
                self._store.close()

    def _record_failure(self, error: Exception) -> None:
        message = str(error) if isinstance(error, AIoTwinError) else f"{type(error).__name__}: {error}"
        try:
            self._store.record(ended := RunEnded("failed", "error", message))
        except RunFailed:
            return  # the disk is full: the journal ends with the last thing that was written
        self.state = evolve(self.state, ended)
        self._tell(ended)


@contextmanager
def stopping_on_signals(orchestrator: Orchestrator) -> Iterator[None]:
    """Let SIGINT and SIGTERM stop a run at the next round boundary; a second SIGINT ends the process at once."""

    def stop(number: int, frame: Any) -> None:
        if orchestrator.interrupted.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        orchestrator.interrupted.set()

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def check_budget(rules: Rules) -> None:
    """Raise InvalidInput when the budget does not cover one round of the first plan, or a round costs nothing."""
    state, _ = decide(RunState.before(rules), RunStarted("", rules.scenario.name, rules.scenario.seed, ""))
    if state.round_cost <= 0:
        raise InvalidInput("nodes: a round costs 0, so no budget is ever used; give at least one link a cost above 0")
    if rules.budget is not None and rules.budget < state.round_cost:
        raise InvalidInput(
            f"objective.budget: is {rules.budget}, below the cost of one round, {state.round_cost.normalize():f}; "
            "give at least that much"
        )
