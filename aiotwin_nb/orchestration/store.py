"""Where the loop puts what happens: a run directory, or memory for branches that nobody keeps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Event as Flag
from threading import Lock, Thread
from typing import Any, Protocol

from aiotwin_nb.continuum import Infrastructure
from aiotwin_nb.errors import InvalidInput, RunFailed
from aiotwin_nb.orchestration.events import CommandApplied, CommandReceived, CommandRejected, Event
from aiotwin_nb.orchestration.inbox import (
    Command,
    check_command,
    command_id,
    nodes_at,
    parse_command,
    read_command,
    waiting,
)
from aiotwin_nb.orchestration.journal import Journal, mend_journal
from aiotwin_nb.orchestration.rundir import RunDirectory, sha256
from aiotwin_nb.orchestration.state import RunState

POLL_SECONDS = 0.1


class Store(Protocol):
    """Keeps a run's events, checkpoints and summary, and knows the commands that wait."""

    def record(self, event: Event) -> None:
        """Keep an event, durably, before anything is done about it."""

    def checkpoint(self, number: int, save: Callable[[Path], None]) -> tuple[str, str]:
        """Keep the checkpoint of a round; returns its name and SHA-256, empty where none is kept."""

    def commands(self, state: RunState) -> list[tuple[str, Command]]:
        """Commands that act now and make sense in this state; those that make none are rejected on record."""

    def watch(self, state: Callable[[], RunState]) -> None:
        """Begin to note commands as they come in, also during rounds."""

    def summary(self, summary: Mapping[str, Any]) -> None:
        """Keep the summary."""

    def close(self) -> None:
        """End."""


class MemoryStore:
    """Keeps events in memory, no checkpoints, takes no commands."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def record(self, event: Event) -> None:
        """Keep an event."""
        self.events.append(event)

    def checkpoint(self, number: int, save: Callable[[Path], None]) -> tuple[str, str]:
        """Keep nothing."""
        return "", ""

    def commands(self, state: RunState) -> list[tuple[str, Command]]:
        """None ever come."""
        return []

    def watch(self, state: Callable[[], RunState]) -> None:
        """Nothing to watch."""

    def summary(self, summary: Mapping[str, Any]) -> None:
        """Keep nothing."""

    def close(self) -> None:
        """Nothing to end."""


class DirectoryStore:
    """Keeps everything in a run directory that this process owns.

    `check_training` raises InvalidInput for nodes that cannot train (labels that the data set lacks); it is called
    between rounds only, because it may touch what the training uses.
    """

    def __init__(self, directory: RunDirectory, check_training: Callable[[Infrastructure], None] | None = None) -> None:
        self.directory = directory
        self._check_training = check_training
        self.past = [entry.event for entry in mend_journal(directory.journal_file)]
        self._journal = Journal(directory.journal_file, next_seq=len(self.past))
        self._waiting, self._seen = _unfinished(self.past)
        self._lock = Lock()
        self._stop = Flag()
        self._watcher: Thread | None = None

    def record(self, event: Event) -> None:
        """Append an event to the journal."""
        self._journal.append(event)

    def checkpoint(self, number: int, save: Callable[[Path], None]) -> tuple[str, str]:
        """Write a checkpoint and drop those that are no longer needed."""
        kept = self.directory.save_checkpoint(number, save)
        self.directory.drop_old_checkpoints()
        return kept

    def verified_checkpoint(self, name: str, digest: str) -> Path:
        """Path of a checkpoint; raises InvalidInput when it is missing or damaged."""
        path = Path(self.directory.checkpoints) / name
        if not path.is_file() or sha256(path) != digest:
            raise InvalidInput(f"{path}: the checkpoint is missing or damaged; restore it from a copy or start anew")
        return path

    def watch(self, state: Callable[[], RunState]) -> None:
        """Note commands as they come in, from a thread that does nothing else."""

        def follow() -> None:
            while not self._stop.wait(POLL_SECONDS):
                try:
                    self._receive(state())
                except RunFailed:
                    return  # the journal cannot be written; the loop meets the same error and says so

        self._watcher = Thread(target=follow, name="inbox", daemon=True)
        self._watcher.start()

    def commands(self, state: RunState) -> list[tuple[str, Command]]:
        """Take the commands that act now, in order; what no longer makes sense is rejected on record."""
        self._receive(state)
        with self._lock:
            due = [(name, command) for name, command in self._waiting if (command.after_round or 0) <= state.round]
            self._waiting = [pair for pair in self._waiting if pair not in due]
        accepted: list[tuple[str, Command]] = []
        for name, command in due:
            before = [earlier for _, earlier in accepted]
            try:
                check_command(command, state, before)
                if self._check_training is not None:
                    self._check_training(nodes_at(state, command.after_round, [*before, command]))
                accepted.append((name, command))
            except InvalidInput as error:
                self.record(CommandRejected(name, str(error)))
        return accepted

    def summary(self, summary: Mapping[str, Any]) -> None:
        """Write summary.json."""
        self.directory.write_summary(summary)

    def close(self) -> None:
        """End the watcher, close the journal, give the directory up."""
        self._stop.set()
        if self._watcher is not None:
            self._watcher.join()
        self._journal.close()
        self.directory.release()

    def _receive(self, state: RunState) -> None:
        with self._lock:
            for path in waiting(self.directory.inbox):
                name = command_id(path)
                if name not in self._seen:
                    self._note(name, path, state)
                    self._seen.add(name)
                path.unlink(missing_ok=True)

    def _note(self, name: str, path: Path, state: RunState) -> None:
        try:
            raw = read_command(path)
            command = parse_command(raw)
            check_command(command, state, [earlier for _, earlier in self._waiting])
        except InvalidInput as error:
            self.record(CommandRejected(name, str(error)))
            return
        self.record(CommandReceived(name, raw))
        self._waiting.append((name, command))


def _unfinished(events: list[Event]) -> tuple[list[tuple[str, Command]], set[str]]:
    """Commands received but neither applied nor rejected, and the ids of all that were ever seen."""
    received = {e.id: parse_command(e.command) for e in events if isinstance(e, CommandReceived)}
    done = {e.id for e in events if isinstance(e, CommandApplied | CommandRejected)}
    return [(i, c) for i, c in received.items() if i not in done], {*received, *done}
