"""What to keep: performance trends and reactive validation (pure)."""

from aiotwin_nb.decision import default as _default  # noqa: F401 - registers the policy
from aiotwin_nb.decision.convergence import converged
from aiotwin_nb.decision.forecast import Foresight, forecast_load, foresee
from aiotwin_nb.decision.trends import Fit, LogFit, Row, Trend, fit_log, trends
from aiotwin_nb.decision.validation import (
    OBJECTIVES,
    Decision,
    Evidence,
    Forecast,
    Future,
    Judgement,
    Policy,
    Verdict,
    is_armed,
    policies,
    rounds_left,
    validate,
)

__all__ = [
    "OBJECTIVES",
    "Decision",
    "Evidence",
    "Fit",
    "Forecast",
    "Foresight",
    "Future",
    "Judgement",
    "LogFit",
    "Policy",
    "Row",
    "Trend",
    "Verdict",
    "converged",
    "fit_log",
    "forecast_load",
    "foresee",
    "is_armed",
    "policies",
    "rounds_left",
    "trends",
    "validate",
]
