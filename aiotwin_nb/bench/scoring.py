"""Scores of decision policies on cases whose both outcomes are known.

Right: what the run ended with is not worse than the better branch by more than 0.5 points (mean of the last 3
evaluations); strictly right: not worse at all. Regret: the better branch less what the run ended with, in points.
An undecided decision counts as what the run then did: the window is extended while the policy asks for it and its bound
allows; what is never resolved stays, so it counts as kept. Policies see rows up to the evaluation, nothing later.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from aiotwin_nb.bench.branches import Case
from aiotwin_nb.decision import Decision, Verdict, validate
from aiotwin_nb.orchestration.compare import TIE_POINTS


@dataclass(frozen=True)
class Method:
    """A way to decide: policy and trend, with or without what the orchestrator knows besides the curve."""

    name: str
    policy: str
    trend: str = "log"
    context: bool = False
    extends: bool = False


METHODS = (
    Method("always_keep", "always_keep"),
    Method("always_revert", "always_revert"),
    Method("original (rva, log_original)", "rva", "log_original"),
    *(
        Method(f"rva, {trend}", "rva", trend)
        for trend in ("log", "power", "inverse_exponential", "logit_log", "average", "loss")
    ),
    Method("default, rows alone", "default"),
    Method("default, context", "default", context=True),
    Method("default, context, extending", "default", context=True, extends=True),
)


@dataclass(frozen=True)
class Outcome:
    """What one method made of one case; accuracies in percent, `seconds` of deciding.

    `old`, `new`: (predicted, low, high, what happened) of both futures at the last evaluation, None where unknown.
    """

    method: str
    case: str
    data_set: str
    seed: int
    decision: Verdict
    extra_rounds: int
    final: float
    best: float
    seconds: float
    old: tuple[float, float, float, float] | None
    new: tuple[float, float, float, float] | None

    @property
    def regret(self) -> float:
        """Points of final accuracy lost against the better branch."""
        return max(self.best - self.final, 0.0)


Reverter = Callable[[Case, int], float]


def decide(method: Method, case: Case, reverted: Reverter) -> Outcome:
    """Let a method decide a case. `reverted`: final accuracy of a revert after so many extra rounds."""
    extra, began, bound = 0, time.perf_counter(), 0
    if method.extends:
        bound = min(case.window, max(case.questions))
    decision = _ask(method, case, 0, bound)
    while decision.evidence.extend and extra < bound and extra + 1 in case.questions:
        extra += 1
        decision = _ask(method, case, extra, bound - extra)
    seconds = time.perf_counter() - began
    went_back = decision.decision == "reverted"
    end = reverted(case, extra) if went_back else case.kept
    return Outcome(
        method=method.name,
        case=case.name,
        data_set=case.data_set,
        seed=case.seed,
        decision=decision.decision,
        extra_rounds=extra,
        final=end,
        best=max(case.kept, case.reverted[0]),
        seconds=seconds,
        old=_forecast(decision.predicted_old, decision.interval_old, reverted(case, extra)),
        new=_forecast(decision.predicted_new, decision.interval_new, case.kept),
    )


def _ask(method: Method, case: Case, extra: int, left: int) -> Decision:
    asked: dict[str, Any] = {**case.questions[extra], "policy": method.policy, "trend": method.trend}
    asked["context"] = {**asked["context"], "extra_rounds_left": left} if method.context else None
    return validate(**asked)


def _forecast(
    predicted: float | None, interval: tuple[float, float] | None, happened: float
) -> tuple[float, float, float, float] | None:
    return None if predicted is None or interval is None else (predicted, *interval, happened)


def interpolated(case: Case, extra: int) -> float:
    """Final accuracy of a revert after extra rounds, between those that were run."""
    known = sorted(case.reverted)
    low = max(e for e in known if e <= extra)
    high = min((e for e in known if e >= extra), default=low)
    share = 0.0 if high == low else (extra - low) / (high - low)
    return case.reverted[low] * (1 - share) + case.reverted[high] * share


def summary(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Return the figures of one method on one data set."""
    forecasts = [forecast for o in outcomes for forecast in (o.old, o.new) if forecast is not None]
    looks = outcomes[0].method not in ("always_keep", "always_revert")
    return {
        "cases": len(outcomes),
        "right": fmean(o.regret <= TIE_POINTS for o in outcomes),
        "strictly_right": fmean(o.regret <= 0 for o in outcomes),
        "mean_regret": fmean(o.regret for o in outcomes),
        "worst_regret": max(o.regret for o in outcomes),
        "coverage": fmean(low <= y <= high for _, low, high, y in forecasts) if forecasts and looks else None,
        "forecast_error": fmean(abs(p - y) for p, _, _, y in forecasts) if forecasts and looks else None,
        "extra_rounds": fmean(o.extra_rounds for o in outcomes),
        "milliseconds": 1000 * fmean(o.seconds for o in outcomes),
    }
