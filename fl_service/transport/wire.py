"""Frames: a JSON header and Flower records, cut into chunks; arrays travel as the bytes of their .npy form, no pickle.

A frame is ``length of the head (4 bytes) · head (JSON) · blobs``. The head holds the header, the description of the
records and the blobs' lengths. A chunk is one gRPC message: ``B`` (heartbeat), ``F`` + the frame's length (8 bytes) +
its beginning, or ``C`` + what follows.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from flwr.app import ArrayRecord, RecordDict

from fl_service.errors import FLServiceError, TransportError
from fl_service.records import check_array, describe, record_from

CHUNK = 1 << 20
BEAT = b"B"
_FIRST, _MORE = b"F", b"C"
_HEAD = struct.Struct("<I")
_TOTAL = struct.Struct("<Q")


class Content:
    """Records by label, encoded once for any number of receivers."""

    def __init__(self, records: Mapping[str, RecordDict] | None = None) -> None:
        blobs: dict[str, bytes] = {}
        self.described = {label: describe(record, label, blobs) for label, record in (records or {}).items()}
        self.blobs = blobs

    @property
    def digest(self) -> str:
        """SHA-256 over everything, the same for the same records wherever they come from; empty for no records."""
        if not any(self.described.values()):
            return ""
        digest = hashlib.sha256(json.dumps(self.described, sort_keys=True).encode())
        for name in sorted(self.blobs):
            digest.update(self.blobs[name])
        return digest.hexdigest()


EMPTY = Content()


@dataclass(frozen=True)
class Frame:
    """A frame that arrived. `oversize`: MB of one whose records were not taken in, because it is too long."""

    header: Mapping[str, Any]
    described: Mapping[str, Any] = field(default_factory=dict)
    blobs: Mapping[str, bytes] = field(default_factory=dict)
    oversize: float | None = None

    def records(self, limit_mb: float | None = None) -> dict[str, RecordDict]:
        """Return the records by label; raises FLServiceError for those that are too long, torn or not numbers."""
        if self.oversize is not None:
            raise FLServiceError(f"its message of {self.oversize:.1f} MB is longer than the allowed {limit_mb} MB")
        try:
            records = {label: record_from(described, self.blobs) for label, described in self.described.items()}
        except Exception as error:
            raise FLServiceError(f"its message cannot be read ({type(error).__name__}: {error})") from error
        for record in records.values():
            for name, array in _all_arrays(record):
                check_array(name, array)
        return records


def _all_arrays(record: RecordDict) -> Iterator[tuple[str, Any]]:
    for arrays in record.values():
        if isinstance(arrays, ArrayRecord):
            yield from arrays.items()


def encode(header: Mapping[str, Any], content: Content = EMPTY) -> list[bytes]:
    """Return a frame as the parts of which it is made, without copying arrays."""
    lengths = [[name, len(blob)] for name, blob in content.blobs.items()]
    head = json.dumps({"header": dict(header), "records": content.described, "blobs": lengths}).encode()
    return [_HEAD.pack(len(head)), head, *content.blobs.values()]


def decode(pieces: Sequence[memoryview | bytes]) -> Frame:
    """Read a whole frame from its pieces; raises TransportError for anything that is none.

    Every blob is copied once, out of the pieces; records are read when they are asked for.
    """
    try:
        rest = _Pieces(pieces)
        head = json.loads(rest.take(_HEAD.unpack(rest.take(_HEAD.size))[0]))
        blobs = {str(name): rest.take(size) for name, size in head["blobs"]}
        return Frame(dict(head["header"]), dict(head["records"]), blobs)
    except (struct.error, ValueError, TypeError, KeyError) as error:
        raise TransportError(f"it sent a malformed frame ({type(error).__name__}: {error})") from error


class _Pieces:
    """Bytes that lie in pieces, taken from the front."""

    def __init__(self, pieces: Sequence[memoryview | bytes]) -> None:
        self._pieces, self._at, self._offset = pieces, 0, 0

    def take(self, size: int) -> bytes:
        """Return the next bytes; raises ValueError where there are not so many."""
        if size < 0:
            raise ValueError(f"{size} bytes")
        found: list[memoryview | bytes] = []
        while size > 0:
            if self._at >= len(self._pieces):
                raise ValueError("it is cut off")
            piece = self._pieces[self._at][self._offset : self._offset + size]
            found.append(piece)
            size -= len(piece)
            self._offset += len(piece)
            if self._offset == len(self._pieces[self._at]):
                self._at, self._offset = self._at + 1, 0
        return b"".join(found)


def chunks(parts: Sequence[bytes], size: int = CHUNK) -> Iterator[bytes]:
    """Cut a frame into chunks; only one at a time is in memory."""
    prefix = _FIRST + _TOTAL.pack(sum(map(len, parts)))
    pieces, room = [prefix], size
    for part in parts:
        view = memoryview(part)
        while len(view):
            piece = view[:room]
            pieces.append(piece)  # type: ignore[arg-type]
            view, room = view[len(piece) :], room - len(piece)
            if room == 0:
                yield b"".join(pieces)
                pieces, room = [_MORE], size
    if len(pieces) > 1 or pieces[0] is prefix:
        yield b"".join(pieces)


class Assembler:
    """Puts the chunks of one stream together again. A frame longer than the limit is passed by, all but its head."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._pieces: list[memoryview] | None = None
        self._received = self._total = 0

    def take(self, chunk: bytes) -> Frame | None:
        """Return the frame that this chunk completes; raises TransportError for a chunk out of place."""
        kind = chunk[:1]
        if kind == _FIRST and self._pieces is None and len(chunk) > _TOTAL.size:
            (self._total,) = _TOTAL.unpack_from(chunk, 1)
            self._pieces, self._received = [], 0
            data = memoryview(chunk)[1 + _TOTAL.size :]
        elif kind == _MORE and self._pieces is not None:
            data = memoryview(chunk)[1:]
        else:
            raise TransportError("it sent a chunk out of place")
        self._received += len(data)
        if self._received > self._total:
            raise TransportError("it sent more than it announced")
        # Of a frame that is too long, enough is kept to tell what it was about.
        if self._total <= self._limit or not self._pieces:
            self._pieces.append(data)
        if self._received < self._total:
            return None
        pieces, self._pieces = self._pieces, None
        return decode(pieces) if self._total <= self._limit else self._passed_by(pieces)

    def _passed_by(self, pieces: list[memoryview]) -> Frame:
        try:
            rest = _Pieces(pieces)
            head = json.loads(rest.take(_HEAD.unpack(rest.take(_HEAD.size))[0]))
            return Frame(dict(head["header"]), oversize=self._total / 1e6)
        except (struct.error, ValueError, TypeError, KeyError) as error:
            raise TransportError(f"it sent a malformed frame of {self._total / 1e6:.1f} MB") from error
