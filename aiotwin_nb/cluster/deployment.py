"""The objects of one run on a cluster: what should exist is applied, what is no longer needed is deleted."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any

from aiotwin_nb.cluster.applying import Applied, apply_one, apply_owned, delete, read
from aiotwin_nb.cluster.connection import Connection
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
from aiotwin_nb.cluster.placement import Placement
from aiotwin_nb.cluster.pods import PodState, pods_of
from aiotwin_nb.planning.configuration import Configuration
from fl_service.certificates import EVALUATOR, ORCHESTRATOR, Credentials
from fl_service.roles.config import RoleConfig, spec_for
from fl_service.spec import TrainingSpec
from fl_service.transport.link import Address

GA, LA, CLIENT = "global-aggregator", "local-aggregator", "client"
_KINDS = {"Deployment": "apps/v1", "Service": "v1", "ConfigMap": "v1", "Secret": "v1"}


def roles(configuration: Configuration) -> list[tuple[str, str]]:
    """(node, role) of every service of a configuration, aggregators first."""
    ga = configuration.global_aggregator
    aggregators = [aggregator for aggregator, _ in configuration.clusters if aggregator != ga]
    return [(ga, GA), *((la, LA) for la in aggregators), *((client, CLIENT) for client in configuration.clients)]


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
        self._applied: dict[str, list[Manifest]] = {}  # {name of a service's objects: as they were applied}
        self._places: dict[str, str | None] | None = None
        self._lock = Lock()
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
        """Make sure that everything exists that a configuration needs.

        What this process has applied before, and would apply the same again, is not asked about: a change that only
        moves clients needs no API server.
        """
        with self._lock:
            return self._apply(configuration)

    def _apply(self, configuration: Configuration) -> list[Applied]:
        if self._places is None:
            self._places = self._present_places()
        wanted = {
            self.names.of(role, node): self._objects(node, role, configuration.global_aggregator)
            for node, role in roles(configuration)
        }
        news = {name: manifests for name, manifests in wanted.items() if self._applied.get(name) != manifests}
        if not news:
            return []
        applied = [anchor := apply_one(self.connection, self._owner)]
        for name, manifests in news.items():
            applied += apply_owned(self.connection, anchor, manifests)
            self._applied[name] = manifests
        return applied

    def prune(self, configuration: Configuration, pods: Sequence[PodState], spared: Collection[str] = ()) -> list[str]:
        """Delete services that a configuration no longer needs, whoever made them; returns their nodes' labels.

        `pods`: those of the run. `spared`: nodes (as labels name them) that were lost and may come back.
        """
        kept = {self.names.of(role, node) for node, role in roles(configuration)}
        present = {self.names.of(pod.role, pod.node): pod.node for pod in pods if pod.role and not pod.leaving}
        present |= {
            name: manifests[0]["metadata"]["labels"]["aiotwin.io/node"] for name, manifests in self._applied.items()
        }
        gone = {name: node for name, node in present.items() if name not in kept and node not in spared}
        for name in gone:
            for kind in _KINDS:
                delete(self.connection, self._named(kind, name), grace_seconds=1)
            self._applied.pop(name, None)
            (self._places or {}).pop(name, None)
        return list(gone.values())

    def place_of(self, role: str, node: str) -> str | None:
        """The cluster node that a service was given; None where the scheduler chose."""
        return (self._places or {}).get(self.names.of(role, node))

    def kill_pods(self, role: str, node: str, pods: Sequence[PodState]) -> None:
        """Delete a service's pods without waiting for a cluster node that cannot confirm it."""
        for pod in pods:
            if (pod.role, pod.node) == (role, dns_label(node)):
                delete(self.connection, self._named("Pod", pod.name), grace_seconds=0)

    def why_no_pod(self, role: str, node: str) -> str:
        """Why a Deployment cannot make its pod (a quota, a policy), or an empty text."""
        found = read(self.connection, self._named("Deployment", self.names.of(role, node))) or {}
        conditions = found.get("status", {}).get("conditions") or []
        return next((c.get("message", "") for c in conditions if c["type"] == "ReplicaFailure"), "")

    def delete(self) -> bool:
        """Delete the owner and with it everything; returns whether it was there."""
        self._applied.clear()
        return delete(self.connection, self._owner)

    def _present_places(self) -> dict[str, str | None]:
        """Where the services of an earlier process of this run are."""
        pods = pods_of(self.connection, self.names.run_id)
        return {self.names.of(pod.role, pod.node): pod.place or None for pod in pods}

    def _named(self, kind: str, name: str) -> Mapping[str, Any]:
        metadata = {"name": name, "namespace": self.names.namespace}
        return {"apiVersion": _KINDS.get(kind, "v1"), "kind": kind, "metadata": metadata}

    def _objects(self, node: str, role: str, ga: str) -> list[Manifest]:
        assert self._places is not None
        name = self.names.of(role, node)
        self._places[name] = self._placement.of(node, self._places.get(name))
        parent = Address(ga, self.names.address(GA, ga))
        service = Service(
            node=node,
            role=role,
            config=self._config(node, role, None if role == GA else parent),
            credentials=self._identities.of(node, f"node-{dns_label(node)}"),
            evaluator=self._evaluator(ga) if role == GA else None,
            evaluator_credentials=self._identities.of(EVALUATOR, "evaluator") if role == GA else None,
            task=self._task if role in (GA, CLIENT) else None,
            place=self._places[name],
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
