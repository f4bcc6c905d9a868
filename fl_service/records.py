"""Between numpy and Flower's records."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from io import BytesIO
from typing import Any, Literal

import numpy as np
from flwr.app import Array, ArrayRecord

_NPY_1_0 = b"\x93NUMPY\x01\x00"


def to_record(arrays: Mapping[str, np.ndarray]) -> ArrayRecord:
    """Return named arrays as a Flower ArrayRecord."""
    return ArrayRecord({key: Array(np.asarray(array)) for key, array in arrays.items()})


def to_arrays(record: ArrayRecord) -> dict[str, np.ndarray]:
    """Return a Flower ArrayRecord as named arrays (copies)."""
    return {key: _decoded(array) for key, array in record.items()}


def _decoded(array: Array) -> np.ndarray:
    """Return what `Array.numpy()` returns; that one parses the header as Python source, each time anew (50 µs)."""
    data = array.data
    if array.stype != "numpy.ndarray" or data[: len(_NPY_1_0)] != _NPY_1_0 or 0 in array.shape:
        return array.numpy()
    start = len(_NPY_1_0) + 2 + int.from_bytes(data[len(_NPY_1_0) : len(_NPY_1_0) + 2], "little")
    shape, order, dtype = _layout(data[:start])
    return np.frombuffer(data, dtype, offset=start).reshape(shape, order=order).copy(order="K")


@lru_cache(maxsize=1024)
def _layout(header: bytes) -> tuple[tuple[int, ...], Literal["F", "C"], np.dtype[Any]]:
    """Return shape, order and type of an array from the header of its .npy form."""
    stream = BytesIO(header)
    np.lib.format.read_magic(stream)
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
    return shape, "F" if fortran else "C", dtype
