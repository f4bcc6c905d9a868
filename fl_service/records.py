"""Between numpy and Flower's records."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from flwr.app import Array, ArrayRecord


def to_record(arrays: Mapping[str, np.ndarray]) -> ArrayRecord:
    """Return named arrays as a Flower ArrayRecord."""
    return ArrayRecord({key: Array(np.asarray(array)) for key, array in arrays.items()})


def to_arrays(record: ArrayRecord) -> dict[str, np.ndarray]:
    """Return a Flower ArrayRecord as named arrays (copies)."""
    return {key: array.numpy() for key, array in record.items()}
