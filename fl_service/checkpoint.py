"""A run's state on disk: one .npz of arrays and JSON (never pickle), bit-equal when it is read back."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict

from fl_service.errors import CheckpointError

_FORMAT = 1
_HEADER = "header"


@dataclass(frozen=True)
class Checkpoint:
    """All that a run needs to go on.

    `round`: the last finished global round. `model`: the global model. `states`: {node: its Context.state}; those of
    aggregators hold their strategy's memory. `slots`: {client: index} of clients without a slot of their own.
    `fingerprint`: what must be the same in the run that goes on.
    """

    round: int
    model: ArrayRecord
    states: Mapping[str, RecordDict] = field(default_factory=dict)
    slots: Mapping[str, int] = field(default_factory=dict)
    fingerprint: Mapping[str, Any] = field(default_factory=dict)


def save(checkpoint: Checkpoint, path: Path) -> None:
    """Write a checkpoint and flush it to the disk; the caller renames it into place."""
    blobs: dict[str, np.ndarray] = {}
    header = {
        "format": _FORMAT,
        "round": checkpoint.round,
        "slots": dict(checkpoint.slots),
        "fingerprint": dict(checkpoint.fingerprint),
        "model": _arrays_out(checkpoint.model, "model", blobs),
        "states": {node: _state_out(state, f"state/{node}", blobs) for node, state in checkpoint.states.items()},
    }
    header["digest"] = _digest(header, blobs)
    with Path(path).open("wb") as file:
        np.savez(file, allow_pickle=False, **_named(header, blobs))
        file.flush()
        os.fsync(file.fileno())


def load(path: Path, expected: Mapping[str, Any] | None = None) -> Checkpoint:
    """Read a checkpoint; raises CheckpointError for a file that is missing, torn, changed or of another format.

    `expected`: what its fingerprint must have; a checkpoint of another run is refused, too.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            header = json.loads(file[_HEADER].tobytes())
            blobs = {name: file[name] for name in file.files if name != _HEADER}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise CheckpointError(f"{path} is not a readable checkpoint ({error}); go on from an older one") from error
    if header.get("format") != _FORMAT:
        raise CheckpointError(f"{path} has checkpoint format {header.get('format')!r}; this version reads {_FORMAT}")
    if header.pop("digest", None) != _digest(header, blobs):
        raise CheckpointError(f"{path} was changed or is damaged (its digest does not fit); go on from an older one")
    for key, value in (expected or {}).items():
        found = header["fingerprint"].get(key)
        if found != value:
            raise CheckpointError(f"{path} is of a run with {key} {found!r}, not {value!r}")
    states = {node: _state_in(state, blobs) for node, state in header["states"].items()}
    model = _arrays_in(header["model"], blobs)
    return Checkpoint(header["round"], model, states, header["slots"], header["fingerprint"])


def _named(header: Mapping[str, Any], blobs: Mapping[str, np.ndarray]) -> dict[str, Any]:
    return {_HEADER: np.frombuffer(json.dumps(header).encode(), np.uint8), **blobs}


def _digest(header: Mapping[str, Any], blobs: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for name in sorted(blobs):
        digest.update(name.encode())
        digest.update(blobs[name].tobytes())
    return digest.hexdigest()


def _arrays_out(record: ArrayRecord, place: str, blobs: dict[str, np.ndarray]) -> list[dict[str, Any]]:
    """Put an ArrayRecord's bytes as they are among the blobs, and return what describes them."""
    described = []
    for number, (key, array) in enumerate(record.items()):
        blob = f"{place}/{number}"
        blobs[blob] = np.frombuffer(array.data, np.uint8)
        described.append(
            {"key": key, "dtype": array.dtype, "shape": list(array.shape), "stype": array.stype, "blob": blob}
        )
    return described


def _arrays_in(described: list[dict[str, Any]], blobs: Mapping[str, np.ndarray]) -> ArrayRecord:
    return ArrayRecord(
        {
            a["key"]: Array(
                dtype=a["dtype"], shape=tuple(a["shape"]), stype=a["stype"], data=blobs[a["blob"]].tobytes()
            )
            for a in described
        }
    )


def _state_out(state: RecordDict, place: str, blobs: dict[str, np.ndarray]) -> list[dict[str, Any]]:
    described: list[dict[str, Any]] = []
    for number, (name, record) in enumerate(state.items()):
        if isinstance(record, ArrayRecord):
            described.append({"name": name, "kind": "arrays", "value": _arrays_out(record, f"{place}/{number}", blobs)})
        else:
            kind = "metrics" if isinstance(record, MetricRecord) else "config"
            described.append({"name": name, "kind": kind, "value": {k: _value_out(v) for k, v in record.items()}})
    return described


def _state_in(described: list[dict[str, Any]], blobs: Mapping[str, np.ndarray]) -> RecordDict:
    state = RecordDict()
    for record in described:
        name, kind, value = record["name"], record["kind"], record["value"]
        if kind == "arrays":
            state[name] = _arrays_in(value, blobs)
        else:
            values = {key: _value_in(v) for key, v in value.items()}
            state[name] = MetricRecord(values) if kind == "metrics" else ConfigRecord(values)
    return state


def _value_out(value: Any) -> Any:
    """Return a record's value for JSON, which has no bytes."""
    if isinstance(value, bytes):
        return {"bytes": base64.b64encode(value).decode()}
    return [_value_out(v) for v in value] if isinstance(value, list) else value


def _value_in(value: Any) -> Any:
    if isinstance(value, dict):
        return base64.b64decode(value["bytes"])
    return [_value_in(v) for v in value] if isinstance(value, list) else value
