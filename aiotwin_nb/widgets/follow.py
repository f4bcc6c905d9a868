"""Follow a run as it happens: its journal and its W&B log, read by one thread for all panels of a lab.

Looking never changes a run: a follower only reads, and any number of them may follow one run.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from aiotwin_nb.api import LOG
from aiotwin_nb.errors import InvalidInput
from aiotwin_nb.orchestration.events import (
    CommandApplied,
    CommandReceived,
    CommandRejected,
    Event,
    RoundFinished,
    RunResumed,
)
from aiotwin_nb.orchestration.journal import Entry, JournalTail
from aiotwin_nb.orchestration.metrics import StateAndRows
from aiotwin_nb.orchestration.rundir import RunDirectory
from aiotwin_nb.orchestration.state import RunState
from aiotwin_nb.tracking import WandbLogSource

logger = logging.getLogger(__name__)

Status = Literal["running", "finished", "stopped", "failed", "interrupted"]
Origin = Literal["W&B", "W&B and the journal", "the journal (W&B is off)", "the journal"]
Row = Mapping[str, Any]

POLL_SECONDS = 0.1
ALIVE_SECONDS = 0.5  # how often it is asked whether the run's process lives
LATE_SECONDS = 1.0  # a round that W&B lacks for so long is taken from the journal; W&B needs seconds to open its log
BEHIND_SECONDS = 10.0  # and after so long that is worth a word
LAST_WORDS = 5


@dataclass(frozen=True)
class SentCommand:
    """A command as the run's journal tells of it. `reason`: why it was rejected."""

    id: str
    command: Mapping[str, Any]
    status: Literal["received", "applied", "rejected"]
    after_round: int | None = None
    reason: str = ""


@dataclass(frozen=True, eq=False)
class Snapshot:
    """What is known of a run at one moment; everything that panels draw comes from here.

    `rows`: one per finished round, from W&B where it has them; `origin`: where that was. `problem`: why some of them
    come from the journal although W&B is on, or why the journal cannot be read; empty when all is well. `elapsed`:
    seconds that the run has been at work, as its journal tells. `last_words`: the end of what its process wrote, once
    it has died or failed.
    """

    path: Path
    state: RunState
    status: Status
    rows: tuple[Row, ...] = ()
    origin: Origin = "W&B"
    problem: str = ""
    commands: tuple[SentCommand, ...] = ()
    elapsed: float = 0.0
    last_words: tuple[str, ...] = ()

    @property
    def live(self) -> bool:
        """Whether a process is at work on the run."""
        return self.status == "running"


class Follower:
    """Reads what a run directory gained since the last look and makes a `Snapshot` of the whole.

    `look` is one step; `start` repeats it in a thread and hands every new snapshot to `tell`, until `close`.
    """

    def __init__(
        self,
        path: str | Path,
        tell: Callable[[Snapshot], None] = lambda snapshot: None,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._directory = RunDirectory.open(path)
        self._tell = tell
        self._clock = clock
        self._folded = StateAndRows(self._directory.rules())
        self._journal = JournalTail(self._directory.journal_file)
        off = self._directory.notes().get("tracking") == "off"
        self._tracked = _Tracked(self._directory.path, now, off=off)
        self._commands: dict[str, SentCommand] = {}
        self._elapsed = _Elapsed()
        self._damage = ""
        self._alive = self._directory.is_owned()
        self._asked = clock()
        self._last: tuple[Any, ...] = ()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def look(self) -> Snapshot | None:
        """Read what is new; returns a snapshot, or None when nothing has changed since the last one."""
        alive = self._still_alive()  # asked first: what a dying process wrote last is read below
        events = self._read_journal()
        state = self._folded.state
        rows, origin, problem = self._tracked.rows(self._folded, hurry=not alive)
        status: Status = "interrupted" if state.status == "running" and not alive else state.status
        seen = (status, len(rows), rows[-1:], origin, problem, self._damage)
        if not events and seen == self._last:
            return None
        self._last = seen
        return Snapshot(
            path=self._directory.path,
            state=state,
            status=status,
            rows=rows,
            origin=origin,
            problem=self._damage or problem,
            commands=tuple(self._commands.values()),
            elapsed=self._elapsed.seconds,
            last_words=self._last_words() if status in ("interrupted", "failed") else (),
        )

    def start(self) -> Follower:
        """Begin to follow in a thread."""
        self._thread = threading.Thread(target=self._follow, name="aiotwin-follow", daemon=True)
        self._thread.start()
        return self

    def close(self) -> None:
        """End the thread; the run goes on. Safe to call twice and from the thread itself."""
        self._closing.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout=5)

    def _follow(self) -> None:
        while not self._closing.is_set():
            try:
                if (snapshot := self.look()) is not None and not self._closing.is_set():
                    self._tell(snapshot)
            except OSError:
                pass  # the folder is being copied, moved or deleted: look again
            except Exception:  # one who looks on failed; the others shall go on
                logger.exception("a new state of the run %s could not be shown", self._directory.run_id)
            self._closing.wait(POLL_SECONDS)

    def _still_alive(self) -> bool:
        now = self._clock()
        if now - self._asked >= ALIVE_SECONDS:
            self._asked, self._alive = now, self._directory.is_owned()
        return self._alive

    def _read_journal(self) -> list[Event]:
        if self._damage:
            return []
        try:
            entries = self._journal.read()
        except InvalidInput as error:
            self._damage = str(error)
            return []
        for entry in entries:
            self._folded.add(entry.event)
            self._tracked.add(entry)
            self._elapsed.add(entry.time, entry.event)
            self._note(entry.event)
        return [entry.event for entry in entries]

    def _note(self, event: Event) -> None:
        """Keep account of the commands that people sent."""
        match event:
            case CommandReceived():
                self._commands[event.id] = SentCommand(event.id, event.command, "received")
            case CommandApplied() if event.id in self._commands:
                sent = self._commands[event.id]
                self._commands[event.id] = replace(sent, status="applied", after_round=event.after_round)
            case CommandRejected():
                sent = self._commands.get(event.id, SentCommand(event.id, {}, "rejected"))
                self._commands[event.id] = replace(sent, status="rejected", reason=event.reason)

    def _last_words(self) -> tuple[str, ...]:
        if self._folded.state.message:
            return tuple(self._folded.state.message.splitlines()[-LAST_WORDS:])
        try:
            text = (self._directory.path / LOG).read_text(errors="replace")
        except OSError:
            return ()
        return tuple(text.strip().splitlines()[-LAST_WORDS:])


class _Tracked:
    """A run's rows from W&B, and from the journal those that W&B lacks for too long."""

    def __init__(self, path: Path, now: Callable[[], datetime], *, off: bool) -> None:
        self._source = WandbLogSource(path)
        self._now = now
        self._off = off  # the run was started without W&B; it may be resumed with it
        self._rows: dict[int, Row] = {}
        self._known: dict[int, datetime] = {}  # when the journal had a round
        self._resumed = datetime.min.replace(tzinfo=UTC)
        self._damage = ""

    def add(self, entry: Entry) -> None:
        """Take in a journal entry: what W&B should have by now, or soon."""
        if isinstance(entry.event, RoundFinished):
            self._known[entry.event.result.round] = datetime.fromisoformat(entry.time)
        elif isinstance(entry.event, RunResumed):  # rounds that W&B lacks are logged again
            self._resumed = datetime.fromisoformat(entry.time)

    def rows(self, folded: StateAndRows, *, hurry: bool) -> tuple[tuple[Row, ...], Origin, str]:
        """All rows so far, ascending, where they are from, and what is wrong; `hurry`: nobody writes any more."""
        self._read()
        lacking = [number for number in self._known if number not in self._rows]
        late = lacking if hurry or self._damage or self._off else self._older(lacking, LATE_SECONDS)
        if not late:
            return self._in_order({}), "W&B", self._damage
        journal = {row["round"]: row for row in folded.rows()}
        rows = self._in_order({number: journal[number] for number in late if number in journal})
        if self._off and not self._rows:
            return rows, "the journal (W&B is off)", ""
        problem = self._damage
        if not problem and (overdue := self._older(lacking, BEHIND_SECONDS)):
            problem = self._why(overdue)
        return rows, "W&B and the journal" if self._rows else "the journal", problem

    def _older(self, rounds: Sequence[int], seconds: float) -> list[int]:
        """Those of the rounds that the journal has had for so long."""
        before = self._now() - timedelta(seconds=seconds)
        return [number for number in rounds if max(self._known[number], self._resumed) <= before]

    def _read(self) -> None:
        if self._damage:
            return
        try:
            self._rows |= {row["round"]: row for row in self._source.poll()}
        except Exception as error:  # what is damaged may break anything; the journal has it all
            self._damage = f"The W&B log cannot be read ({error}); the curves come from the journal."

    def _in_order(self, more: Mapping[int, Row]) -> tuple[Row, ...]:
        rows = {**self._rows, **more}
        return tuple(rows[number] for number in sorted(rows))

    def _why(self, lacking: Sequence[int]) -> str:
        if not self._rows:
            return "There is no W&B log with rows (it is lost, or W&B failed); the curves come from the journal."
        where = f"round {lacking[0]}" if len(lacking) == 1 else f"{len(lacking)} rounds from round {lacking[0]} on"
        return f"The W&B log lacks {where} (it is behind, cut off or damaged there); they come from the journal."


class _Elapsed:
    """Seconds at work: from journal line to journal line, without the rests between two lives of a run."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._last: datetime | None = None

    def add(self, time_of_entry: str, event: Event) -> None:
        """Take in the time of the next entry (ISO 8601)."""
        now = datetime.fromisoformat(time_of_entry)
        if self._last is not None and not isinstance(event, RunResumed):
            self.seconds += max((now - self._last).total_seconds(), 0.0)
        self._last = now
