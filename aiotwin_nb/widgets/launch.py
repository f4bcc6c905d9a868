"""Panel: Launch."""

from __future__ import annotations

from aiotwin_nb.widgets.panel import Panel


class LaunchPanel(Panel):
    """Launch."""

    title = "Launch"
