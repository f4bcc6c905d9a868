"""Whether an accuracy curve has settled."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from statistics import fmean

WIDTH = 3  # rounds in the moving average
POINTS = 0.1  # change of the average, in points of accuracy, that counts as none
IN_A_ROW = 5


def converged(accuracies: Sequence[float]) -> bool:
    """True when the moving average (3 rounds) of the accuracy changed by at most 0.1 points five times in a row.

    `accuracies`: percent, one a round. Source: the AIoTwin orchestrator's convergence flag.
    """
    recent = accuracies[-(WIDTH + IN_A_ROW) :]
    averages = [fmean(recent[i : i + WIDTH]) for i in range(len(recent) - WIDTH + 1)]
    changes = [abs(later - earlier) for earlier, later in pairwise(averages)]
    # The tolerance keeps a change of exactly 0.1 from being lost to the last bits of the sum.
    return len(changes) == IN_A_ROW and all(change <= POINTS + 1e-9 for change in changes)
