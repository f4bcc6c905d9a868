"""Panel: Decisions."""

from __future__ import annotations

from aiotwin_nb.widgets.panel import Panel


class DecisionsPanel(Panel):
    """Decisions."""

    title = "Decisions"
