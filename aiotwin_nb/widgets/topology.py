"""Panel: Topology."""

from __future__ import annotations

from aiotwin_nb.widgets.panel import Panel


class TopologyPanel(Panel):
    """Topology."""

    title = "Topology"
