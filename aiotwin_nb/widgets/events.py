"""Panel: Events."""

from __future__ import annotations

from aiotwin_nb.widgets.panel import Panel


class EventsPanel(Panel):
    """Events."""

    title = "Events"
