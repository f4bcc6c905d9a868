"""Making something happen to a cluster's nodes and pods: a node joins, leaves or fails. For experiments and lessons.

Each function says what was done and then what the cluster says has become of it: nothing is taken for granted.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from aiotwin_nb.cluster.applying import delete
from aiotwin_nb.cluster.connection import Connection
from aiotwin_nb.cluster.labelling import MERGE_PATCH, apply_labels, plan_labels
from aiotwin_nb.cluster.labels import ID
from aiotwin_nb.cluster.manifests import NODE_LABEL, PART_OF, Names, dns_label
from aiotwin_nb.cluster.source import ClusterNode
from aiotwin_nb.cluster.watching import Object
from aiotwin_nb.continuum import Node
from aiotwin_nb.errors import InvalidInput, RunFailed, did_you_mean

Removal = Literal["cordon", "drain", "kill"]
PATIENCE = 60.0  # seconds until a pod has to be gone
_PAUSE = 0.1


@dataclass(frozen=True)
class Happened:
    """What the cluster says after something was done to it: `state` of the node or pod, after `seconds`."""

    what: str
    state: str
    seconds: float

    def __str__(self) -> str:
        return f"{self.what}. The cluster says after {self.seconds:.1f} s: {self.state}."


class Happenings:
    """What can be made happen on one cluster."""

    def __init__(
        self,
        connection: Connection,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._connection = connection
        self._clock = clock
        self._sleep = sleep

    def add(self, name: str, node: Node | None = None) -> Happened:
        """Let a cluster node take part: give it a node's labels (or leave those it has), and uncordon it.

        `name`: of the cluster node, or the id that it has in scenarios; here and in `remove`.
        """
        began = self._clock()
        item = self._node(name)
        cluster_node = item["metadata"]["name"]
        if node is not None:
            for change in plan_labels({cluster_node: item}, {cluster_node: node}):
                apply_labels(self._connection, change)
        self._cordon(cluster_node, False)
        return self._read_back(f"{cluster_node} joins", cluster_node, began)

    def remove(self, name: str, how: Removal = "cordon") -> Happened:
        """Take a cluster node out: cordon it, so that it counts as gone.

        `how`: drain to end our pods there in good order as well, kill to end them as a crash would.
        """
        began = self._clock()
        cluster_node = self._node(name)["metadata"]["name"]
        self._cordon(cluster_node, True)
        if how != "cordon":
            there = f"spec.nodeName={cluster_node}"
            pods = self._pods({"fieldSelector": there, "labelSelector": f"{PART_OF}=aiotwin"})
            for pod in pods:
                self._delete_pod(pod["metadata"]["name"], 0 if how == "kill" else None)
            self._wait_gone({pod["metadata"]["uid"] for pod in pods}, there)
        return self._read_back(f"{cluster_node} leaves", cluster_node, began)

    def fail(self, run_id: str, node: str) -> Happened:
        """Kill the pod of a run's node as a crash would, without a farewell; its Deployment starts another one."""
        began = self._clock()
        labels = {**Names(run_id, self._connection.namespace).labels(), NODE_LABEL: dns_label(node)}
        selector = ",".join(f"{key}={value}" for key, value in labels.items())
        pods = [pod for pod in self._pods({"labelSelector": selector}) if "deletionTimestamp" not in pod["metadata"]]
        if not pods:
            raise InvalidInput(f"there is no pod of {node} in run {run_id}, namespace {self._connection.namespace}")
        for pod in pods:
            self._delete_pod(pod["metadata"]["name"], 0)
        self._wait_gone({pod["metadata"]["uid"] for pod in pods})
        successors = self._pods({"labelSelector": selector})
        state = ", ".join(f"{pod['metadata']['name']} is {pod['status'].get('phase')}" for pod in successors)
        killed = ", ".join(pod["metadata"]["name"] for pod in pods)
        return Happened(f"{killed} was killed", state or "no other pod yet", self._clock() - began)

    def _read_back(self, what: str, cluster_node: str, began: float) -> Happened:
        with self._connection.asking(f"reading the node {cluster_node}"):
            item = self._connection.request("GET", f"/api/v1/nodes/{cluster_node}")
        state = ClusterNode.of(item).describe()
        return Happened(what, state, self._clock() - began)

    def _node(self, name: str) -> Object:
        """The cluster node with an id in scenarios, else with a name."""
        with self._connection.asking(f"looking for the node {name}"):
            items = self._connection.request("GET", "/api/v1/nodes")["items"]
        by_name = {item["metadata"]["name"]: item for item in items}
        by_id = {item["metadata"].get("labels", {}).get(ID): item for item in items}
        found = by_id.get(name) or by_name.get(name)
        if found is None:
            known = ", ".join(sorted(by_name)) or "none"
            raise InvalidInput(f"the cluster has no node {name!r}; it has {known}.{did_you_mean(name, by_name)}")
        return dict(found)

    def _cordon(self, name: str, cordoned: bool) -> None:
        body = {"spec": {"unschedulable": cordoned or None}}
        with self._connection.asking(f"{'' if cordoned else 'un'}cordoning the node {name}"):
            self._connection.request("PATCH", f"/api/v1/nodes/{name}", None, body, MERGE_PATCH)

    def _pods(self, selectors: dict[str, str]) -> list[dict[str, Any]]:
        with self._connection.asking("listing the pods"):
            path = f"/api/v1/namespaces/{self._connection.namespace}/pods"
            return list(self._connection.request("GET", path, selectors)["items"])

    def _delete_pod(self, name: str, grace_seconds: int | None) -> None:
        manifest = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}}
        delete(self._connection, manifest, grace_seconds=grace_seconds)

    def _wait_gone(self, uids: set[str], field_selector: str = "") -> None:
        selectors = {"fieldSelector": field_selector} if field_selector else {}
        until = self._clock() + PATIENCE
        while left := [pod for pod in self._pods(selectors) if pod["metadata"]["uid"] in uids]:
            if self._clock() > until:
                names = ", ".join(pod["metadata"]["name"] for pod in left)
                raise RunFailed(f"still there after {PATIENCE:g} s: {names}")
            self._sleep(_PAUSE)
