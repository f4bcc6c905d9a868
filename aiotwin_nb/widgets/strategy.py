"""Panel: Strategy and budget."""

from __future__ import annotations

from aiotwin_nb.widgets.panel import Panel


class StrategyPanel(Panel):
    """Strategy and budget."""

    title = "Strategy and budget"
