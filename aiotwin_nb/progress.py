"""What a run looks like on a terminal: one live line block, or plain lines where there is no terminal."""

from __future__ import annotations

import sys
import time
from typing import IO, Protocol

from aiotwin_nb.orchestration.events import (
    CommandRejected,
    Decided,
    Event,
    InfrastructureChanged,
    MemberChanged,
    Planned,
    Reconfigured,
    RoundFinished,
    RoundStarted,
    RunEnded,
    RunResumed,
)
from aiotwin_nb.orchestration.state import RunState
from aiotwin_nb.planning.configuration import Configuration
from aiotwin_nb.scenario import number

TOLD = ("late", "back", "lost", "restored")  # what becomes of members; joining and moving is seen from the plan


class Progress(Protocol):
    """Shows a run's events; used as a listener of the orchestrator."""

    def __call__(self, event: Event, state: RunState) -> None:
        """Show an event and the state after it."""

    def close(self) -> None:
        """Leave the terminal as it was."""


def make_progress(stream: IO[str] | None = None, *, quiet: bool = False) -> Progress:
    """Live display on a terminal, plain lines elsewhere, nothing when quiet."""
    stream = stream or sys.stderr
    if quiet or stream is None:  # no standard error at all: it was closed by whoever started us
        return _Silent()
    return _Live(stream) if stream.isatty() else _Plain(stream)


class Counter(Protocol):
    """Shows how far a number of equal tasks is."""

    def __call__(self, done: int, total: int, label: str, error: str | None) -> None:
        """Show that a task is done; `error` if it failed."""

    def close(self) -> None:
        """Leave the terminal as it was."""


def make_counter(stream: IO[str] | None = None, *, quiet: bool = False) -> Counter:
    """A line that counts on a terminal, a line a task (at most one a second) elsewhere, nothing when quiet."""
    stream = stream or sys.stderr
    if quiet or stream is None:
        return _NoCounter()
    return _LiveCounter(stream) if stream.isatty() else _PlainCounter(stream)


def describe(event: Event, state: RunState) -> str | None:
    """An event in one sentence for people; None for events that need none."""
    match event:
        case Planned():
            return f"plan: {clusters(event.configuration)}; a round costs {number(event.round_cost)}"
        case RoundFinished() if event.result.problems:
            return "; ".join(f"round {event.result.round}: {m}" for m in event.result.problems.values())
        case InfrastructureChanged():
            return _change(event)
        case Reconfigured():
            record = event.reconfiguration
            return (
                f"reconfiguration after round {record.after_round}: {clusters(record.configuration)}; "
                f"change costs {number(record.change_cost)}, a round {number(record.round_cost_after)} "
                f"instead of {number(record.round_cost_before)}; {_word(record.decision)}: {record.reason}"
            )
        case Decided():
            record = event.reconfiguration
            return f"decision after round {state.round}: {record.decision.upper()}: {record.reason}"
        case CommandRejected():
            return f"command rejected: {event.reason}"
        case MemberChanged() if event.standing in TOLD:
            return f"{event.node} is {event.standing}: {event.reason}"
        case RunResumed():
            return f"resumed after round {event.after_round}"
        case RunEnded():
            return f"{event.status} ({event.stop_reason}) {event.message}".strip()
    return None


def clusters(configuration: Configuration) -> str:
    """`n2 ← n4 n5 n6 | n3 ← n7 n8`."""
    return " | ".join(f"{aggregator} ← {' '.join(clients)}" for aggregator, clients in configuration.clusters)


def _change(event: InfrastructureChanged) -> str:
    change = event.change
    parts = [f"{node.id} joins" for node in change.added] + [f"{i} leaves" for i in change.removed]
    parts += [f"{i}: link {p} now {c}" for i, links in change.links.items() for p, c in links.items()]
    parts += [f"{i}: new data" for i in change.data] + [f"skipped: {reason}" for reason in event.skipped]
    return f"after round {event.after_round}: {', '.join(parts)}"


def _word(decision: str) -> str:
    return {"pending": "watching"}.get(decision, decision.replace("_", " "))


def _phase(state: RunState) -> str:
    if state.window is None:
        return "training"
    watched = max(state.round - state.window.start_round, 0)
    return f"watching {watched}/{state.window.evaluation_round - state.window.start_round}"


def _round_line(state: RunState) -> str:
    row = state.history[-1]
    budget = "" if state.rules.budget is None else f" of {number(state.rules.budget):,}"
    return (
        f"round {row.round:3d}  accuracy {row.accuracy:5.1f} %  loss {row.loss:6.3f}  "
        f"spent {number(row.total_cost):,}{budget}  {_phase(state)}"
    )


def _short_line(state: RunState) -> str:
    row = state.history[-1]
    budget = "" if state.rules.budget is None else f"/{number(state.rules.budget):,}"
    return (
        f"round {row.round} · accuracy {row.accuracy:.1f} % · cost {number(row.total_cost):,}{budget} · {_phase(state)}"
    )


class _NoCounter:
    def __call__(self, done: int, total: int, label: str, error: str | None) -> None:
        """Show nothing."""

    def close(self) -> None:
        """Nothing to do."""


class _PlainCounter:
    """A line a task, at most one a second; failures and the last one always."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._last = 0.0

    def __call__(self, done: int, total: int, label: str, error: str | None) -> None:
        if error or done == total or time.monotonic() - self._last >= 1:
            self._last = time.monotonic()
            print(f"{done} of {total}: {label}" + " FAILED" * bool(error), file=self._stream, flush=True)

    def close(self) -> None:
        """Nothing to do."""


class _LiveCounter:
    """One line with a bar, the time gone and the time left; failures scroll by above it."""

    def __init__(self, stream: IO[str]) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
        from rich.progress import TimeRemainingColumn as Left

        console = Console(file=stream, highlight=False)
        columns = (BarColumn(bar_width=16), MofNCompleteColumn(), TextColumn("{task.description}", markup=False))
        self._bar = Progress(*columns, TimeElapsedColumn(), TextColumn("left"), Left(), console=console, transient=True)
        self._task = self._bar.add_task("starting", total=None)
        self._bar.start()

    def __call__(self, done: int, total: int, label: str, error: str | None) -> None:
        if error:
            self._bar.console.print(f"{label} FAILED", markup=False)
        self._bar.update(self._task, description=label, total=total, completed=done)

    def close(self) -> None:
        """Take the line away."""
        self._bar.stop()


class _Silent:
    def __call__(self, event: Event, state: RunState) -> None:
        """Show nothing."""

    def close(self) -> None:
        """Nothing to do."""


class _Plain:
    """A line per event and per round, at most one round line a second."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._last = 0.0

    def __call__(self, event: Event, state: RunState) -> None:
        if text := describe(event, state):
            print(text, file=self._stream, flush=True)
        if isinstance(event, RoundFinished) and time.monotonic() - self._last >= 1:
            self._last = time.monotonic()
            print(_round_line(state), file=self._stream, flush=True)

    def close(self) -> None:
        """Nothing to do."""


class _Live:
    """Messages scroll by above a bar that shows round, accuracy, spent budget and phase."""

    def __init__(self, stream: IO[str]) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, TextColumn, TimeElapsedColumn

        console = Console(file=stream, highlight=False)
        columns: list[ProgressColumn] = [SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()]
        if console.width >= 100:  # on 80 columns the words are worth more than the bar
            columns.insert(2, BarColumn(bar_width=16))
        self._bar = Progress(*columns, console=console, transient=True)
        self._task = self._bar.add_task("starting", total=1.0)
        self._bar.start()

    def __call__(self, event: Event, state: RunState) -> None:
        if text := describe(event, state):
            self._bar.console.print(text, markup=False)
        if isinstance(event, RoundFinished | RoundStarted) and state.history:
            total = state.rules.budget or state.rules.scenario.training.max_rounds
            done = state.spent if state.rules.budget else state.round
            self._bar.update(self._task, description=_short_line(state), total=float(total), completed=float(done))

    def close(self) -> None:
        """Take the bar away."""
        self._bar.stop()
