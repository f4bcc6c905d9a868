"""The cluster's own nodes, labelled or not: where something may run now, and which of them are gone."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

from aiotwin_nb.cluster.connection import Connection
from aiotwin_nb.cluster.source import ClusterNode
from aiotwin_nb.cluster.watching import Object, ObjectWatch
from aiotwin_nb.errors import AIoTwinError

LIST_SECONDS = 30.0


class MachineWatch:
    """Cluster nodes by list and watch.

    `on_gone`: called with a cluster node and the reason when it is not ready any more or was deleted, from the watch's
    thread; must be quick. A cordoned node is not gone: what runs there goes on.
    """

    def __init__(self, connection: Connection, on_gone: Callable[[str, str], None] = lambda name, why: None) -> None:
        self.on_gone = on_gone
        self._machines: dict[str, ClusterNode] = {}
        self._listed = threading.Event()
        self._watch = ObjectWatch(connection, "/api/v1/nodes", self._take)

    def start(self) -> MachineWatch:
        """List the nodes and begin to watch; raises AIoTwinError when no list comes in time."""
        self._watch.start()
        if not self._listed.wait(LIST_SECONDS):
            self.close()
            raise AIoTwinError(f"the cluster's nodes could not be listed: {self._watch.problem or 'no answer'}")
        return self

    @property
    def usable(self) -> list[str]:
        """Nodes on which something may be started, by name."""
        return sorted(name for name, machine in self._machines.items() if machine.usable)

    @property
    def alive(self) -> list[str]:
        """Nodes on which things run: usable ones, and those that are only cordoned."""
        return sorted(name for name, machine in self._machines.items() if machine.ready)

    def close(self) -> None:
        """End the watch; safe to call twice."""
        self._watch.close()

    def _take(self, cluster: Mapping[str, Object]) -> None:
        before, self._machines = self._machines, {name: ClusterNode.of(item) for name, item in cluster.items()}
        self._listed.set()
        for name, machine in before.items():
            now = self._machines.get(name)
            if machine.ready and (now is None or not now.ready):
                self.on_gone(name, f"the cluster node {name} {'was deleted' if now is None else 'is NotReady'}")
