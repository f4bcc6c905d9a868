"""What a client's training did to the model's last layer: its direction tells which labels the client has."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

MOST = 1024  # numbers in a reported update; a journal should not grow with the model


def last_layer_change(before: Mapping[str, np.ndarray], after: Mapping[str, np.ndarray]) -> list[float]:
    """Return after − before of the last layer, as one vector: the last array with two or more axes and what follows.

    A layer of more than MOST numbers is sketched: every number is added, with a sign, to one of MOST sums, drawn alike
    for everybody. Inner products keep their values but for about 1/√MOST = 3 % of the lengths (Charikar, Chen and
    Farach-Colton, Finding Frequent Items in Data Streams, 2002).
    """
    names = list(before)
    start = max((i for i, name in enumerate(names) if np.ndim(before[name]) > 1), default=len(names) - 1)
    change = np.concatenate([np.ravel(after[name]).astype(float) - np.ravel(before[name]) for name in names[start:]])
    if len(change) > MOST:
        draw = np.random.default_rng(0)
        places, signs = draw.integers(MOST, size=len(change)), draw.choice((-1.0, 1.0), len(change))
        change = np.bincount(places, change * signs, MOST)
    found: list[float] = change.tolist()
    return found
