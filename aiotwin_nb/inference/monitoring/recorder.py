"""Where measurements go: the journal first, and W&B (offline unless a key is configured)."""

from __future__ import annotations

from pathlib import Path
from threading import Lock
from typing import Any

from aiotwin_nb.inference.monitoring.accuracy import AccuracyWindow
from aiotwin_nb.inference.monitoring.events import (
    INFERENCE,
    AccuracyMeasured,
    MonitoringEnded,
    MonitoringStarted,
    WindowClosed,
)
from aiotwin_nb.inference.monitoring.metrics import window_row
from aiotwin_nb.inference.monitoring.windows import Window
from aiotwin_nb.orchestration.journal import Entry, Journal, read_journal
from aiotwin_nb.orchestration.rundir import check_new, new_tracking_id
from aiotwin_nb.tracking import make_tracker

JOURNAL = "journal.jsonl"


class Recorder:
    """Writes one monitor's measurements into a folder: `journal.jsonl` and `wandb/`. Safe for several threads."""

    def __init__(self, folder: Path, name: str, *, tracking: str | None = None) -> None:
        """Begin to record.

        Args:
            folder: new or empty
            name: of what is monitored
            tracking: auto, offline, online or off; None: as for runs

        Raises:
            InvalidInput: the folder is in use, or there is no such mode
        """
        check_new(folder)
        self._tracker = make_tracker(tracking)
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._lock = Lock()
        self._journal: Journal | None = Journal(folder / JOURNAL, vocabulary=INFERENCE)
        identity = new_tracking_id(folder)
        self._journal.append(MonitoringStarted(name, identity))
        self._tracker.start(identity, folder, {"name": name})

    def window(self, window: Window, accuracy: AccuracyWindow | None = None) -> None:
        """Record a window of time and the accuracy window that ended in it."""
        self.event(WindowClosed(window))
        if accuracy is not None:
            self.event(AccuracyMeasured(accuracy))
        self._tracker.log(window_row(window, accuracy))

    def event(self, event: Any) -> None:
        """Record one of `events`; after the end, nothing."""
        with self._lock:
            if self._journal is not None:
                self._journal.append(event)

    def close(self) -> None:
        """End the record; safe to call twice."""
        self.event(MonitoringEnded())
        with self._lock:
            journal, self._journal = self._journal, None
        if journal is not None:
            journal.close()
            self._tracker.finish()


def read_record(folder: Path) -> list[Entry]:
    """The journal of a recorder's folder."""
    return read_journal(folder / JOURNAL, INFERENCE)
