"""A thread that paints: at most so often, and always the last state."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

logger = logging.getLogger(__name__)

PAUSE_SECONDS = 0.5


class Painter:
    """Calls `paint` after `mark`, at most once in `pause` seconds; what is marked meanwhile is painted afterwards.

    `paint` returns whether it painted; if it did not, the next mark need not wait. It is only ever called by this
    thread, which begins with the first mark and ends with `close`.
    """

    def __init__(self, paint: Callable[[], bool], pause: float = PAUSE_SECONDS) -> None:
        self._paint = paint
        self._pause = pause
        self._marked = threading.Event()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def mark(self) -> None:
        """Say that there is something new; returns at once."""
        self._marked.set()
        with self._lock:
            if self._thread is None and not self._closing.is_set():
                self._thread = threading.Thread(target=self._work, name="aiotwin-paint", daemon=True)
                self._thread.start()

    def close(self) -> None:
        """End the thread; safe to call twice and from the thread itself."""
        self._closing.set()
        self._marked.set()
        with self._lock:
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout=5)

    def _work(self) -> None:
        while self._marked.wait() and not self._closing.is_set():
            self._marked.clear()
            began = time.monotonic()
            try:
                painted = self._paint()
            except Exception:  # one picture less; the next state may be drawn again
                logger.exception("a plot could not be drawn")
                painted = True
            if painted:
                self._closing.wait(max(0.0, self._pause - (time.monotonic() - began)))
