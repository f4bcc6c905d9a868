"""The journal: append-only, one event a line with a checksum, on disk before what it announces is done."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import Any

from aiotwin_nb.errors import InvalidInput, RunFailed
from aiotwin_nb.orchestration.events import RUN
from aiotwin_nb.orchestration.vocabulary import Vocabulary


@dataclass(frozen=True)
class Entry:
    """One journal line."""

    seq: int
    time: str
    type: str
    event: Any


def utc_now() -> str:
    """The time now in UTC, ISO 8601 with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Journal:
    """Appends events to a file; safe to use from several threads of the owning process.

    `vocabulary`: the events that may be in it, by default those of a run.
    """

    def __init__(
        self, path: Path, *, next_seq: int = 0, clock: Callable[[], str] = utc_now, vocabulary: Vocabulary = RUN
    ) -> None:
        self._path = path
        self._vocabulary = vocabulary
        self._seq = next_seq
        self._clock = clock
        self._lock = Lock()
        self._broken: RunFailed | None = None
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)

    def append(self, event: Any) -> None:
        """Write one event and flush it to disk; raises RunFailed (and leaves no torn line) when that fails.

        After a failure nothing more is written: a later event must not stand where an earlier one is missing.
        """
        name, data = self._vocabulary.encode(event)
        with self._lock:
            if self._broken is not None:
                raise self._broken
            line = _line(self._seq, self._clock(), name, data)
            size = os.fstat(self._file).st_size
            try:
                _write_all(self._file, line)
                os.fsync(self._file)
            except OSError as error:
                os.ftruncate(self._file, size)
                self._broken = disk_failure(self._path, error)
                raise self._broken from error
            self._seq += 1

    def close(self) -> None:
        """Close the file; safe to call twice."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


class JournalTail:
    """Gives the entries of a journal that were completed since the last call; a new one starts at the beginning."""

    def __init__(self, path: Path, vocabulary: Vocabulary = RUN) -> None:
        self._path = path
        self._vocabulary = vocabulary
        self._position = 0
        self._count = 0

    def read(self) -> list[Entry]:
        """New complete entries, in order; raises InvalidInput at a damaged line that others follow.

        A torn or damaged last line counts as not written yet and is looked at again next time.
        """
        try:
            with self._path.open("rb") as file:
                file.seek(self._position)
                content = file.read()
        except FileNotFoundError:
            return []
        entries, good = _parse(self._path, content, self._vocabulary, self._count)
        self._position += good
        self._count += len(entries)
        return entries


def read_journal(path: Path, vocabulary: Vocabulary = RUN) -> list[Entry]:
    """All complete entries of a journal; a torn last line (the process died while writing) is left out.

    Raises InvalidInput when a line before the last is damaged.
    """
    return JournalTail(path, vocabulary).read()


def mend_journal(path: Path, vocabulary: Vocabulary = RUN) -> list[Entry]:
    """Like `read_journal`, and cut a torn last line off the file; only the run's owner may do this."""
    content = path.read_bytes() if path.exists() else b""
    entries, good = _parse(path, content, vocabulary)
    if len(content) > good:
        os.truncate(path, good)
    return entries


def disk_failure(path: Path, error: OSError) -> RunFailed:
    """The error for a write that failed."""
    return RunFailed(
        f"{path}: cannot be written: {error.strerror}. Nothing that was finished is lost: "
        f"free some space and continue with: aiotwin resume {path.parent}"
    )


def _write_all(file: int, data: bytes) -> None:
    while data:
        data = data[os.write(file, data) :]


def _line(seq: int, time: str, name: str, data: dict[str, Any]) -> bytes:
    body = {"seq": seq, "time": time, "type": name, "data": data}
    return _dump({**body, "checksum": _checksum(body)}) + b"\n"


def _dump(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def _checksum(body: dict[str, Any]) -> str:
    return hashlib.sha256(_dump(body)).hexdigest()[:16]


def _parse(path: Path, content: bytes, vocabulary: Vocabulary, first: int = 0) -> tuple[list[Entry], int]:
    """Entries and the number of good bytes; `first`: the number of the content's first entry, counted from 0."""
    lines = content.split(b"\n")
    entries: list[Entry] = []
    good = 0
    for number, line in enumerate(lines[:-1], start=1):
        entry = _entry(line, first + len(entries), vocabulary)
        if entry is None:
            if number == len(lines) - 1:
                break
            raise InvalidInput(
                f"{path}:{first + number}: this journal line is damaged (its checksum or number does not fit). "
                "A run can only be continued from an undamaged journal; restore the file from a copy"
            )
        entries.append(entry)
        good += len(line) + 1
    return entries, good


def _entry(line: bytes, expected_seq: int, vocabulary: Vocabulary) -> Entry | None:
    try:
        body = json.loads(line)
        checksum = body.pop("checksum")
        if checksum != _checksum(body) or body["seq"] != expected_seq:
            return None
        return Entry(body["seq"], body["time"], body["type"], vocabulary.decode(body["type"], body["data"]))
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
