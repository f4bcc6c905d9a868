"""The runtime on a cluster: a pod per global aggregator, local aggregator and client.

What should exist follows from the configuration and is applied; readiness is watched, never waited for by the clock.
Moving a client is a message to its running pod. The orchestrator may be away: training goes on.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

from aiotwin_nb.cluster.backoff import BackOff
from aiotwin_nb.cluster.connection import DEFAULT_NAMESPACE, ClusterUnreachable, Connection
from aiotwin_nb.cluster.deployment import GA, LA, Deployment, roles
from aiotwin_nb.cluster.machines import MachineWatch
from aiotwin_nb.cluster.manifests import PORT, Images, dns_label
from aiotwin_nb.cluster.placement import Placement
from aiotwin_nb.cluster.pods import PodsNotReady, PodWatch
from aiotwin_nb.cluster.portforward import PortForward
from aiotwin_nb.cluster.records import open_connection
from aiotwin_nb.continuum import Infrastructure
from aiotwin_nb.errors import AIoTwinError, InvalidInput, RunFailed
from aiotwin_nb.orchestration.ports import ClientResult, RoundResult
from aiotwin_nb.planning.configuration import Configuration
from aiotwin_nb.runtime.embedded import InProcessRuntime
from fl_service.errors import FLServiceError
from fl_service.events import BACK, JOINED, LATE, LOST, USAGE, Listener, MemberEvent
from fl_service.pipeline import Pipeline
from fl_service.remote import RemotePipeline
from fl_service.spec import TrainingSpec

log = logging.getLogger(__name__)

READY_PATIENCE = 180.0  # seconds for pods to get ready at the start, images being pulled
JOIN_PATIENCE = 60.0  # seconds for the pod of a node that joins; then the run goes on without it
API_PATIENCE = 180.0  # seconds that the API server, or the way to the global aggregator, may be away
USAGE_PATIENCE = 0.5  # seconds after a round for what the clients used to arrive
_T = TypeVar("_T")


@dataclass(frozen=True)
class ClusterOptions:
    """Which cluster a run is on, and how. None: the cluster attached to, else the current context; its namespace.

    `infrastructure`: ``simulated`` (the scenario's nodes, several on a cluster node) or ``actual`` (the cluster's own
    labelled nodes). `reach`: how the orchestrator reaches the global aggregator, ``port-forward`` or ``service`` (from
    inside the cluster).
    """

    kubeconfig: str | None = None
    context: str | None = None
    namespace: str | None = None
    infrastructure: Literal["simulated", "actual"] = "simulated"
    aggregator_image: str = Images.aggregator
    client_image: str = Images.client
    reach: Literal["port-forward", "service"] = "port-forward"

    def connect(self) -> Connection:
        """A connection to the cluster."""
        if self.reach == "service":
            return Connection.in_cluster(self.namespace or DEFAULT_NAMESPACE)
        return open_connection(self.kubeconfig, self.context, self.namespace)

    def resolved(self) -> ClusterOptions:
        """The same with the cluster named that `None` stands for now; nothing is asked of it."""
        connection = self.connect()
        if self.reach == "service":
            return replace(self, namespace=connection.namespace)
        place = connection.place
        return replace(self, kubeconfig=place.kubeconfig, context=place.context, namespace=place.namespace)


def kubernetes_runtime(
    spec: TrainingSpec,
    nodes: Sequence[str],
    run: Path,
    options: ClusterOptions,
    places: Callable[[], Mapping[str, str]] | None = None,
) -> KubernetesRuntime:
    """The runtime for a run directory; nothing is made on the cluster before `start`.

    `nodes`: every node that the scenario names, in its order. `places`: {node: cluster node} where each node is one of
    the cluster's own (`actual` infrastructure); otherwise nodes are dealt out to the cluster's nodes.
    """
    connection = options.connect()
    check_namespace(connection)
    machines = _machines(connection)
    if machines is None:
        placement = Placement()
    elif places is not None:
        placement = Placement(places, lambda: machines.usable, lambda: machines.alive, fixed=True)
    else:
        placement = Placement.dealt(nodes, lambda: machines.usable, lambda: machines.alive)
    pipeline = Pipeline(spec)
    deployment = Deployment(
        connection,
        run.resolve().name,
        run / "pki",
        spec,
        images=Images(options.aggregator_image, options.client_image),
        placement=placement,
        model_mb=pipeline.model_bytes / 1e6,
    )
    return KubernetesRuntime(deployment, pipeline, options, machines)


def check_namespace(connection: Connection) -> None:
    """Raise InvalidInput, with the command that mends it, when there is no such namespace."""
    from kubernetes.client import ApiException

    name = connection.namespace
    with connection.asking(f"looking for the namespace {name}"):
        try:
            connection.request("GET", f"/api/v1/namespaces/{name}")
        except ApiException as error:
            if error.status == 403:
                return  # rights in this namespace only; if it is not there, the first object is refused
            if error.status != 404:
                raise
            raise InvalidInput(
                f"the cluster {connection.context.cluster} has no namespace {name}: make it with: "
                f"kubectl --context {connection.context.name} create namespace {name}, or name another with --namespace"
            ) from None


def _machines(connection: Connection) -> MachineWatch | None:
    """The cluster's nodes, watched; None where this user may not look: then the scheduler places the pods."""
    from kubernetes.client import ApiException

    with connection.asking("looking at the cluster's nodes"):
        try:
            connection.request("GET", "/api/v1/nodes", {"limit": "1"})
        except ApiException as error:
            if error.status == 403:
                return None
            raise
    machines = MachineWatch(connection).start()
    if not machines.usable:
        machines.close()
        raise InvalidInput(f"the cluster {connection.context.cluster} has no node that is ready and not cordoned")
    return machines


class KubernetesRuntime(InProcessRuntime):
    """The pipeline as pods of a cluster; the same results as `embedded` for the same scenario and seed.

    `local`: a pipeline in this process that is asked about the model before there are pods. `on_event`: called with
    every `MemberEvent` but usage, from a thread; must be quick.
    """

    name = "kubernetes"

    def __init__(
        self,
        deployment: Deployment,
        local: Pipeline,
        options: ClusterOptions,
        machines: MachineWatch | None = None,
        on_event: Listener = lambda event: None,
    ) -> None:
        super().__init__(local)
        self.on_event = on_event
        self._deployment = deployment
        self._options = options
        self._machines = machines
        self._pods: PodWatch | None = None
        self._forward: PortForward | None = None
        self._lost: set[str] = set()
        self._usage: dict[int, dict[str, Mapping[str, Any]]] = {}
        self._used = threading.Condition()
        self._configuration: Configuration | None = None
        self._closed = threading.Event()
        if machines is not None:
            machines.on_gone = self._machine_gone

    # --- the runtime's promises ---------------------------------------------------------------------------------------

    def start(self, infrastructure: Infrastructure, configuration: Configuration) -> RoundResult:
        """Deploy, wait until every pod is ready, and evaluate the untrained model."""
        self._deploy(configuration)
        return super().start(infrastructure, configuration)

    def apply(self, infrastructure: Infrastructure, configuration: Configuration) -> None:
        """Make members and places those of the configuration; pods are made only for nodes that join."""
        self._deploy(configuration)
        super().apply(infrastructure, configuration)
        self._prune(configuration)  # after the moves: a client leaves a parent that still answers

    def restore(self, path: Path, infrastructure: Infrastructure, configuration: Configuration) -> None:
        """Continue from a checkpoint, with the pods that are there or new ones."""
        self._deploy(configuration)
        super().restore(path, infrastructure, configuration)
        self._prune(configuration)

    def run_round(self, number: int) -> RoundResult:
        """Run one global round and evaluate the new global model; with what each client used."""
        result = super().run_round(number)
        used = self._usage_of(number, {client.client for client in result.clients})
        return replace(result, clients=with_usage(result.clients, used))

    def close(self) -> None:
        """End the run's pods: delete the object that owns them; safe to call twice."""
        if self._closed.is_set():
            return
        self._closed.set()
        for part in (self._pipeline, self._forward, self._pods, self._machines):
            if part is not None:
                part.close()
        if self._pods is None:
            return  # nothing was made
        try:
            self._deployment.delete()
        except AIoTwinError as error:
            run = self._deployment.names.run_id
            log.warning("%s; delete what is left of the run with: aiotwin cluster clean %s", error, run)

    # --- deploying ----------------------------------------------------------------------------------------------------

    def _deploy(self, configuration: Configuration) -> None:
        first = self._pods is None
        with _failing_the_run():
            self._deploy_all(configuration, first)
        self._configuration = configuration
        if first:
            self._connect(configuration.global_aggregator)

    def _deploy_all(self, configuration: Configuration, first: bool) -> None:
        deployment = self._deployment
        applied = _patiently(lambda: deployment.apply(configuration))
        if self._pods is None:
            self._pods = PodWatch(deployment.connection, deployment.names.selector)
        self._free_stuck(configuration)
        new = {a.object["metadata"]["labels"].get("aiotwin.io/node", "") for a in applied if a.outcome == "created"}
        wanted = {dns_label(node): role for node, role in roles(configuration) if first or dns_label(node) in new}
        why = {label: (role, label) for label, role in wanted.items()}
        patience = READY_PATIENCE if first else JOIN_PATIENCE
        try:
            self._pods.wait_ready(wanted, patience, held_back=lambda label: deployment.why_no_pod(*why[label]))
        except PodsNotReady as error:
            if first:
                raise
            for label, reason in error.reasons.items():  # the run goes on; the global aggregator tells who is lost
                self._tell(MemberEvent(LATE, _named(configuration, label), time.time(), reason))

    def _free_stuck(self, configuration: Configuration) -> None:
        """Pods on a cluster node that is gone cannot end; those that have a new place must not wait for that."""
        if self._machines is None or self._pods is None:
            return
        alive = self._machines.alive
        for node, role in roles(configuration):
            if self._deployment.place_of(role, node) in alive:
                stuck = [pod for pod in self._pods.pods() if pod.place and pod.place not in alive]
                self._deployment.kill_pods(role, node, stuck)

    def _prune(self, configuration: Configuration) -> None:
        if self._pods is None:
            return
        pods, spared = self._pods.pods(), {dns_label(node) for node in self._lost}
        try:
            self._deployment.prune(configuration, pods, spared)
        except ClusterUnreachable as error:
            log.warning("%s: what is no longer needed is deleted after the next change", error)

    def _connect(self, global_aggregator: str) -> None:
        assert self._pods is not None
        pods, names = self._pods, self._deployment.names
        address = names.address(GA, global_aggregator)
        if self._options.reach == "port-forward":
            self._forward = PortForward(self._deployment.connection, lambda: pods.find(GA), PORT)
            address = self._forward.address
        self._pipeline = RemotePipeline(
            address,
            self._deployment.orchestrator_credentials(),
            self._deployment.spec,
            global_aggregator=global_aggregator,
            address_of=lambda node: names.address(GA if node == global_aggregator else LA, node),
            on_event=self._heard,
            reconnect_seconds=API_PATIENCE,
        )

    # --- news ---------------------------------------------------------------------------------------------------------

    def _heard(self, event: MemberEvent) -> None:
        if event.kind == USAGE:
            with self._used:
                self._usage.setdefault(int(event.detail["round"]), {})[event.node] = event.detail
                self._used.notify_all()
            return
        if event.kind == LOST:
            self._lost.add(event.node)
        elif event.kind in (BACK, JOINED):
            self._lost.discard(event.node)
        self._tell(event)

    def _tell(self, event: MemberEvent) -> None:
        if not self._closed.is_set():
            self.on_event(event)

    def _usage_of(self, number: int, clients: set[str]) -> Mapping[str, Mapping[str, Any]]:
        """What clients used in a round; who is not heard of in time is left out."""
        with self._used:
            self._used.wait_for(lambda: clients <= self._usage.get(number, {}).keys(), USAGE_PATIENCE)
            used = self._usage.get(number, {})
            self._usage = {later: each for later, each in self._usage.items() if later > number}
        return used

    def _machine_gone(self, machine: str, reason: str) -> None:
        """A cluster node is gone: what ran there is lost at once, and a global aggregator gets another place."""
        if self._configuration is not None and not self._closed.is_set():
            arguments = (self._configuration, machine, reason)
            threading.Thread(target=self._leave, args=arguments, name="machine-gone", daemon=True).start()

    def _leave(self, configuration: Configuration, machine: str, reason: str) -> None:
        there = [(n, r) for n, r in roles(configuration) if self._where(n, r) == machine]
        if any(role == GA for _, role in there):
            self._tell(MemberEvent(LATE, configuration.global_aggregator, time.time(), reason))
            self._move_global_aggregator(configuration)
        for node, role in there:
            if role != GA and isinstance(self._pipeline, RemotePipeline):
                try:
                    self._pipeline.tell_lost(node, reason)
                except FLServiceError as error:  # it finds out by itself
                    log.warning("%s", error)

    def _where(self, node: str, role: str) -> str | None:
        placed = self._deployment.place_of(role, node)
        if placed is not None or self._pods is None:
            return placed
        return next((p.place for p in self._pods.pods() if (p.role, p.node) == (role, dns_label(node))), None)

    def _move_global_aggregator(self, configuration: Configuration) -> None:
        """Only the global aggregator: the others are re-planned by those who pay for it."""
        alone = replace(configuration, clusters=())
        try:
            _patiently(lambda: self._deployment.apply(alone))
            self._free_stuck(alone)
        except AIoTwinError as error:
            log.warning("the global aggregator cannot be moved: %s", error)


def with_usage(clients: Sequence[ClientResult], used: Mapping[str, Mapping[str, Any]]) -> tuple[ClientResult, ...]:
    """Client results of a round with what each used in it, on its last local round."""
    last = {result.client: i for i, result in enumerate(clients)}
    return tuple(
        replace(result, cpu_seconds=used[result.client]["cpu_seconds"], peak_rss_mb=used[result.client]["peak_rss_mb"])
        if last[result.client] == i and result.client in used
        else result
        for i, result in enumerate(clients)
    )


def _named(configuration: Configuration, label: str) -> str:
    return next((node for node, _ in roles(configuration) if dns_label(node) == label), label)


def _patiently(request: Callable[[], _T]) -> _T:
    """Ask again for as long as the API server is away, up to `API_PATIENCE`."""
    back_off, until = BackOff(first=0.5, most=5.0), time.monotonic() + API_PATIENCE
    while True:
        try:
            return request()
        except ClusterUnreachable:
            if time.monotonic() > until:
                raise
            time.sleep(back_off.pause())


@contextmanager
def _failing_the_run() -> Iterator[None]:
    try:
        yield
    except RunFailed:
        raise
    except AIoTwinError as error:
        raise RunFailed(str(error)) from error
