"""Panel: Live plots."""

from __future__ import annotations

from aiotwin_nb.widgets.panel import Panel


class MetricsPanel(Panel):
    """Live plots."""

    title = "Live plots"
