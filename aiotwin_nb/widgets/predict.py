"""Panel: Predict first."""

from __future__ import annotations

from aiotwin_nb.widgets.panel import Panel


class PredictPanel(Panel):
    """Predict first."""

    title = "Predict first"
