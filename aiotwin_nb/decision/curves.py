"""Learning curves that flatten out: families of curves, least squares over their shapes, and intervals.

A family says accuracy = g(a + b·h(x; shape)). For every shape of a small grid, a and b follow from least squares; the
shapes then share in the prediction by how well they fit (w ∝ RSS^(−n/2), the likelihood of normal errors), so that an
interval also holds the doubt about the shape. Families: power law and inverse exponential as in studies of learning
curves (Viering & Loog, "The shape of learning curves", 2022), logit-log for accuracies that near their bounds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

_NEVER = 2**20  # rounds; a target that takes longer is never reached
_FLOOR = 0.02  # the least standard deviation of an evaluation that is believed, in units of the fitted quantity


@dataclass(frozen=True)
class Line:
    """Least squares of z = a + b·h over `count` points; `spread`: Σ(h − mean)², `residuals`: Σ of squared errors."""

    a: float
    b: float
    mean: float
    spread: float
    residuals: float
    count: int

    def at(self, h: float) -> float:
        """Predicted z."""
        return self.a + self.b * h

    def leverage(self, h: float) -> float:
        """Variance of a new observation at h, in units of the residual variance: 1 + 1/n + (h − mean)²/spread."""
        return 1 + 1 / self.count + (h - self.mean) ** 2 / self.spread

    @classmethod
    def of(cls, points: Sequence[tuple[float, float]]) -> Line | None:
        """Fit (h, z) points; None when all h are equal."""
        n = len(points)
        mean = math.fsum(h for h, _ in points) / n if n else 0.0
        centre = math.fsum(z for _, z in points) / n if n else 0.0
        spread = math.fsum((h - mean) ** 2 for h, _ in points)
        if spread <= 1e-18:
            return None
        b = math.fsum((h - mean) * (z - centre) for h, z in points) / spread
        a = centre - b * mean
        return cls(a, b, mean, spread, math.fsum((z - a - b * h) ** 2 for h, z in points), n)


def _logit(accuracy: float) -> float:
    share = min(max(accuracy / 100, 0.005), 0.995)
    return math.log(share / (1 - share))


def _expit(z: float) -> float:
    return 100 / (1 + math.exp(-min(max(z, -500.0), 500.0)))


def _same(value: float) -> float:
    return value


@dataclass(frozen=True)
class Family:
    """Curves g(a + b·h(x; shape)); `link` is the inverse of g, `parameters` what is fitted."""

    name: str
    basis: Callable[[float, float], float]
    shapes: tuple[float, ...]
    parameters: int
    link: Callable[[float], float] = _same
    unlink: Callable[[float], float] = _same


LOG = Family("log", lambda x, _: math.log(x + 1), (1.0,), 2)
POWER = Family("power", lambda x, c: -((x + 1) ** -c), (0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 1.5, 2.0), 3)
EXPONENTIAL = Family(
    "inverse_exponential", lambda x, t: -math.exp(-x / t), (1.5, 2.5, 4.0, 6.0, 10.0, 16.0, 25.0, 40.0, 80.0), 3
)
LOGIT_LOG = Family("logit_log", lambda x, _: math.log(x + 1), (1.0,), 2, _logit, _expit)


@dataclass(frozen=True)
class CurveFit:
    """A fitted family: lines by shape, with the weight of each.

    `points`: the x of every row used. `width`: Student factor of the 80 % interval; None with too few rows for one.
    """

    family: Family
    members: tuple[tuple[float, float, Line], ...]  # (weight, shape, line)
    points: tuple[float, ...]
    width: float | None

    def at(self, x: float) -> float:
        """Predicted accuracy at x, in percent and within 0–100."""
        return self._accuracy(self._mean(x))

    def interval(self, x: float) -> tuple[float, float] | None:
        """80 % prediction interval at x; None when there are too few rows."""
        if self.width is None:
            return None
        mean, variance = self._mean(x), 0.0
        degrees = len(self.points) - self.family.parameters
        for weight, shape, line in self.members:
            h = self.family.basis(x, shape)
            noise = max(line.residuals / degrees, _FLOOR**2)
            variance += weight * (noise * line.leverage(h) + (line.at(h) - mean) ** 2)
        half = self.width * math.sqrt(variance)
        return self._accuracy(mean - half), self._accuracy(mean + half)

    def first_x_reaching(self, accuracy: float) -> int | None:
        """Smallest whole x ≥ 0 whose predicted accuracy is at least `accuracy`; None if the trend never gets there."""
        return first_x_reaching(self.at, accuracy)

    def _mean(self, x: float) -> float:
        return math.fsum(weight * line.at(self.family.basis(x, shape)) for weight, shape, line in self.members)

    def _accuracy(self, z: float) -> float:
        return min(max(self.family.unlink(z), 0.0), 100.0)


def fit_curve(family: Family, points: Sequence[tuple[float, float]]) -> CurveFit | None:
    """Fit a family to (x, accuracy) points; None when they are fewer than its parameters."""
    if len({x for x, _ in points}) < family.parameters:
        return None
    lines = []
    for shape in family.shapes:
        line = Line.of([(family.basis(x, shape), family.link(y)) for x, y in points])
        if line is not None:
            lines.append((shape, line))
    if not lines:
        return None
    n = len(points)
    scores = [-n / 2 * math.log(line.residuals + n * (_FLOOR / 2) ** 2) for _, line in lines]
    weights = [math.exp(score - max(scores)) for score in scores]
    total = math.fsum(weights)
    members = tuple((w / total, shape, line) for w, (shape, line) in zip(weights, lines, strict=True))
    degrees = n - family.parameters
    return CurveFit(family, members, tuple(x for x, _ in points), student(degrees) if degrees > 0 else None)


@dataclass(frozen=True)
class AverageFit:
    """The mean of several fits; its interval holds their own intervals and their disagreement."""

    fits: tuple[CurveFit, ...]

    @property
    def points(self) -> tuple[float, ...]:
        """The x of every row used."""
        return self.fits[0].points

    def at(self, x: float) -> float:
        """Predicted accuracy at x, in percent."""
        return math.fsum(fit.at(x) for fit in self.fits) / len(self.fits)

    def interval(self, x: float) -> tuple[float, float] | None:
        """80 % interval: half² = mean of the fits' half² + z²·variance of their predictions, z = 1.28."""
        intervals = [known for fit in self.fits if (known := fit.interval(x)) is not None]
        if not intervals:
            return None
        mean, n = self.at(x), len(self.fits)
        own = math.fsum(((high - low) / 2) ** 2 for low, high in intervals) / len(intervals)
        between = math.fsum((fit.at(x) - mean) ** 2 for fit in self.fits) / n
        half = math.sqrt(own + 1.2816**2 * between)
        return max(mean - half, 0.0), min(mean + half, 100.0)

    def first_x_reaching(self, accuracy: float) -> int | None:
        """Smallest whole x ≥ 0 whose predicted accuracy is at least `accuracy`; None if the trend never gets there."""
        return first_x_reaching(self.at, accuracy)


@dataclass(frozen=True)
class LossFit:
    """The loss as a power law, ln loss = a + b·ln(x + 1), and the run's own accuracy = c + d·ln loss.

    `loss`, `relation`: the two lines. The errors of both add up: d²·(error of ln loss)² + (error of the relation)².
    """

    loss: Line
    relation: Line
    points: tuple[float, ...]
    width: float | None

    def at(self, x: float) -> float:
        """Predicted accuracy at x, in percent and within 0–100."""
        return min(max(self.relation.at(self.loss.at(math.log(x + 1))), 0.0), 100.0)

    def interval(self, x: float) -> tuple[float, float] | None:
        """80 % prediction interval at x; None when there are too few rows."""
        if self.width is None:
            return None
        h, degrees = math.log(x + 1), len(self.points) - 2
        z = self.loss.at(h)
        variance = self.relation.b**2 * self.loss.residuals / degrees * self.loss.leverage(h)
        variance += max(self.relation.residuals / degrees, _FLOOR**2) * self.relation.leverage(z)
        half, centre = self.width * math.sqrt(variance), self.relation.at(z)
        return min(max(centre - half, 0.0), 100.0), min(max(centre + half, 0.0), 100.0)

    def first_x_reaching(self, accuracy: float) -> int | None:
        """Smallest whole x ≥ 0 whose predicted accuracy is at least `accuracy`; None if the trend never gets there."""
        return first_x_reaching(self.at, accuracy)


def fit_loss(rows: Sequence[tuple[float, float, float]]) -> LossFit | None:
    """Fit (x, accuracy, loss) rows; None below three rows with a finite loss above 0, or when the loss stands still."""
    usable = [(x, y, math.log(loss)) for x, y, loss in rows if 0 < loss < math.inf]
    if len(usable) < 3:
        return None
    loss = Line.of([(math.log(x + 1), z) for x, _, z in usable])
    relation = Line.of([(z, y) for _, y, z in usable])
    if loss is None or relation is None:
        return None
    return LossFit(loss, relation, tuple(x for x, _, _ in usable), student(len(usable) - 2))


def first_x_reaching(at: Callable[[float], float], accuracy: float) -> int | None:
    """Smallest whole x ≥ 0 with at(x) ≥ accuracy of a curve that does not fall; None beyond a million rounds."""
    if at(0) >= accuracy:
        return 0
    high = 1
    while at(high) < accuracy:
        high *= 2
        if high > _NEVER:
            return None
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if at(middle) >= accuracy else (middle, high)
    return high


def student(degrees: int) -> float:
    """Two-sided 80 % quantile of Student's t."""
    from scipy.special import stdtrit  # imported late: scipy costs start-up time that plain planning need not pay

    return float(stdtrit(degrees, 0.9))
