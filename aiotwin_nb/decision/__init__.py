"""What to keep: performance trends and reactive validation (pure)."""

from aiotwin_nb.decision.convergence import converged
from aiotwin_nb.decision.forecast import Foresight, forecast_load, foresee
from aiotwin_nb.decision.trends import Fit, Row, Trend, fit_log, trends
from aiotwin_nb.decision.validation import (
    OBJECTIVES,
    Decision,
    Evidence,
    Future,
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
    "Foresight",
    "Future",
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
