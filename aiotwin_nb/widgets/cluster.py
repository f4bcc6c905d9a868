"""Panel: Cluster."""

from __future__ import annotations

from aiotwin_nb.widgets.panel import Panel


class ClusterPanel(Panel):
    """Cluster."""

    title = "Cluster"
