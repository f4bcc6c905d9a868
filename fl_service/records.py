"""Between numpy, Flower's records, and plain data: JSON that describes records, with their arrays' bytes beside it."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, MutableMapping
from functools import lru_cache
from io import BytesIO
from typing import Any, Literal

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict

from fl_service.errors import FLServiceError

_NPY_1_0 = b"\x93NUMPY\x01\x00"


def to_record(arrays: Mapping[str, np.ndarray]) -> ArrayRecord:
    """Return named arrays as a Flower ArrayRecord."""
    return ArrayRecord({key: Array(np.asarray(array)) for key, array in arrays.items()})


def to_arrays(record: ArrayRecord, *, copy: bool = True) -> dict[str, np.ndarray]:
    """Return a Flower ArrayRecord as named arrays; without `copy` they may be read-only views of the record."""
    return {key: _decoded(array, copy) for key, array in record.items()}


def _decoded(array: Array, copy: bool) -> np.ndarray:
    """Return what `Array.numpy()` returns; that one parses the header as Python source, each time anew (50 µs)."""
    data = array.data
    if array.stype != "numpy.ndarray" or data[: len(_NPY_1_0)] != _NPY_1_0 or 0 in array.shape:
        return array.numpy()
    start = len(_NPY_1_0) + 2 + int.from_bytes(data[len(_NPY_1_0) : len(_NPY_1_0) + 2], "little")
    shape, order, dtype = _layout(data[:start])
    view = np.frombuffer(data, dtype, offset=start).reshape(shape, order=order)
    return view.copy(order="K") if copy else view


@lru_cache(maxsize=1024)
def _layout(header: bytes) -> tuple[tuple[int, ...], Literal["F", "C"], np.dtype[Any]]:
    """Return shape, order and type of an array from the header of its .npy form."""
    stream = BytesIO(header)
    np.lib.format.read_magic(stream)
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
    return shape, "F" if fortran else "C", dtype


def check_array(name: str, array: Array) -> None:
    """Raise FLServiceError unless an array that came from elsewhere is what it says: numbers, of its stated shape."""
    data = array.data
    start = len(_NPY_1_0) + 2 + int.from_bytes(data[len(_NPY_1_0) : len(_NPY_1_0) + 2], "little")
    try:
        if array.stype != "numpy.ndarray" or data[: len(_NPY_1_0)] != _NPY_1_0:
            raise ValueError("it is no plain .npy")
        shape, _, dtype = _layout(data[:start])
    except Exception as error:
        raise FLServiceError(f"its array {name!r} cannot be read ({error})") from error
    if dtype.kind not in "biufc":
        raise FLServiceError(f"its array {name!r} holds {dtype}, not numbers")
    stated, actual = tuple(array.shape), len(data) - start
    if shape != stated or any(side < 0 for side in shape) or math.prod(shape) * dtype.itemsize != actual:
        raise FLServiceError(f"its array {name!r} is not of its stated shape {stated}: {actual} bytes of {dtype}")


# --- as plain data --------------------------------------------------------------------------------------------------


def describe_arrays(record: ArrayRecord, place: str, blobs: MutableMapping[str, bytes]) -> list[dict[str, Any]]:
    """Put an ArrayRecord's bytes as they are among the blobs (under `place`), and return what describes them."""
    described = []
    for number, (key, array) in enumerate(record.items()):
        blob = f"{place}/{number}"
        blobs[blob] = array.data
        described.append(
            {"key": key, "dtype": array.dtype, "shape": list(array.shape), "stype": array.stype, "blob": blob}
        )
    return described


def arrays_from(described: list[dict[str, Any]], blobs: Mapping[str, bytes]) -> ArrayRecord:
    """Return the ArrayRecord that `describe_arrays` described."""
    return ArrayRecord(
        {
            a["key"]: Array(dtype=a["dtype"], shape=tuple(a["shape"]), stype=a["stype"], data=blobs[a["blob"]])
            for a in described
        }
    )


def describe(content: RecordDict, place: str, blobs: MutableMapping[str, bytes]) -> list[dict[str, Any]]:
    """Describe all records of a RecordDict for JSON; the arrays' bytes go among the blobs."""
    described: list[dict[str, Any]] = []
    for number, (name, record) in enumerate(content.items()):
        if isinstance(record, ArrayRecord):
            value: Any = describe_arrays(record, f"{place}/{number}", blobs)
            described.append({"name": name, "kind": "arrays", "value": value})
        else:
            kind = "metrics" if isinstance(record, MetricRecord) else "config"
            described.append({"name": name, "kind": kind, "value": {k: _value_out(v) for k, v in record.items()}})
    return described


def record_from(described: list[dict[str, Any]], blobs: Mapping[str, bytes]) -> RecordDict:
    """Return the RecordDict that `describe` described."""
    content = RecordDict()
    for record in described:
        name, kind, value = record["name"], record["kind"], record["value"]
        if kind == "arrays":
            content[name] = arrays_from(value, blobs)
        else:
            values = {key: _value_in(v) for key, v in value.items()}
            content[name] = MetricRecord(values) if kind == "metrics" else ConfigRecord(values)
    return content


def _value_out(value: Any) -> Any:
    """Return a record's value for JSON, which has no bytes."""
    if isinstance(value, bytes):
        return {"bytes": base64.b64encode(value).decode()}
    return [_value_out(v) for v in value] if isinstance(value, list) else value


def _value_in(value: Any) -> Any:
    if isinstance(value, dict):
        return base64.b64decode(value["bytes"])
    return [_value_in(v) for v in value] if isinstance(value, list) else value
