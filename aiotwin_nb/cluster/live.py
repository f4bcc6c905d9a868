"""A cluster's nodes for people, always up to date: by list and watch, and how old what is shown may be."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

from aiotwin_nb.cluster.connection import Connection
from aiotwin_nb.cluster.survey import node_row
from aiotwin_nb.cluster.usage import UNKNOWN, Usage, usage
from aiotwin_nb.cluster.watching import Object, ObjectWatch

TICK = 1.0  # seconds between two looks at how old the news are
USAGE_SECONDS = 15.0  # CPU and memory in use are asked for, not watched; the metrics API has new ones as often


class LiveNodes:
    """The nodes of a cluster as rows for a table (`node_row`); `tell` is called when anything shown may have changed.

    `tell` is called from threads and must be quick.
    """

    def __init__(self, connection: Connection, tell: Callable[[], None]) -> None:
        self._connection = connection
        self._tell = tell
        self._nodes: Mapping[str, Object] = {}
        self._used: dict[str, Usage] = {}
        self._ended = threading.Event()
        self._watch = ObjectWatch(connection, "/api/v1/nodes", self._take)
        self._clock = threading.Thread(target=self._look, name="aiotwin-cluster-clock", daemon=True)

    def start(self) -> LiveNodes:
        """Begin; returns before the first list is there."""
        self._watch.start()
        self._clock.start()
        return self

    @property
    def rows(self) -> tuple[Mapping[str, Any], ...]:
        """The nodes by name; none before the first list."""
        return tuple(node_row(item, self._used.get(name, UNKNOWN)) for name, item in sorted(self._nodes.items()))

    @property
    def problem(self) -> str:
        """Why nothing new comes; empty while all is well."""
        return self._watch.problem

    @property
    def stale_seconds(self) -> float:
        """Seconds since the API server last said something; up to a minute is usual where nothing happens."""
        return self._watch.stale_seconds

    def close(self) -> None:
        """End; safe to call twice."""
        self._ended.set()
        self._watch.close()
        if self._clock.is_alive() and self._clock is not threading.current_thread():
            self._clock.join(timeout=2)

    def _take(self, nodes: Mapping[str, Object]) -> None:
        self._nodes = nodes
        self._tell()

    def _look(self) -> None:
        ticks, was_troubled = 0, False
        while not self._ended.wait(TICK):
            ticks, troubled = ticks + 1, bool(self.problem)
            if not troubled and ticks * TICK >= USAGE_SECONDS:
                ticks, self._used = 0, usage(self._connection, list(self._nodes))
            if troubled or was_troubled or not ticks:
                self._tell()
            was_troubled = troubled
