"""The nodes of a cluster as the orchestrator sees them: labelled and ready ones exist, the others do not."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from aiotwin_nb.cluster.connection import Connection
from aiotwin_nb.cluster.labels import ID, is_labelled, node_of
from aiotwin_nb.cluster.watching import Object, ObjectWatch
from aiotwin_nb.continuum import Change, Infrastructure, Node
from aiotwin_nb.errors import AIoTwinError, InvalidInput

LIST_SECONDS = 30.0


@dataclass(frozen=True)
class ClusterNode:
    """What the API server says of one node of the cluster."""

    name: str
    ready: bool
    schedulable: bool
    labels: Mapping[str, str]
    annotations: Mapping[str, str]

    @classmethod
    def of(cls, item: Object) -> ClusterNode:
        """Read a Node object."""
        meta, status = item["metadata"], item.get("status", {})
        ready = any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions") or [])
        schedulable = not item.get("spec", {}).get("unschedulable", False) and "deletionTimestamp" not in meta
        return cls(meta["name"], ready, schedulable, meta.get("labels") or {}, meta.get("annotations") or {})

    @property
    def usable(self) -> bool:
        """Whether something may run there: Ready, and neither cordoned nor being deleted."""
        return self.ready and self.schedulable

    def describe(self) -> str:
        """Ready, NotReady, cordoned."""
        return ("Ready" if self.ready else "NotReady") + ("" if self.schedulable else ", cordoned")


def nodes_of(cluster: Mapping[str, Object]) -> tuple[dict[str, Node], dict[str, str]]:
    """The nodes that take part, by id, and {cluster node: what is wrong with its labels}."""
    nodes: dict[str, Node] = {}
    wrong: dict[str, str] = {}
    for name in sorted(cluster):
        found = ClusterNode.of(cluster[name])
        if not (found.usable and is_labelled(found.labels)):
            continue
        try:
            node = node_of(name, found.labels, found.annotations)
        except InvalidInput as error:
            wrong[name] = str(error)
            continue
        if node.id in nodes:
            wrong[name] = f"cluster node {name}: another one has the id {node.id} too"
        else:
            nodes[node.id] = node
    return nodes, wrong


def difference(before: Mapping[str, Node], after: Mapping[str, Node]) -> Change:
    """What has to happen to one set of nodes to make it the other.

    A node whose links or data changed keeps its place; one whose role or anything else changed leaves and joins.
    """
    links, data, replaced = {}, {}, set()
    for node_id in before.keys() & after.keys():
        old, new = before[node_id], after[node_id]
        if old == new:
            continue
        if not _same_but_for_links_and_data(old, new):
            replaced.add(node_id)
            continue
        if changed := {peer: cost for peer, cost in new.links.items() if old.links.get(peer) != cost}:
            links[node_id] = changed
        labels = sorted({*old.data, *new.data})
        if counts := {i: new.data.get(i, 0) for i in labels if old.data.get(i, 0) != new.data.get(i, 0)}:
            data[node_id] = counts
    removed = [i for i in before if i not in after or i in replaced]
    added = [node for i, node in after.items() if i not in before or i in replaced]
    return Change(added=tuple(added), removed=tuple(removed), links=links, data=data)


def _labelled(cluster: Mapping[str, Object]) -> Iterator[tuple[str, Mapping[str, str]]]:
    for name, item in cluster.items():
        labels = item["metadata"].get("labels") or {}
        if is_labelled(labels):
            yield name, labels


def _same_but_for_links_and_data(old: Node, new: Node) -> bool:
    return replace(old, links=new.links, data=new.data) == new and old.links.keys() <= new.links.keys()


class KubernetesNodeSource:
    """The labelled nodes of a cluster, by list and watch (implements orchestration's NodeSource)."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._nodes: dict[str, Node] = {}
        self._wrong: dict[str, str] = {}
        self._places: dict[str, str] = {}
        self._listed = threading.Event()
        self._notify: Callable[[Change], None] | None = None
        self._lock = threading.Lock()
        self._watch = ObjectWatch(connection, "/api/v1/nodes", self._take)

    def start(self) -> KubernetesNodeSource:
        """List the nodes and begin to watch; raises AIoTwinError when no list comes in time."""
        self._watch.start()
        if not self._listed.wait(LIST_SECONDS):
            self.close()
            raise AIoTwinError(f"the cluster's nodes could not be listed: {self._watch.problem or 'no answer'}")
        return self

    def infrastructure(self) -> Infrastructure:
        """The nodes that exist now."""
        with self._lock:
            return Infrastructure.of(self._nodes.values())

    def places(self) -> dict[str, str]:
        """{node: the cluster node that it is}, also of nodes that were there once."""
        with self._lock:
            return dict(self._places)

    @property
    def wrong(self) -> Mapping[str, str]:
        """{cluster node: what is wrong with its labels}: those take no part."""
        return dict(self._wrong)

    @property
    def stale_seconds(self) -> float:
        """Seconds since the API server last said something."""
        return self._watch.stale_seconds

    @property
    def problem(self) -> str:
        """Why nothing new comes, if so."""
        return self._watch.problem

    def watch(self, notify: Callable[[Change], None]) -> Callable[[], None]:
        """Call `notify` for every change from now on; the returned function ends the watch."""
        self._notify = notify
        return self.close

    def close(self) -> None:
        """End the watch."""
        self._notify = None
        self._watch.close()

    def _take(self, cluster: Mapping[str, Any]) -> None:
        nodes, wrong = nodes_of(cluster)
        with self._lock:
            change = difference(self._nodes, nodes)
            self._nodes, self._wrong = nodes, wrong
            self._places |= {labels.get(ID, name): name for name, labels in _labelled(cluster) if name not in wrong}
        first = not self._listed.is_set()
        self._listed.set()
        if change and not first and self._notify is not None:
            self._notify(change)
