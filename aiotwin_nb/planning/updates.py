"""Model updates as short text, so that a journal can carry them (pure)."""

from __future__ import annotations

from array import array
from base64 import b64decode, b64encode
from collections.abc import Sequence

_STEPS = 127  # of a signed byte


def pack(update: Sequence[float]) -> str:
    """Return an update as text: a step size and one signed byte a number.

    The error is at most half a step, 0.4 % of the largest number.
    """
    step = float(f"{max(map(abs, update), default=0.0) / _STEPS:.6g}")
    numbers = array("b", (round(x / step) if step else 0 for x in update))
    return f"{step:g} {b64encode(numbers.tobytes()).decode('ascii')}"


def unpack(text: str) -> list[float]:
    """Return the update that `pack` has made text of."""
    step, _, encoded = text.partition(" ")
    return [float(step) * number for number in array("b", b64decode(encoded))]
