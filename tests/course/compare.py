"""What two executions of a notebook have to have in common: recorded numbers and pictures, cell by cell."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

RECORDED = "application/vnd.aiotwin.results+json"
POINTS = ("accurac", "regret", "predicted")  # such a word in a number's name: points, equal within one
WITHIN = 1.0


def differences(committed: Any, executed: Any) -> Iterator[str]:
    """Sentences on what differs, each naming its cell (from 1); none if the executions agree.

    Points of accuracy may be one apart; everything else that was recorded (costs, rounds, decisions) must be equal.
    """
    assert len(committed.cells) == len(executed.cells), "the notebooks have not the same cells"
    for number, (old, new) in enumerate(zip(committed.cells, executed.cells, strict=True), 1):
        before, now = _recorded(old), _recorded(new)
        for sentence in _values(before, now, ""):
            yield f"cell {number}: {sentence}"
        shown, again = len(pictures(old)), len(pictures(new))
        if shown != again:
            yield f"cell {number}: {shown} pictures are committed, {again} come out"
    for notebook, which in ((committed, "committed"), (executed, "executed")):
        for number, cell in enumerate(notebook.cells, 1):
            for picture in pictures(cell):
                if problem := blank(picture):
                    yield f"cell {number}: a picture ({which}) {problem}"


def pictures(cell: Any) -> list[Any]:
    """The outputs of a cell that are pictures."""
    return [output for output in cell.get("outputs", ()) if "image/png" in output.get("data", {})]


def blank(output: Any) -> str | None:
    """What is wrong with a picture: it shows nothing, or says nothing to those who cannot see it."""
    from matplotlib.image import imread

    pixels = imread(io.BytesIO(base64.b64decode(output.data["image/png"])))[..., :3]
    colours = np.unique((pixels * 255).astype(np.uint8).reshape(-1, 3), axis=0)
    if len(colours) < 8 or float(pixels.std()) < 0.02:
        return f"is blank ({len(colours)} colours)"
    return None if output.metadata.get("image/png", {}).get("alt") else "has no alternative text"


def _recorded(cell: Any) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for output in cell.get("outputs", ()):
        values |= output.get("data", {}).get(RECORDED, {})
    return values


def _values(old: Any, new: Any, name: str) -> Iterator[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted({*old, *new}):
            if key in old and key in new:
                yield from _values(old[key], new[key], f"{name}.{key}".lstrip("."))
            else:
                yield f"{name}.{key}: is recorded only in {'the committed outputs' if key in old else 'this execution'}"
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for index, (one, other) in enumerate(zip(old, new, strict=True)):
            yield from _values(one, other, f"{name}[{index}]")
    elif not _equal(old, new, name):
        yield f"{name}: {old!r} is committed, {new!r} comes out"


def _equal(old: Any, new: Any, name: str) -> bool:
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in (old, new))
    if not numbers:
        return bool(old == new)
    if any(word in name for word in POINTS):
        return abs(old - new) <= WITHIN
    return math.isclose(old, new, rel_tol=1e-6)
