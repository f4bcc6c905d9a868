"""Panel: live plots of the run that a session follows, or of a run on a W&B server."""

from __future__ import annotations

import threading
from functools import partial
from pathlib import Path
from typing import Any

from aiotwin_nb.errors import AIoTwinError
from aiotwin_nb.tracking import WandbApiSource
from aiotwin_nb.widgets.curves import Story
from aiotwin_nb.widgets.panel import Panel
from aiotwin_nb.widgets.plots import LivePlots
from aiotwin_nb.widgets.session import Session


class MetricsPanel(LivePlots, Panel):
    """Live plots: accuracy, loss, cost, budget and the clients, with changes, decisions and predicted futures."""

    def __init__(self, session: Session, **options: Any) -> None:
        super().__init__(session, **options)
        self._observed = [(self._on_snapshot, "snapshot"), (self._on_selected, "selected")]
        for handler, name in self._observed:
            session.observe(handler, name)
        if session.snapshot is not None:
            self._on_snapshot()

    @staticmethod
    def remote(path: str, **options: Any) -> RemotePlots:
        """Plots of a run on a W&B server, `entity/project/run`."""
        return RemotePlots(path, **options)

    def close(self) -> None:
        """End the painting thread; the run goes on. Safe to call twice."""
        observed, self._observed = self._observed, []
        for handler, name in observed:
            self.session.unobserve(handler, name)
        super().close()

    def _on_snapshot(self, change: Any = None) -> None:
        snapshot = self.session.snapshot
        if snapshot is None:
            self.show(lambda: None)
            return
        self.folder = snapshot.path.parent
        self.show(partial(Story.of_run, snapshot))

    def _on_selected(self, change: Any) -> None:
        self.select(change["new"])


class RemotePlots(LivePlots):
    """Live plots of a run on a W&B server, asked as rarely as its source (`tracking.pace`) wants."""

    LOOK_SECONDS = 0.5

    def __init__(self, path: str, *, source: WandbApiSource | None = None, folder: Path | None = None, **options: Any):
        super().__init__(folder=folder, **options)
        self._source = source or WandbApiSource(path)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._look, name="aiotwin-remote", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the reading and the painting thread. Safe to call twice."""
        self._closing.set()
        self._thread.join(timeout=5)
        super().close()

    def _look(self) -> None:
        source = self._source
        rows: list[dict[str, Any]] = []
        while not self._closing.is_set():
            try:
                rows = source.rows()
                problem = source.problem
            except AIoTwinError as error:
                problem = str(error)
            self.show(partial(Story.of_rows, source.path, rows, status=source.state, problem=problem))
            self._closing.wait(self.LOOK_SECONDS)
