"""Slow work of a panel, such as drawing: done in a thread of its own, after the last change and not too often."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

log = logging.getLogger(__name__)


def same(one: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
    """Whether what is drawn is still the same: the very same objects, or equal words, numbers and tuples."""
    return len(one) == len(other) and all(
        a is b or (isinstance(a, str | int | tuple) and a == b) for a, b in zip(one, other, strict=True)
    )


class Painter:
    """Repeats `work` whenever `touch` says that something changed, at most once in `pause` seconds.

    However often it is touched, the last change is always worked in. Work that returns False has found nothing to do
    and needs no pause. The thread starts at the first touch.
    """

    def __init__(self, work: Callable[[], object], *, pause: float, name: str) -> None:
        self._work, self._pause, self._name = work, pause, name
        self._changed = threading.Condition()
        self._dirty = self._hurry = self._busy = self._closing = False
        self._thread: threading.Thread | None = None

    def touch(self, *, hurry: bool = False) -> None:
        """Say that something changed; returns at once. `hurry`: without the rest."""
        with self._changed:
            if self._closing:
                return
            self._dirty, self._hurry = True, self._hurry or hurry
            if self._thread is None:
                self._thread = threading.Thread(target=self._repeat, name=self._name, daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def settle(self, timeout: float = 10.0) -> bool:
        """Wait until every change so far is worked in; returns whether it is (timeout in seconds)."""
        if self._thread is threading.current_thread():
            return False
        with self._changed:
            self._hurry = True
            self._changed.notify_all()
            return self._changed.wait_for(lambda: self._closing or not (self._dirty or self._busy), timeout)

    def close(self) -> None:
        """End the thread. Safe to call twice and from the thread itself."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout=5)

    def _repeat(self) -> None:
        ready = 0.0
        while self._wait_until(ready):
            began = time.monotonic()
            try:
                idle = self._work() is False
            except Exception:  # a picture that cannot be drawn must not end all later ones
                log.exception("%s", self._name)
                idle = False
            with self._changed:
                self._busy = False
                self._changed.notify_all()
            ready = began if idle else began + self._pause

    def _wait_until(self, ready: float) -> bool:
        """Wait for a change and the end of the rest; False when closing."""
        with self._changed:
            while not self._closing:
                left = 0.0 if self._hurry else ready - time.monotonic()
                if self._dirty and left <= 0:
                    self._dirty = self._hurry = False
                    self._busy = True
                    return True
                self._changed.wait(left if self._dirty else None)
        return False
