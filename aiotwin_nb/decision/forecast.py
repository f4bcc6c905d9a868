"""What can be known before it happens: a node's load, and what a change will bring (pure)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from aiotwin_nb.decision.trends import Row, trends
from aiotwin_nb.decision.validation import rounds_left


def forecast_load(series: Sequence[float], horizon: int, *, history: int = 5) -> float | None:
    """Load (0 to 1) expected `horizon` rounds ahead: the line through the last `history` values; None below two."""
    recent = list(series)[-history:]
    n = len(recent)
    if n < 2:
        return None
    mean_x, mean_y = (n - 1) / 2, sum(recent) / n
    spread = sum((x - mean_x) ** 2 for x in range(n))
    slope = sum((x - mean_x) * (y - mean_y) for x, y in enumerate(recent)) / spread
    return min(max(mean_y + slope * (n - 1 + horizon - mean_x), 0.0), 1.0)


@dataclass(frozen=True)
class Foresight:
    """Both futures as they look before a change is made: accuracies in percent at the end of the budget."""

    predicted_old: float
    predicted_new: float
    rounds_left_old: int
    rounds_left_new: int

    @property
    def worthwhile(self) -> bool:
        """Whether the change is predicted to improve the final accuracy."""
        return self.predicted_new > self.predicted_old


def foresee(
    rows: Sequence[Row],
    *,
    trend: str,
    budget_left: Decimal,
    change_cost: Decimal,
    round_cost_before: Decimal,
    round_cost_after: Decimal,
    coverage_before: float,
    coverage_after: float,
) -> Foresight | None:
    """Predict both futures before a change is made; None when there are too few rounds for a trend.

    The trend of the rounds so far is read off at the last round that the budget buys on either side. On the new side it
    is scaled by the gain in label coverage (labels that the members hold / labels that anybody holds): a label that
    nobody trains on cannot be recognised. Source: the proactive approach of the AIoTwin slides (cost, trend, utility
    from the data distribution, reconfigure if an improvement is predicted).
    """
    fit = trends.get(trend).before(rows)
    if fit is None or coverage_before <= 0:
        return None
    now = rows[-1].round
    left_old = rounds_left(budget_left, round_cost_before)
    left_new = rounds_left(budget_left - change_cost, round_cost_after)
    old = fit.at(now + left_old)
    new = min(100.0, fit.at(now + left_new) * coverage_after / coverage_before)
    return Foresight(old, new, left_old, left_new)
