"""A thread that does a piece of work whenever it is woken, for what must not keep a kernel or a follower waiting."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any


def same(one: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
    """Whether what work depends on is still the same: the very same objects, or equal words, numbers and tuples."""
    return len(one) == len(other) and all(
        a is b or (isinstance(a, str | int | tuple) and a == b) for a, b in zip(one, other, strict=True)
    )


class Worker:
    """Does its work in a thread of its own after `wake`; wakes that come while it works are followed by one more turn.

    The thread begins with the first wake and ends with `close`.
    """

    def __init__(self, work: Callable[[], None], name: str) -> None:
        self._work = work
        self._name = name
        self._changed = threading.Condition()
        self._wanted = self._busy = self._closed = False
        self._thread: threading.Thread | None = None

    def wake(self) -> None:
        """Ask for a turn; returns at once."""
        with self._changed:
            if self._closed:
                return
            self._wanted = True
            if self._thread is None:
                self._thread = threading.Thread(target=self._turns, name=self._name, daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def settle(self, timeout: float = 10.0) -> bool:
        """Wait until nothing is left to do; returns whether that came about in time (seconds)."""
        with self._changed:
            return self._changed.wait_for(lambda: self._closed or not (self._wanted or self._busy), timeout)

    def close(self) -> None:
        """End the thread after the turn it is in. Safe to call twice and from the thread itself."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout=10)

    def _turns(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._wanted or self._closed)
                if self._closed:
                    return
                self._wanted, self._busy = False, True
            try:
                self._work()
            finally:
                with self._changed:
                    self._busy = False
                    self._changed.notify_all()
