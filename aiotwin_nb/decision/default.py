"""The recommended policy: forecasts both futures with 80 % intervals, and says when it pays to look one round longer.

The forecasts are those of small regression trees, randomised and boosted, trained on simulated runs whose both branches
were run to the end (`python -m aiotwin_nb.bench.learn`); their inputs are in `features`. What is decided is the sign of
the predicted difference; the two forecasts agree with it: new = m + d/2, old = m − d/2, m the mean of both.

Value of information (Raiffa & Schlaifer, 1961). Let d ~ N(Δ, σ²) be the difference that is not yet known. One more
round removes a share λ of σ², so that Δ itself will move by s = σ√λ, and deciding after it is better by

    value = s·φ(|Δ|/s) − |Δ|·Φ(−|Δ|/s)        points of final accuracy, on average.

It costs rounds of the old configuration if that turns out to be the better one: P(d < 0) · (price of a new round in old
ones) · (points that the old configuration still gains per round).
"""

from __future__ import annotations

import math
from statistics import NormalDist

from aiotwin_nb.decision.features import features
from aiotwin_nb.decision.forest import BEND, TRUST, Model, load_model
from aiotwin_nb.decision.validation import Evidence, Forecast, Judgement, Verdict, policies, rva

_NORMAL = NormalDist()
_MEAN_TO_DEVIATION = math.sqrt(math.pi / 2)  # of a normal error: standard deviation / mean absolute value
_LEAST_ROWS = 2  # trained rounds on each side


@policies.register("default")
def default(evidence: Evidence) -> Judgement:
    """Keep or revert by the forecast difference; undecided while one more round is worth more than it costs."""
    if sum(row.round > 0 for row in evidence.before) < _LEAST_ROWS or len(evidence.window) < _LEAST_ROWS:
        return Judgement("undecided", f"each side needs {_LEAST_ROWS} trained rounds; the new configuration stays")
    if evidence.objective == "cost_min":
        return Judgement(*rva(evidence))  # the forests know budgets only
    known = features(evidence)
    model = load_model()["context" if evidence.context and evidence.context.get("labels") else "rows"]
    difference = BEND * math.sinh(model.difference.predict(known))
    old, new = forecasts(model, known, difference)
    sentence = (
        f"the new configuration is predicted to end at {_text(new)} ({evidence.new.rounds_left} rounds left), "
        f"the old one at {_text(old)} ({evidence.old.rounds_left} rounds left)"
    )
    value, cost = worth_of_a_round(model, known, difference, evidence)
    if value > cost and (evidence.context or {}).get("extra_rounds_left", 0) > 0:
        worth = f"one more round is worth {value:.2f} points and costs {cost:.2f}"
        return Judgement("undecided", f"{sentence}; {worth}", old, new, extend=True)
    verdict: Verdict = "reverted" if difference < 0 else "kept"
    return Judgement(verdict, sentence, old, new)


def forecasts(model: Model, known: dict[str, float], difference: float) -> tuple[Forecast, Forecast]:
    """Return the forecasts of the old and of the new future, `difference` apart where the bounds 0–100 allow."""
    mean = known["level"] + gain(model, known)
    old_half = model.factor_old * math.exp(model.spread_old.predict(known))
    new_half = model.factor_new * math.exp(model.spread_new.predict(known))
    return _forecast(mean - difference / 2, old_half), _forecast(mean + difference / 2, new_half)


def gain(model: Model, known: dict[str, float]) -> float:
    """Return what both futures gain on the present level, on average, in points."""
    return TRUST * known["trends"] + model.mean.predict(known)


def worth_of_a_round(
    model: Model, known: dict[str, float], difference: float, evidence: Evidence
) -> tuple[float, float]:
    """Return what one more round in the window is worth and what it costs, in points of final accuracy."""
    deviation = _MEAN_TO_DEVIATION * math.exp(model.spread_difference.predict(known))
    moves = deviation * math.sqrt(model.learning)
    z = abs(difference) / moves
    value = moves * _NORMAL.pdf(z) - abs(difference) * _NORMAL.cdf(-z)
    left = max(evidence.old.rounds_left or 0, 1)
    gain_per_round = max(gain(model, known) - difference / 2, 0.0) / left
    price = float(evidence.new.round_cost / evidence.old.round_cost)
    return value, _NORMAL.cdf(-difference / deviation) * price * gain_per_round


def _forecast(value: float, half: float) -> Forecast:
    low, middle, high = (min(max(v, 0.0), 100.0) for v in (value - half, value, value + half))
    return Forecast(middle, (low, high))


def _text(forecast: Forecast) -> str:
    assert forecast.interval is not None
    low, high = forecast.interval
    return f"{forecast.predicted:.1f} % [{low:.1f}, {high:.1f}]"
