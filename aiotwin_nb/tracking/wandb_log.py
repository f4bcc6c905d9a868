"""Read the rows of a run from its own W&B transaction logs, also while wandb-core is writing them.

A `.wandb` file is a LevelDB log: a 7-byte file header, then 32 KiB blocks of chunks. One or more chunks make a record,
a protobuf `Record` of W&B.
"""

from __future__ import annotations

import json
import struct
import threading
import zlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from aiotwin_nb.errors import InvalidInput
from aiotwin_nb.orchestration.ports import MetricSource

FILE_HEADER = struct.Struct("<4sHB")
IDENT, MAGIC, VERSION = b":W&B", 0xBEE1, 0
BLOCK = 32768
CHUNK_HEADER = struct.Struct("<IHB")  # CRC-32 of kind and payload, length, kind
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4

# The part of W&B's `Record` that is read here, {message: {field: (number, type, repeated)}}. Protobuf skips the rest.
# Importing W&B's own classes would cost every reader the import of the whole client (0.5 s);
# tests/tracking/test_wandb_contract.py holds the two together.
SCHEMA: dict[str, dict[str, tuple[int, str, bool]]] = {
    "Timestamp": {"seconds": (1, "int64", False), "nanos": (2, "int32", False)},
    "HistoryItem": {
        "key": (1, "string", False),
        "nested_key": (2, "string", True),
        "value_json": (16, "string", False),
    },
    "HistoryRecord": {"item": (1, "HistoryItem", True)},
    "RunRecord": {"start_time": (17, "Timestamp", False)},
    "Record": {"history": (2, "HistoryRecord", False), "run": (17, "RunRecord", False)},
}


class LogReader:
    """Gives the records of one log that were completed since the last call; a new reader starts at byte 0."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._position = 0

    def records(self) -> Iterator[bytes]:
        """Yield what is complete; a torn or damaged end counts as not written yet and is looked at again next time."""
        try:
            opened = self.path.open("rb")
        except FileNotFoundError:  # deleted meanwhile: nothing new will come
            return
        with opened as file:
            if not self._position:
                self._read_header(file.read(FILE_HEADER.size))
            file.seek(self._position)
            data = file.read()
        if self._position:
            yield from self._parse(data, self._position)

    def _read_header(self, header: bytes) -> None:
        if len(header) < FILE_HEADER.size:
            return
        ident, magic, version = FILE_HEADER.unpack(header)
        if (ident, magic) != (IDENT, MAGIC):
            raise InvalidInput(
                f"{self.path} is not a W&B log: it begins with {header!r}; move it out of the run directory"
            )
        if version != VERSION:
            raise InvalidInput(
                f"{self.path} has version {version} of the W&B log format, and only {VERSION} is known; "
                "install the W&B version that pyproject.toml of aiotwin-nb names"
            )
        self._position = FILE_HEADER.size

    def _parse(self, data: bytes, start: int) -> Iterator[bytes]:
        offset = 0
        parts: list[bytes] = []
        while True:
            room = BLOCK - (start + offset) % BLOCK
            if room < CHUNK_HEADER.size:  # too small for a chunk: padding
                offset += room
            if len(data) < offset + CHUNK_HEADER.size:
                return
            crc, length, kind = CHUNK_HEADER.unpack_from(data, offset)
            offset += CHUNK_HEADER.size
            payload = data[offset : offset + length]
            if len(payload) < length or kind not in (FULL, FIRST, MIDDLE, LAST) or crc != _crc(kind, payload):
                return
            offset += length
            parts = [payload] if kind in (FULL, FIRST) else [*parts, payload]
            if kind in (FULL, LAST):
                self._position = start + offset
                yield b"".join(parts)


def _crc(kind: int, payload: bytes) -> int:
    return zlib.crc32(payload, zlib.crc32(bytes([kind])))


@cache
def record_class() -> Any:
    """The protobuf class for `SCHEMA`'s Record."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory  # type: ignore[import-untyped]

    field_type = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="aiotwin/wandb_log.proto", package="aiotwin", syntax="proto3")
    for name, fields in SCHEMA.items():
        message = file.message_type.add(name=name)
        for field, (number, kind, repeated) in fields.items():
            label = field_type.LABEL_REPEATED if repeated else field_type.LABEL_OPTIONAL
            if kind in SCHEMA:
                what: dict[str, Any] = {"type": field_type.TYPE_MESSAGE, "type_name": f".aiotwin.{kind}"}
            else:
                what = {"type": field_type.Type.Value(f"TYPE_{kind.upper()}")}
            message.field.add(name=field, number=number, label=label, **what)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("aiotwin.Record"))


def row_of(record: Any) -> dict[str, Any]:
    """The row in a history record, without W&B's own `_step`, `_runtime` and `_timestamp`."""
    items = sorted((item.key or ".".join(item.nested_key), item.value_json) for item in record.history.item)
    values = json.loads(f"[{','.join(value for _, value in items)}]")  # in one go: rows are many
    return {key: value for (key, _), value in zip(items, values, strict=True) if not key.startswith("_")}


class Segment:
    """What one process life wrote: when it started, and its last row of each round."""

    def __init__(self, path: Path) -> None:
        self.started = 0.0
        self.rows: dict[int, dict[str, Any]] = {}
        self._reader = LogReader(path)

    def read(self) -> list[dict[str, Any]]:
        """Take in what was written since the last call and return its rows."""
        new = []
        for data in self._reader.records():
            record = record_class().FromString(data)
            if record.HasField("run"):
                start = record.run.start_time
                self.started = start.seconds + start.nanos / 1e9
            elif record.HasField("history") and "round" in (row := row_of(record)):
                self.rows[row["round"]] = row
                new.append(row)
        return new


class WandbLogSource(MetricSource):
    """The rows of a run directory, from all segments under its `wandb/`; safe to use from several threads."""

    def __init__(self, run_dir: str | Path) -> None:
        self.run_dir = Path(run_dir)
        self._segments: dict[Path, Segment] = {}
        self._unseen: list[dict[str, Any]] = []
        self._lock = threading.Lock()

    def rows(self) -> list[dict[str, Any]]:
        """All rows so far, one per round, ascending; of a repeated round, the row that was written last."""
        with self._lock:
            self._read()
            merged: dict[int, dict[str, Any]] = {}
            for segment in self._in_order():
                merged |= segment.rows
            return [dict(merged[number]) for number in sorted(merged)]

    def poll(self) -> list[dict[str, Any]]:
        """The rows that this method has not returned yet, as they came; a repeated round comes again."""
        with self._lock:
            self._read()
            new, self._unseen = self._unseen, []
            return new

    def _read(self) -> None:
        for path in sorted(self.run_dir.glob("wandb/*run-*/run-*.wandb")):
            self._segments.setdefault(path, Segment(path))
        read = [(segment, segment.read()) for segment in self._segments.values()]
        for _, rows in sorted(read, key=lambda pair: pair[0].started):
            self._unseen += [dict(row) for row in rows]

    def _in_order(self) -> list[Segment]:
        return sorted(self._segments.values(), key=lambda segment: segment.started)
