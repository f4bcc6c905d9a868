"""Performance trends: how accuracy is expected to go on, fitted to the rounds seen so far.

Each trend is registered by name (entry point group ``aiotwin_nb.trends``) and fits the two sides of a decision: the
rows before a reconfiguration and the rows of its validation window.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from aiotwin_nb.registry import Registry


class Row(NamedTuple):
    """One finished round: accuracy in percent on the global test set; round 0 is the untrained model."""

    round: int
    accuracy: float
    loss: float


class Fit(Protocol):
    """A fitted trend; x is the round, up to conventions of the trend."""

    @property
    def points(self) -> tuple[float, ...]:
        """The x of every row used."""

    def at(self, x: float) -> float:
        """Predicted accuracy in percent at x."""

    def interval(self, x: float) -> tuple[float, float] | None:
        """80 % prediction interval at x; None when there are too few rows for one."""

    def first_x_reaching(self, accuracy: float) -> int | None:
        """Smallest whole x ≥ 0 whose predicted accuracy is at least `accuracy`; None if the trend never gets there."""


@dataclass(frozen=True)
class LogFit:
    """A fitted curve accuracy(x) = a + b·ln(x + 1).

    `points`: the x of every row used. `bounds`: predictions are clipped to this range, or None. `interval_width`:
    Student factor · residual deviation, in points of accuracy; None with fewer than three rows.
    """

    a: float
    b: float
    points: tuple[float, ...]
    bounds: tuple[float, float] | None
    interval_width: float | None

    def at(self, x: float) -> float:
        """Predicted accuracy in percent at x (the convention of x is the trend's own)."""
        return self._clip(self.a + self.b * math.log(x + 1))

    def interval(self, x: float) -> tuple[float, float] | None:
        """80 % prediction interval at x under ordinary least squares; None when there are too few rows."""
        if self.interval_width is None:
            return None
        logs = [math.log(p + 1) for p in self.points]
        mean = math.fsum(logs) / len(logs)
        spread = math.fsum((z - mean) ** 2 for z in logs)
        half = self.interval_width * math.sqrt(1 + 1 / len(logs) + (math.log(x + 1) - mean) ** 2 / spread)
        centre = self.a + self.b * math.log(x + 1)
        return self._clip(centre - half), self._clip(centre + half)

    def first_x_reaching(self, accuracy: float) -> int | None:
        """Smallest whole x ≥ 0 whose predicted accuracy is at least `accuracy`; None if the trend never gets there."""
        if self.at(0) >= accuracy:
            return 0
        exponent = (accuracy - self.a) / self.b if self.b > 0 else math.inf
        if exponent > 14 or (self.bounds and accuracy > self.bounds[1]):  # e^14 ≈ 1.2 million rounds: never
            return None
        return math.ceil(math.exp(exponent) - 1)

    def _clip(self, value: float) -> float:
        return value if self.bounds is None else min(max(value, self.bounds[0]), self.bounds[1])


def fit_log(points: Sequence[tuple[float, float]], *, bounds: tuple[float, float] | None = None) -> LogFit | None:
    """Least squares of accuracy = a + b·ln(x + 1) over (x, accuracy) points; None below two distinct points."""
    logs = [math.log(x + 1) for x, _ in points]
    if len(set(logs)) < 2:
        return None
    n = len(points)
    mean_z, mean_y = math.fsum(logs) / n, math.fsum(y for _, y in points) / n
    spread = math.fsum((z - mean_z) ** 2 for z in logs)
    b = math.fsum((z - mean_z) * (y - mean_y) for z, (_, y) in zip(logs, points, strict=True)) / spread
    a = mean_y - b * mean_z
    residuals = math.fsum((y - a - b * z) ** 2 for z, (_, y) in zip(logs, points, strict=True))
    width = _student(n - 2) * math.sqrt(residuals / (n - 2)) if n > 2 else None
    return LogFit(a, b, tuple(x for x, _ in points), bounds, width)


def _student(degrees: int) -> float:
    """Two-sided 80 % quantile of Student's t."""
    from scipy.special import stdtrit  # imported late: scipy costs start-up time that plain planning need not pay

    return float(stdtrit(degrees, 0.9))


class Trend(Protocol):
    """Fits both sides of a decision; a fit is None when there are too few rows."""

    def before(self, rows: Sequence[Row]) -> Fit | None:
        """Fit the rounds finished before the change."""

    def window(self, rows: Sequence[Row]) -> Fit | None:
        """Fit the rounds since the change."""


trends: Registry[Trend] = Registry("trend", "aiotwin_nb.trends")


class _LogOriginal:
    """The original's fit with its quirks.

    Before the change: every row, the untrained round 0 included, the row of round r at x = r + 1. Window: the row of
    round r at x = r. Not clipped. Source: RVA steps 3 and 5 of the original system.
    """

    def before(self, rows: Sequence[Row]) -> Fit | None:
        return fit_log([(row.round + 1, row.accuracy) for row in rows])

    def window(self, rows: Sequence[Row]) -> Fit | None:
        return fit_log([(row.round, row.accuracy) for row in rows])


class _Log:
    """The clean logarithmic fit: no untrained round, x = round on both sides, predictions clipped to 0–100."""

    def before(self, rows: Sequence[Row]) -> Fit | None:
        return fit_log([(row.round, row.accuracy) for row in rows if row.round > 0], bounds=(0.0, 100.0))

    window = before


trends.register("log")(_Log())
trends.register("log_original")(_LogOriginal())
