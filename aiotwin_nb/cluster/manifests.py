"""What a run is on a cluster: the objects that should exist for a configuration. Pure: nothing is asked or changed.

A run has one owner (a ConfigMap); deleting it deletes everything. Each FL service has a Deployment of one pod, a
ConfigMap (its configuration, and the user's task.py where it may run) and a Secret (its certificate); aggregators have
a Service. Configuration changes that only move clients change no object: they are messages to running pods.

Pods keep to the Pod Security profile "restricted". Only API versions that Kubernetes 1.20 and current K3s both serve.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fl_service.certificates import ORCHESTRATOR, Credentials

Manifest = dict[str, Any]

PORT = 9000
LOOPBACK_PORT = 9001
CONFIG, CERTIFICATES, SCRATCH = "/etc/fl-service", "/etc/fl-service-tls", "/tmp"
CONFIG_FILE, TASK_FILE, READY_FILE = "config.json", "task.py", f"{SCRATCH}/ready"
USER = 10001
# What the Pod Security profile "restricted" asks of a pod and of each of its containers, and a read-only root besides.
POD_SECURITY: Manifest = {
    "runAsNonRoot": True,
    "runAsUser": USER,
    "runAsGroup": USER,
    "fsGroup": USER,
    "seccompProfile": {"type": "RuntimeDefault"},
}
CONTAINER_SECURITY: Manifest = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "runAsNonRoot": True,
    "capabilities": {"drop": ["ALL"]},
}
RUN_LABEL, ROLE_LABEL, NODE_LABEL = "aiotwin.io/run", "aiotwin.io/role", "aiotwin.io/node"
PART_OF = "app.kubernetes.io/part-of"
READY_SECONDS, ALIVE_SECONDS = 10, 60  # a ready file older than this: not ready; dead, start again


@dataclass(frozen=True)
class Images:
    """The two images: `aggregator` has no torch; `client` has it, and is the evaluator's too."""

    aggregator: str = "aiotwin/fl-aggregator:0.1"
    client: str = "aiotwin/fl-client:0.1"
    pull_policy: str = "IfNotPresent"


@dataclass(frozen=True)
class Service:
    """One FL service to be run: a node of the scenario in its role.

    `role`: global-aggregator, local-aggregator or client. `config`: its configuration (fl_service's JSON), `evaluator`:
    that of the evaluator beside a global aggregator. `task`: the user's task.py, for clients and evaluator only.
    `place`: the cluster node that it is pinned to; None leaves it to the scheduler. `model_mb`: for memory limits.
    """

    node: str
    role: str
    config: str
    credentials: Credentials
    evaluator: str | None = None
    evaluator_credentials: Credentials | None = None
    task: str | None = None
    place: str | None = None
    model_mb: float = 1.0


@dataclass(frozen=True)
class Names:
    """Names of a run's objects: short, valid for DNS, the same for the same run and node."""

    run_id: str
    namespace: str
    key: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", hashlib.sha256(self.run_id.encode()).hexdigest()[:8])

    @property
    def owner(self) -> str:
        """The ConfigMap that owns everything."""
        return f"fl-{self.key}"

    def of(self, role: str, node: str) -> str:
        """The name of a service's objects: fl-<run>-la-n2."""
        return f"fl-{self.key}-{_SHORT[role]}-{dns_label(node)}"

    def address(self, role: str, node: str) -> str:
        """Where pods reach an aggregator: HOST:PORT."""
        return f"{self.of(role, node)}.{self.namespace}.svc:{PORT}"

    def labels(self, role: str | None = None, node: str | None = None) -> dict[str, str]:
        """Labels of the run's objects; with role and node, those of one service."""
        labels = {PART_OF: "aiotwin", RUN_LABEL: self.key}
        return labels | ({ROLE_LABEL: role, NODE_LABEL: dns_label(node)} if role and node else {})

    @property
    def selector(self) -> str:
        """Label selector for all of the run's objects."""
        return f"{RUN_LABEL}={self.key}"


_SHORT = {"global-aggregator": "ga", "local-aggregator": "la", "client": "cl"}


def dns_label(name: str) -> str:
    """A name as DNS allows it (at most 40 characters); names that differ stay different."""
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    if plain == name and len(name) <= 40:
        return name
    return f"{plain[:31].strip('-') or 'n'}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def owner(names: Names, facts: Mapping[str, str]) -> Manifest:
    """The ConfigMap that owns a run's objects; `facts`: what people may want to know of the run."""
    return _object("v1", "ConfigMap", names, names.owner, names.labels(), data=dict(facts))


def objects_of(service: Service, names: Names, images: Images) -> list[Manifest]:
    """The objects of one FL service, without their owner reference."""
    name, labels = names.of(service.role, service.node), names.labels(service.role, service.node)
    made = [
        _object("v1", "ConfigMap", names, name, labels, data=_configuration(service)),
        _object("v1", "Secret", names, name, labels, type="Opaque", data=_encoded(_secrets(service))),
    ]
    if service.role != "client":
        ports = [{"name": "fl", "port": PORT, "targetPort": "fl", "protocol": "TCP"}]
        # A pod is ready once it has joined its parent, which must be reachable before that: certificates say who it is.
        spec = {"type": "ClusterIP", "selector": labels, "ports": ports, "publishNotReadyAddresses": True}
        made.append(_object("v1", "Service", names, name, labels, spec=spec))
    return [*made, _deployment(service, names, images)]


def orchestrator_secret(names: Names, credentials: Credentials) -> Manifest:
    """The orchestrator's own certificate, for one that runs in the cluster."""
    name = f"{names.owner}-{ORCHESTRATOR.strip('@')}"
    return _object("v1", "Secret", names, name, names.labels(), type="Opaque", data=_encoded(credentials.files()))


def _configuration(service: Service) -> dict[str, str]:
    data = {CONFIG_FILE: service.config}
    if service.evaluator is not None:
        data["evaluator.json"] = service.evaluator
    if service.task is not None:
        data[TASK_FILE] = service.task
    return data


def _secrets(service: Service) -> dict[str, bytes]:
    secrets = service.credentials.files()
    if service.evaluator_credentials is not None:
        secrets |= {f"evaluator-{name}": content for name, content in service.evaluator_credentials.files().items()}
    return secrets


def _encoded(files: Mapping[str, bytes]) -> dict[str, str]:
    return {name: base64.b64encode(content).decode() for name, content in files.items()}


def _deployment(service: Service, names: Names, images: Images) -> Manifest:
    labels = names.labels(service.role, service.node)
    pod: dict[str, Any] = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 3,
        "securityContext": POD_SECURITY,
        "containers": _containers(service, images),
        "volumes": _volumes(service, names.of(service.role, service.node)),
        "tolerations": [_tolerate(taint) for taint in ("not-ready", "unreachable")],
    }
    if service.place is not None:
        pod["nodeSelector"] = {"kubernetes.io/hostname": service.place}
    template = {"metadata": {"labels": labels, "annotations": {"aiotwin.io/config": _digest(service)}}, "spec": pod}
    spec = {
        "replicas": 1,
        "strategy": {"type": "Recreate"},  # two pods with one node's name would fight for its place
        "revisionHistoryLimit": 0,
        "selector": {"matchLabels": labels},
        "template": template,
    }
    return _object("apps/v1", "Deployment", names, names.of(service.role, service.node), labels, spec=spec)


def _digest(service: Service) -> str:
    """A new pod is needed when what a pod reads at its start changes, and only then."""
    return hashlib.sha256(json.dumps(_configuration(service), sort_keys=True).encode()).hexdigest()[:16]


def _tolerate(taint: str) -> dict[str, Any]:
    """A pod leaves a node that is gone after seconds, not after the default five minutes."""
    return {
        "key": f"node.kubernetes.io/{taint}",
        "operator": "Exists",
        "effect": "NoExecute",
        "tolerationSeconds": 20,
    }


def _containers(service: Service, images: Images) -> list[dict[str, Any]]:
    image = images.client if service.role == "client" else images.aggregator
    memory = _memory(service.role, service.model_mb)
    containers = [_container("fl", service.role, image, images, f"{CONFIG}/{CONFIG_FILE}", CERTIFICATES, memory)]
    if service.role != "client":
        containers[0]["ports"] = [{"name": "fl", "containerPort": PORT, "protocol": "TCP"}]
    if service.evaluator is not None:
        config, certificates = f"{CONFIG}/evaluator.json", f"{CERTIFICATES}-evaluator"
        memory = _memory("evaluator", service.model_mb)
        containers.append(_container("evaluator", "evaluator", images.client, images, config, certificates, memory))
    return containers


def _memory(role: str, model_mb: float) -> tuple[int, int]:
    """MiB asked for and allowed: what a process was measured to need, and room for copies of the model."""
    asked, models = (72, 8) if role.endswith("aggregator") else (320, 6)
    return int(asked + model_mb), int(2 * asked + models * model_mb + 256)


def _container(
    name: str, role: str, image: str, images: Images, config: str, certificates: str, memory: tuple[int, int]
) -> dict[str, Any]:
    suffix = "-evaluator" if name == "evaluator" else ""
    return {
        "name": name,
        "image": image,
        "imagePullPolicy": images.pull_policy,
        "command": ["python3", "-m", "fl_service", role, "--config", config],
        "env": [
            {"name": "FLWR_TELEMETRY_ENABLED", "value": "0"},
            {"name": "FLWR_DISABLE_UPDATE_CHECK", "value": "1"},
            {"name": "OMP_NUM_THREADS", "value": "1"},
            {"name": "HOME", "value": SCRATCH},
            {"name": "PYTHONDONTWRITEBYTECODE", "value": "1"},
        ],
        "securityContext": CONTAINER_SECURITY,
        "resources": {
            "requests": {"cpu": "50m" if role.endswith("aggregator") else "100m", "memory": f"{memory[0]}Mi"},
            "limits": {"memory": f"{memory[1]}Mi"},
        },
        "readinessProbe": _probe(f"{READY_FILE}{suffix}", READY_SECONDS, period=2, failures=3),
        "livenessProbe": _probe(f"{READY_FILE}{suffix}", ALIVE_SECONDS, period=20, failures=3, delay=120),
        "volumeMounts": [
            {"name": "config", "mountPath": CONFIG, "readOnly": True},
            {"name": f"certificates{suffix}", "mountPath": certificates, "readOnly": True},
            {"name": "scratch", "mountPath": SCRATCH},
        ],
    }


def _probe(file: str, seconds: int, *, period: int, failures: int, delay: int = 0) -> dict[str, Any]:
    """The ready file is touched with every heartbeat of the process."""
    age = f"$(( $(date +%s) - $(stat -c %Y {file}) ))"
    return {
        "exec": {"command": ["sh", "-c", f"test {age} -lt {seconds}"]},
        "initialDelaySeconds": delay,
        "periodSeconds": period,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    }


def _volumes(service: Service, name: str) -> list[dict[str, Any]]:
    volumes: list[dict[str, Any]] = [
        {"name": "config", "configMap": {"name": name}},
        {"name": "certificates", "secret": {"secretName": name, "defaultMode": 0o440, "items": _items("")}},
        {"name": "scratch", "emptyDir": {}},
    ]
    if service.evaluator is not None:
        secret = {"secretName": name, "defaultMode": 0o440, "items": _items("evaluator-")}
        volumes.append({"name": "certificates-evaluator", "secret": secret})
    return volumes


def _items(prefix: str) -> list[dict[str, str]]:
    return [{"key": f"{prefix}{name}", "path": name} for name in ("ca.crt", "tls.crt", "tls.key")]


def _object(api: str, kind: str, names: Names, name: str, labels: Mapping[str, str], **fields: Any) -> Manifest:
    metadata = {"name": name, "namespace": names.namespace, "labels": dict(labels)}
    return {"apiVersion": api, "kind": kind, "metadata": metadata, **fields}
