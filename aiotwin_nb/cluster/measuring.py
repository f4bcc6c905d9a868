"""Link costs measured: pods send some MB to each other, and the nodes are told what that came to.

cost per MB = S / r, with r the measured MB per second (median of the repeats; 1 MB is 10^6 bytes) and S the cost of a
second (`second`, by default 1000: a link of 10 MB/s costs 100 per MB). Measured are the links that a plan can use: from
local aggregators to the global one, from clients to all aggregators. One pod sends at a time, so that links do not
disturb each other; what else is under way on the cluster does.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from statistics import median
from typing import Any

from aiotwin_nb.cluster import link_probe
from aiotwin_nb.cluster.applying import delete
from aiotwin_nb.cluster.connection import Connection
from aiotwin_nb.cluster.labelling import Labelling, plan_labels
from aiotwin_nb.cluster.labels import ID, MEASURED
from aiotwin_nb.cluster.manifests import CONTAINER_SECURITY, POD_SECURITY, Names, dns_label
from aiotwin_nb.cluster.source import nodes_of
from aiotwin_nb.cluster.watching import Object
from aiotwin_nb.continuum import Node, Role, exact
from aiotwin_nb.errors import InvalidInput, RunFailed
from aiotwin_nb.orchestration.journal import utc_now

PORT = 9100
PATIENCE = 120.0  # seconds for a pod to be there, its image being pulled, or to have sent everything
RESULT = "/dev/termination-log"  # what a container leaves behind for its pod's status
_PAUSE = 0.2


@dataclass(frozen=True)
class Link:
    """A measured link: `rate` in MB per second, `cost` per MB."""

    node: str
    peer: str
    rate: float
    cost: Decimal


def links_to_measure(nodes: Mapping[str, Node]) -> dict[str, list[str]]:
    """{node: the aggregators that it could send to}."""
    roots = [node.id for node in nodes.values() if node.role is Role.GLOBAL_AGGREGATOR]
    local = [node.id for node in nodes.values() if node.role is Role.LOCAL_AGGREGATOR]
    wanted = {Role.GLOBAL_AGGREGATOR: [], Role.LOCAL_AGGREGATOR: roots, Role.CLIENT: roots + local}
    return {node.id: wanted[node.role] for node in nodes.values() if wanted[node.role]}


def cost_of(rate: float, second: Decimal) -> Decimal:
    """Cost per MB of a link of some MB per second, to four digits."""
    return exact(float(f"{float(second) / rate:.4g}"))


def participants(cluster: Mapping[str, Object]) -> tuple[dict[str, Node], dict[str, str]]:
    """The nodes that take part and {node: cluster node}; raises InvalidInput when there is nothing to measure."""
    nodes, wrong = nodes_of(cluster)
    if wrong:
        raise InvalidInput("; ".join(wrong.values()))
    if not links_to_measure(nodes):
        raise InvalidInput(
            "no two nodes of the cluster say that they take part, one of them as an aggregator: label them first, "
            "e.g. kubectl label node NAME fl/type=client, or with aiotwin cluster label SCENARIO"
        )
    ids = {(item["metadata"].get("labels") or {}).get(ID, name): name for name, item in cluster.items()}
    return nodes, {node: ids[node] for node in nodes}


def measure(
    connection: Connection,
    nodes: Mapping[str, Node],
    places: Mapping[str, str],
    *,
    image: str,
    megabytes: float = 16.0,
    repeats: int = 3,
    second: Decimal = Decimal(1000),
    tell: Callable[[str], None] = lambda text: None,
) -> list[Link]:
    """Measure every link that a plan can use; the pods that do it are gone afterwards.

    `nodes`, `places`: as `participants` finds them. Raises RunFailed saying which pod did not get there, and why.
    """
    pods = _Pods(connection, image)
    wanted = links_to_measure(nodes)
    found: list[Link] = []
    try:
        receivers = list(dict.fromkeys(peer for peers in wanted.values() for peer in peers))
        for peer in receivers:
            pods.start("to", peer, places[peer], ["serve", str(PORT)])
        addresses = {peer: pods.wait_address("to", peer) for peer in receivers}
        for node, peers in wanted.items():
            tell(f"{node} sends to {', '.join(peers)}")
            targets = [f"{peer}={addresses[peer]}:{PORT}" for peer in peers]
            pods.start("from", node, places[node], ["send", str(megabytes), str(repeats), RESULT, *targets])
            for peer, seconds in pods.wait_result("from", node).items():
                rate = megabytes / median(seconds)
                found.append(Link(node, peer, float(f"{rate:.4g}"), cost_of(rate, second)))
            pods.end("from", node)
    finally:
        pods.end_all()
    return found


def plan_measured(
    cluster: Mapping[str, Object], nodes: Mapping[str, Node], places: Mapping[str, str], links: Sequence[Link], how: str
) -> list[Labelling]:
    """What to write to the cluster's nodes: costs as labels, rates and how they were measured as annotations."""
    changes = []
    for node_id in dict.fromkeys(link.node for link in links):
        own = {link.peer: link for link in links if link.node == node_id}
        node = replace(
            nodes[node_id],
            links={**nodes[node_id].links, **{peer: link.cost for peer, link in own.items()}},
            rates={**nodes[node_id].rates, **{peer: exact(link.rate) for peer, link in own.items()}},
        )
        place = places[node_id]
        labelled = plan_labels(cluster, {place: node})
        change = labelled[0] if labelled else Labelling(place, {}, {})
        changes.append(replace(change, annotations={**change.annotations, MEASURED: f"{utc_now()}: {how}"}))
    return changes


class _Pods:
    """The pods of a measurement, by what they do and for which node."""

    def __init__(self, connection: Connection, image: str) -> None:
        self._connection = connection
        self._image = image
        self._names = Names("measure", connection.namespace)
        self._started: set[str] = set()

    def start(self, what: str, node: str, place: str, arguments: Sequence[str]) -> None:
        """Start a pod on a cluster node; one that an earlier measurement left is ended first."""
        self.end(what, node)
        pod = self._pod(what, node, place, arguments)
        with self._connection.asking(f"starting the pod {pod['metadata']['name']}"):
            self._connection.request("POST", self._path, None, pod)
        self._started.add(pod["metadata"]["name"])

    def wait_address(self, what: str, node: str) -> str:
        """A pod's address, once it is running."""
        pod = self._wait(what, node, lambda status: status.get("phase") == "Running" and status.get("podIP"))
        address = str(pod["podIP"])
        return f"[{address}]" if ":" in address else address

    def wait_result(self, what: str, node: str) -> dict[str, list[float]]:
        """What a pod found out, once it has ended."""
        status = self._wait(what, node, lambda status: status.get("phase") in ("Succeeded", "Failed"))
        ended = status["containerStatuses"][0]["state"]["terminated"]
        if ended["exitCode"]:
            last = str(ended.get("message") or ended.get("reason")).strip().splitlines()[-1]
            raise RunFailed(f"the pod {self._name(what, node)} on {node} failed: {last}")
        return dict(json.loads(ended["message"]))

    def end(self, what: str, node: str) -> None:
        """End a pod and wait until it is gone."""
        self._end(self._name(what, node))

    def end_all(self) -> None:
        """End all of them."""
        for name in sorted(self._started):
            delete(self._connection, self._named(name), grace_seconds=0)
        for name in sorted(self._started):
            self._end(name)

    def _end(self, name: str) -> None:
        until = time.monotonic() + PATIENCE
        while delete(self._connection, self._named(name), grace_seconds=0):
            if time.monotonic() > until:
                raise RunFailed(f"the pod {name} does not end; see: kubectl describe pod {name}")
            time.sleep(_PAUSE)
        self._started.discard(name)

    def _wait(self, what: str, node: str, enough: Callable[[Mapping[str, Any]], Any]) -> Mapping[str, Any]:
        name, until = self._name(what, node), time.monotonic() + PATIENCE
        while True:
            with self._connection.asking(f"looking at the pod {name}"):
                status: dict[str, Any] = self._connection.request("GET", f"{self._path}/{name}")["status"]
            if enough(status):
                return status
            if time.monotonic() > until or (status.get("phase") == "Failed"):
                raise RunFailed(f"the pod {name} for {node} did not get there in {PATIENCE:g} s: {_trouble(status)}")
            time.sleep(_PAUSE)

    def _name(self, what: str, node: str) -> str:
        return f"{self._names.owner}-{what}-{dns_label(node)}"

    @property
    def _path(self) -> str:
        return f"/api/v1/namespaces/{self._connection.namespace}/pods"

    def _named(self, name: str) -> dict[str, Any]:
        metadata = {"name": name, "namespace": self._connection.namespace}
        return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata}

    def _pod(self, what: str, node: str, place: str, arguments: Sequence[str]) -> dict[str, Any]:
        """A pod under the Pod Security profile "restricted" that needs no more than Python."""
        metadata = {
            "name": self._name(what, node),
            "namespace": self._connection.namespace,
            "labels": self._names.labels(f"measure-{what}", node),
        }
        spec = {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": 0,
            "nodeSelector": {"kubernetes.io/hostname": place},
            "securityContext": POD_SECURITY,
            "containers": [
                {
                    "name": "probe",
                    "image": self._image,
                    "imagePullPolicy": "IfNotPresent",
                    "command": ["python3", "-c", Path(link_probe.__file__).read_text(encoding="utf-8"), *arguments],
                    "terminationMessagePath": RESULT,
                    "terminationMessagePolicy": "FallbackToLogsOnError",
                    "securityContext": CONTAINER_SECURITY,
                    "resources": {"requests": {"cpu": "50m", "memory": "32Mi"}, "limits": {"memory": "128Mi"}},
                }
            ],
        }
        return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def _trouble(status: Mapping[str, Any]) -> str:
    """Why a pod does not run, as far as its status says."""
    waiting = [c.get("state", {}).get("waiting", {}) for c in status.get("containerStatuses") or []]
    reasons = [f"{w['reason']} {w.get('message', '')}".strip() for w in waiting if w.get("reason")]
    reasons += [str(c["message"]) for c in status.get("conditions") or [] if c.get("message")]
    return "; ".join(reasons) or f"it is {status.get('phase', 'unknown')}"
