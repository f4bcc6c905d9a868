"""Performance trends: how accuracy is expected to go on, fitted to the rounds seen so far.

Each trend is registered by name (entry point group ``aiotwin_nb.trends``) and fits the two sides of a decision: the
rows before a reconfiguration and the rows of its validation window.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from aiotwin_nb.decision import curves
from aiotwin_nb.decision.curves import student
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
    width = student(n - 2) * math.sqrt(residuals / (n - 2)) if n > 2 else None
    return LogFit(a, b, tuple(x for x, _ in points), bounds, width)


class Trend(Protocol):
    """Fits both sides of a decision; a fit is None when there are too few rows."""

    @property
    def ahead(self) -> int:
        """By how much the trend's x of a future round is ahead of the round's number."""

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

    ahead = 1

    def before(self, rows: Sequence[Row]) -> Fit | None:
        return fit_log([(row.round + 1, row.accuracy) for row in rows])

    def window(self, rows: Sequence[Row]) -> Fit | None:
        return fit_log([(row.round, row.accuracy) for row in rows])


class _Log:
    """The clean logarithmic fit: no untrained round, x = round on both sides, predictions clipped to 0–100."""

    ahead = 0

    def before(self, rows: Sequence[Row]) -> Fit | None:
        return fit_log([(row.round, row.accuracy) for row in rows if row.round > 0], bounds=(0.0, 100.0))

    window = before


@dataclass(frozen=True)
class _Curve:
    """A family of curves on the rows of trained models, x = round on both sides."""

    family: curves.Family
    ahead: int = 0

    def before(self, rows: Sequence[Row]) -> Fit | None:
        return curves.fit_curve(self.family, _trained(rows))

    window = before


class _Average:
    """The mean of log, power, inverse exponential and logit-log, each clipped to 0–100."""

    ahead = 0
    families = (curves.LOG, curves.POWER, curves.EXPONENTIAL, curves.LOGIT_LOG)

    def before(self, rows: Sequence[Row]) -> Fit | None:
        fits = [curves.fit_curve(family, _trained(rows)) for family in self.families]
        known = tuple(fit for fit in fits if fit is not None)
        return curves.AverageFit(known) if len(known) == len(fits) else None

    window = before


class _Loss:
    """Extrapolates the loss and maps it to accuracy by the relation that the run itself has shown between the two."""

    ahead = 0

    def before(self, rows: Sequence[Row]) -> Fit | None:
        return curves.fit_loss([(row.round, row.accuracy, row.loss) for row in rows if row.round > 0])

    window = before


def _trained(rows: Sequence[Row]) -> list[tuple[float, float]]:
    return [(row.round, row.accuracy) for row in rows if row.round > 0]


trends.register("log")(_Log())
trends.register("log_original")(_LogOriginal())
for _family in (curves.POWER, curves.EXPONENTIAL, curves.LOGIT_LOG):
    trends.register(_family.name)(_Curve(_family))
trends.register("average")(_Average())
trends.register("loss")(_Loss())
