"""The runtime on a cluster: a pod per global aggregator, local aggregator and client.

What should exist follows from the configuration and is applied; readiness is watched, never waited for by the clock.
Moving a client is a message to its running pod. The orchestrator may be away: training goes on.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

from aiotwin_nb.cluster.applying import Applied, apply_one, apply_owned, delete
from aiotwin_nb.cluster.connection import DEFAULT_NAMESPACE, Connection
from aiotwin_nb.cluster.identities import Identities
from aiotwin_nb.cluster.manifests import (
    CERTIFICATES,
    PORT,
    READY_FILE,
    TASK_FILE,
    Images,
    Manifest,
    Names,
    Service,
    dns_label,
    objects_of,
    owner,
)
from aiotwin_nb.cluster.pods import PodWatch
from aiotwin_nb.cluster.portforward import PortForward
from aiotwin_nb.cluster.source import ClusterNode
from aiotwin_nb.continuum import Infrastructure
from aiotwin_nb.errors import InvalidInput
from aiotwin_nb.orchestration.ports import RoundResult
from aiotwin_nb.planning.configuration import Configuration
from aiotwin_nb.runtime.embedded import InProcessRuntime
from fl_service.certificates import EVALUATOR, ORCHESTRATOR, Credentials
from fl_service.events import LOST, MemberEvent
from fl_service.pipeline import Pipeline
from fl_service.remote import RemotePipeline
from fl_service.roles.config import RoleConfig, spec_for
from fl_service.spec import TrainingSpec
from fl_service.transport.link import Address

GA, LA, CLIENT = "global-aggregator", "local-aggregator", "client"
READY_PATIENCE = 180.0  # seconds for pods to get ready, images being pulled


@dataclass(frozen=True)
class Placement:
    """Which cluster node runs which service. A service's place never changes while it runs: that would be a new pod.

    `places`: {node: cluster node}. `others`: cluster nodes for nodes that are not named there (they join later);
    without any, the scheduler chooses.
    """

    places: Mapping[str, str] = field(default_factory=dict)
    others: tuple[str, ...] = ()

    @classmethod
    def dealt(cls, nodes: Sequence[str], cluster_nodes: Sequence[str]) -> Placement:
        """Simulated infrastructure: a scenario's nodes dealt out to the cluster's nodes in turn."""
        places = {node: cluster_nodes[i % len(cluster_nodes)] for i, node in enumerate(nodes)} if cluster_nodes else {}
        return cls(places, tuple(cluster_nodes))

    def of(self, node: str) -> str | None:
        """The cluster node for a node; None: the scheduler's choice."""
        if node in self.places or not self.others:
            return self.places.get(node)
        return self.others[int(hashlib.sha256(node.encode()).hexdigest(), 16) % len(self.others)]


class Deployment:
    """The objects of one run: what should exist, what exists."""

    def __init__(
        self,
        connection: Connection,
        run_id: str,
        folder: Path,
        spec: TrainingSpec,
        *,
        images: Images | None = None,
        placement: Placement | None = None,
        model_mb: float = 1.0,
    ) -> None:
        self.connection = connection
        self.names = Names(run_id, connection.namespace)
        self.spec = spec
        self._images = images or Images()
        self._placement = placement or Placement()
        self._model_mb = model_mb
        self._folder = folder
        self._owner = owner(self.names, {"run": run_id})
        self._services: dict[str, list[Manifest]] = {}
        file = spec.task.get("file")
        self._task = Path(file).read_text(encoding="utf-8") if file else None

    @cached_property
    def _identities(self) -> Identities:
        """Made when first needed: the run directory is not there before the run begins."""
        return Identities(self._folder, self.names.run_id)

    def orchestrator_credentials(self) -> Credentials:
        """The orchestrator's own certificate."""
        return self._identities.of(ORCHESTRATOR, "orchestrator")

    def apply(self, configuration: Configuration) -> list[Applied]:
        """Make sure that everything exists that a configuration needs."""
        anchor = apply_one(self.connection, self._owner)
        applied = [anchor]
        for node, role in roles(configuration):
            manifests = self._objects(node, role, configuration.global_aggregator)
            self._services[node] = manifests
            applied += apply_owned(self.connection, anchor, manifests)
        return applied

    def prune(self, configuration: Configuration) -> list[str]:
        """Delete what a configuration no longer needs; returns the nodes."""
        kept = {node for node, _ in roles(configuration)}
        gone = [node for node in self._services if node not in kept]
        for node in gone:
            for manifest in self._services.pop(node):
                delete(self.connection, manifest, grace_seconds=1)
        return gone

    def delete(self) -> bool:
        """Delete the owner and with it everything; returns whether it was there."""
        self._services.clear()
        return delete(self.connection, self._owner)

    def _objects(self, node: str, role: str, ga: str) -> list[Manifest]:
        parent = Address(ga, self.names.address(GA, ga))
        service = Service(
            node=node,
            role=role,
            config=self._config(node, role, None if role == GA else parent),
            credentials=self._identities.of(node, f"node-{dns_label(node)}"),
            evaluator=self._evaluator(ga) if role == GA else None,
            evaluator_credentials=self._identities.of(EVALUATOR, "evaluator") if role == GA else None,
            task=self._task if role in (GA, CLIENT) else None,
            place=self._placement.of(node),
            model_mb=self._model_mb,
        )
        return objects_of(service, self.names, self._images)

    def _config(self, node: str, role: str, parent: Address | None) -> str:
        """A client joins the global aggregator first and is told where it belongs: its pod outlives every move."""
        task_file = TASK_FILE if self._task is not None else None
        return RoleConfig(
            name=node,
            spec=spec_for(role, self.spec, task_file),
            certificates=Path(CERTIFICATES),
            listen=None if role == CLIENT else f"0.0.0.0:{PORT}",
            parent=parent,
            refuge=parent if role == CLIENT else None,
            ready_file=Path(READY_FILE),
        ).to_json()

    def _evaluator(self, ga: str) -> str:
        task_file = TASK_FILE if self._task is not None else None
        return RoleConfig(
            name=EVALUATOR,
            spec=spec_for("evaluator", self.spec, task_file),
            certificates=Path(f"{CERTIFICATES}-evaluator"),
            parent=Address(ga, f"127.0.0.1:{PORT}"),
            ready_file=Path(f"{READY_FILE}-evaluator"),
        ).to_json()


def roles(configuration: Configuration) -> list[tuple[str, str]]:
    """(node, role) of every service of a configuration, aggregators first."""
    ga = configuration.global_aggregator
    aggregators = [aggregator for aggregator, _ in configuration.clusters if aggregator != ga]
    return [(ga, GA), *((la, LA) for la in aggregators), *((client, CLIENT) for client in configuration.clients)]


@dataclass(frozen=True)
class ClusterOptions:
    """Which cluster a run is on, and how. None: the current context, its namespace.

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
        return Connection.open(self.kubeconfig, self.context, self.namespace)


def kubernetes_runtime(
    spec: TrainingSpec, nodes: Sequence[str], run: Path, options: ClusterOptions, on_lost: Callable[[str, str], None]
) -> KubernetesRuntime:
    """The runtime for a run directory; nothing is made on the cluster before `start`.

    `nodes`: every node that the scenario names, in its order. `on_lost`: called with a node and the reason when it is
    gone for good, from a thread.
    """
    connection = options.connect()
    with connection.asking("looking at the cluster's nodes"):
        listed = connection.request("GET", "/api/v1/nodes")["items"]
    usable = sorted(node.name for node in map(ClusterNode.of, listed) if node.usable)
    if not usable:
        raise InvalidInput(f"the cluster {connection.context.cluster} has no node that is ready and not cordoned")
    actual = options.infrastructure == "actual"
    placement = Placement({node: node for node in usable}) if actual else Placement.dealt(nodes, usable)
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
    return KubernetesRuntime(deployment, pipeline, options, on_lost)


class KubernetesRuntime(InProcessRuntime):
    """The pipeline as pods of a cluster; the same results as `embedded` for the same scenario and seed.

    `local`: a pipeline in this process that is asked about the model before there are pods.
    """

    name = "kubernetes"

    def __init__(
        self, deployment: Deployment, local: Pipeline, options: ClusterOptions, on_lost: Callable[[str, str], None]
    ) -> None:
        super().__init__(local)
        self._deployment = deployment
        self._options = options
        self._on_lost = on_lost
        self._pods: PodWatch | None = None
        self._forward: PortForward | None = None
        self._closed = threading.Event()

    def start(self, infrastructure: Infrastructure, configuration: Configuration) -> RoundResult:
        """Deploy, wait until every pod is ready, and evaluate the untrained model."""
        self._deploy(configuration)
        return super().start(infrastructure, configuration)

    def apply(self, infrastructure: Infrastructure, configuration: Configuration) -> None:
        """Make members and places those of the configuration; pods are made only for nodes that join."""
        self._deploy(configuration)
        super().apply(infrastructure, configuration)
        self._deployment.prune(configuration)  # after the moves: a client leaves a parent that still answers

    def restore(self, path: Path, infrastructure: Infrastructure, configuration: Configuration) -> None:
        """Continue from a checkpoint, with the pods that are there or new ones."""
        self._deploy(configuration)
        super().restore(path, infrastructure, configuration)
        self._deployment.prune(configuration)

    def close(self) -> None:
        """End the run's pods: delete the object that owns them; safe to call twice."""
        if self._closed.is_set():
            return
        self._closed.set()
        for part in (self._pipeline, self._forward, self._pods):
            if part is not None:
                part.close()
        if self._pods is not None:  # something was made
            self._deployment.delete()

    def _deploy(self, configuration: Configuration) -> None:
        deployment = self._deployment
        if self._pods is None:
            self._pods = PodWatch(deployment.connection, deployment.names.selector)
        applied = deployment.apply(configuration)
        new = {a.object["metadata"]["labels"].get("aiotwin.io/node", "") for a in applied if a.outcome == "created"}
        first = not isinstance(self._pipeline, RemotePipeline)
        wanted = [node for node, _ in roles(configuration) if first or dns_label(node) in new]
        self._pods.wait_ready(map(dns_label, wanted), READY_PATIENCE)
        if first:
            self._connect(configuration.global_aggregator)

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
        )

    def _heard(self, event: MemberEvent) -> None:
        if event.kind == LOST and not self._closed.is_set():
            self._on_lost(event.node, event.reason)
