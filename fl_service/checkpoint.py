"""A run's state on disk: one .npz of arrays and JSON (never pickle), bit-equal when it is read back."""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, RecordDict

from fl_service.errors import CheckpointError
from fl_service.records import arrays_from, describe, describe_arrays, record_from

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
    blobs: dict[str, bytes] = {}
    header = {
        "format": _FORMAT,
        "round": checkpoint.round,
        "slots": dict(checkpoint.slots),
        "fingerprint": dict(checkpoint.fingerprint),
        "model": describe_arrays(checkpoint.model, "model", blobs),
        "states": {node: describe(state, f"state/{node}", blobs) for node, state in checkpoint.states.items()},
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
            blobs = {name: file[name].tobytes() for name in file.files if name != _HEADER}
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
    states = {node: record_from(state, blobs) for node, state in header["states"].items()}
    model = arrays_from(header["model"], blobs)
    return Checkpoint(header["round"], model, states, header["slots"], header["fingerprint"])


def _named(header: Mapping[str, Any], blobs: Mapping[str, bytes]) -> dict[str, Any]:
    named = {_HEADER: json.dumps(header).encode(), **blobs}
    return {name: np.frombuffer(content, np.uint8) for name, content in named.items()}


def _digest(header: Mapping[str, Any], blobs: Mapping[str, bytes]) -> str:
    digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for name in sorted(blobs):
        digest.update(name.encode())
        digest.update(blobs[name])
    return digest.hexdigest()
