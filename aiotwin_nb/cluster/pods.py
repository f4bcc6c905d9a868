"""The pods of a run: which are ready, and why one is not getting there."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from aiotwin_nb.cluster.connection import Connection
from aiotwin_nb.cluster.manifests import NODE_LABEL, ROLE_LABEL, Names
from aiotwin_nb.cluster.watching import Object, ObjectWatch
from aiotwin_nb.continuum import natural_key
from aiotwin_nb.errors import RunFailed

# Reasons of a waiting container that do not mend themselves within a start's patience.
HOPELESS = ("ErrImageNeverPull", "InvalidImageName", "CreateContainerConfigError", "CreateContainerError")
LIST_SECONDS = 30.0
TROUBLE_SECONDS = 30.0  # of the same trouble before it is taken for lasting
_ORDER = {"global-aggregator": 0, "local-aggregator": 1, "client": 2}
PODLESS_SECONDS = 5.0  # without a pod before it is asked what holds it back
SUSPICIOUS = ("ImagePullBackOff", "ErrImagePull", "CrashLoopBackOff", "RunContainerError")


class PodsNotReady(RunFailed):
    """Pods did not get ready; `reasons`: {node, as labels name it: why}."""

    def __init__(self, message: str, reasons: Mapping[str, str]) -> None:
        super().__init__(message)
        self.reasons = dict(reasons)


@dataclass(frozen=True)
class PodState:
    """A pod as the API server tells of it. `trouble`: why it does not get ready, as far as is known."""

    name: str
    role: str
    node: str
    phase: str
    ready: bool
    leaving: bool
    place: str = ""
    trouble: str = ""
    hopeless: bool = False
    restarts: int = 0

    @classmethod
    def of(cls, item: Object) -> PodState:
        """Read a Pod object."""
        meta, status, spec = item["metadata"], item.get("status", {}), item.get("spec", {})
        labels, conditions = meta.get("labels", {}), status.get("conditions") or []
        statuses = status.get("containerStatuses") or []
        reasons = [_waiting(s) for s in statuses if _waiting(s)[0]]
        unscheduled = [c for c in conditions if c["type"] == "PodScheduled" and c["status"] == "False"]
        trouble = "; ".join(f"{reason}: {message}".strip(": ") for reason, message in reasons)
        if unscheduled:
            trouble = f"no cluster node takes it: {unscheduled[0].get('message', '')}"
        return cls(
            name=meta["name"],
            role=labels.get(ROLE_LABEL, ""),
            node=labels.get(NODE_LABEL, ""),
            phase=status.get("phase", ""),
            ready=any(c["type"] == "Ready" and c["status"] == "True" for c in conditions),
            leaving="deletionTimestamp" in meta,
            place=spec.get("nodeName", ""),
            trouble=trouble,
            hopeless=any(reason in HOPELESS for reason, _ in reasons),
            restarts=sum(int(s.get("restartCount", 0)) for s in statuses),
        )


def _waiting(status: Mapping[str, Object]) -> tuple[str, str]:
    waiting = status.get("state", {}).get("waiting") or {}
    reason = str(waiting.get("reason", ""))
    return (reason, str(waiting.get("message", ""))) if reason in (*HOPELESS, *SUSPICIOUS) else ("", "")


def pods_of(connection: Connection, run_id: str) -> list[PodState]:
    """A run's pods as they are now, those that are going away left out; global aggregator first, then by node."""
    path = f"/api/v1/namespaces/{connection.namespace}/pods"
    with connection.asking("listing the run's pods"):
        selector = {"labelSelector": Names(run_id, connection.namespace).selector}
        items = connection.request("GET", path, selector)["items"]
    pods = [PodState.of(item) for item in items]
    kept = [pod for pod in pods if pod.role and not pod.leaving]
    return sorted(kept, key=lambda pod: (_ORDER.get(pod.role, 0), natural_key(pod.node)))


class PodWatch:
    """The pods of a run, always up to date, by list and watch; made, it waits for the first list."""

    def __init__(self, connection: Connection, selector: str) -> None:
        self._changed = threading.Condition()
        self._listed = False
        self._pods: dict[str, PodState] = {}
        path = f"/api/v1/namespaces/{connection.namespace}/pods"
        self._watch = ObjectWatch(connection, path, self._take, selectors={"labelSelector": selector}).start()
        with self._changed:
            self._changed.wait_for(lambda: self._listed, LIST_SECONDS)

    def pods(self) -> list[PodState]:
        """All pods, those that are going away too."""
        with self._changed:
            return list(self._pods.values())

    def find(self, role: str) -> str:
        """The name of a running pod in a role, or an empty text."""
        found = [pod for pod in self.pods() if pod.role == role and not pod.leaving and pod.phase == "Running"]
        return next((pod.name for pod in sorted(found, key=lambda pod: not pod.ready)), "")

    def wait_ready(
        self,
        nodes: Iterable[str],
        seconds: float,
        *,
        held_back: Callable[[str], str] = lambda node: "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Wait until the services of these nodes (as labels name them) are ready.

        `held_back`: why a node has no pod, asked after some seconds without one. Raises PodsNotReady naming those that
        are not in time, with the reason; at once where there is no hope.
        """
        wanted, began = set(nodes), clock()
        podless_patience = PODLESS_SECONDS
        since: dict[str, float] = {}  # {node whose pod has a trouble: seconds waited when it was first seen}
        while True:
            with self._changed:
                present = [pod for pod in self._pods.values() if not pod.leaving]
                missing = wanted - {pod.node for pod in present if pod.ready}
                if not missing:
                    return
                waited = clock() - began
                podless = missing - {pod.node for pod in present}
                troubled = {pod.node: pod for pod in present if pod.node in missing and pod.trouble}
                since = {node: since.get(node, waited) for node in troubled}
                lasting = any(waited - first >= TROUBLE_SECONDS for first in since.values())
                hopeless = lasting or any(pod.hopeless for pod in troubled.values())
                if not hopeless and waited < min(seconds, podless_patience if podless else seconds):
                    self._changed.wait(0.5)
                    continue
            held = {node: why for node in sorted(podless) if (why := held_back(node))}
            if hopeless or held or waited >= seconds:
                raise _not_ready(sorted(missing), present, held, waited, self._watch.problem)
            podless_patience = waited + PODLESS_SECONDS

    def close(self) -> None:
        """End the watch; safe to call twice."""
        self._watch.close()

    def _take(self, objects: Mapping[str, Object]) -> None:
        with self._changed:
            self._pods = {name: PodState.of(item) for name, item in objects.items()}
            self._listed = True
            self._changed.notify_all()


def _not_ready(
    missing: list[str], present: list[PodState], held: Mapping[str, str], seconds: float, problem: str
) -> PodsNotReady:
    reasons = {}
    for node in missing:
        pods = [pod for pod in present if pod.node == node]
        if pods:
            reasons[node] = f"{pods[0].name} is {pods[0].phase}: {pods[0].trouble or 'not ready yet'}"
        else:
            reasons[node] = f"no pod can be made: {held[node]}" if node in held else "it has no pod yet"
    told = "; ".join(f"{node}: {reason}" for node, reason in reasons.items())
    api = f"; the API server: {problem}" if problem else ""
    return PodsNotReady(f"the pods of the run are not ready after {seconds:.0f} s: {told}{api}", reasons)
