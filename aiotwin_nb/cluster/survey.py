"""What a cluster is like, and what it lacks for a run, each lack with the command that gets it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from aiotwin_nb.cluster.connection import ClusterUnreachable, Connection
from aiotwin_nb.cluster.labels import DATA, ID, LINK, ROLE, SLOT, SLOTS
from aiotwin_nb.cluster.manifests import Images
from aiotwin_nb.cluster.permissions import Need, lacking
from aiotwin_nb.cluster.source import ClusterNode, nodes_of
from aiotwin_nb.cluster.usage import UNKNOWN, Usage, quantity, usage
from aiotwin_nb.cluster.watching import Object
from aiotwin_nb.errors import AIoTwinError
from aiotwin_nb.orchestration.ports import ClusterStatus

OLDEST = (1, 20)
ARCHITECTURES = ("amd64", "arm64")
FIRST_PATIENCE = (3.0, 5.0)  # seconds for the first answer: a person waits


def survey(connection: Connection, images: Images | None = None) -> ClusterStatus:
    """Ask a cluster how it is and what a run would miss; an API server that does not answer is an answer too."""
    name = connection.context.name
    try:
        with connection.asking("asking for the version"):
            version = connection.request("GET", "/version", tries=1, timeout=FIRST_PATIENCE)["gitVersion"]
        refused = lacking(connection)
    except ClusterUnreachable as error:
        return ClusterStatus(name, reachable=False, missing=(str(error),))
    except AIoTwinError as error:
        return ClusterStatus(name, reachable=False, missing=(f"{error}; are its credentials still good?",))
    may_list = not any(need.resource == "nodes" and "list" in verbs for need, verbs in refused if not need.optional)
    nodes = _list_nodes(connection) if may_list else {}
    used = usage(connection, nodes)
    missing = [
        *version_lacks(version),
        *_namespace_lacks(connection),
        *permission_lacks(refused, connection.namespace),
        *(node_lacks(nodes) if may_list else ()),
    ]
    notes = [*image_notes(nodes, images or Images()), *usage_notes(used), *nodes_of(nodes)[1].values()]
    rows = tuple(node_row(item, used.get(node, UNKNOWN)) for node, item in sorted(nodes.items()))
    return ClusterStatus(name, True, str(version), rows, tuple(missing), tuple(notes), connection.place)


def node_row(item: Object, used: Usage) -> dict[str, Any]:
    """One node for people (name, role, ready, cpu, memory, links, data) and in numbers (cores, bytes)."""
    node, status = ClusterNode.of(item), item.get("status", {})
    info, size = status.get("nodeInfo", {}), status.get("allocatable") or status.get("capacity") or {}
    cores, memory = quantity(size.get("cpu")), quantity(size.get("memory"))
    labels = node.labels
    return {
        "name": node.name,
        "id": labels.get(ID, node.name),
        "role": labels.get(ROLE),
        "ready": node.usable,
        "state": node.describe(),
        "cpu": _share(used.cores, cores, lambda value: f"{value:.2g}"),
        "memory": _share(used.memory, memory, lambda value: f"{value / 1e9:.1f}", " GB"),
        "links": {key.removeprefix(LINK): value for key, value in sorted(labels.items()) if key.startswith(LINK)},
        "data": _data(labels),
        "architecture": info.get("architecture", ""),
        "version": info.get("kubeletVersion", ""),
        "cores": cores,
        "cores_used": used.cores,
        "memory_bytes": None if memory is None else int(memory),
        "memory_bytes_used": used.memory,
        "usage_source": used.source or None,
    }


def version_lacks(version: str) -> list[str]:
    """A cluster that is too old."""
    found = re.match(r"v?(\d+)\.(\d+)", version)
    if found and tuple(map(int, found.groups())) < OLDEST:
        return [f"Kubernetes {OLDEST[0]}.{OLDEST[1]} or later; this is {version}: upgrade K3s, see docs.k3s.io"]
    return []


def permission_lacks(refused: Sequence[tuple[Need, tuple[str, ...]]], namespace: str) -> list[str]:
    """What the user may not do, in one sentence with the command by which an administrator allows it."""
    needed = [(need, verbs) for need, verbs in refused if not need.optional]
    if not needed:
        return []
    told = "; ".join(f"{', '.join(verbs)} {need.resource} ({need.why})" for need, verbs in needed)
    return [
        f"permissions in namespace {namespace}: {told}. An administrator grants them with "
        "`kubectl apply -k k3s/overlays/k3s` and a binding of the Role aiotwin-run to you"
    ]


def node_lacks(nodes: Mapping[str, Object]) -> list[str]:
    """No node on which something could run, or ones with processors that there is no image for."""
    states = {name: ClusterNode.of(item) for name, item in nodes.items()}
    if not any(node.usable for node in states.values()):
        told = ", ".join(f"{name} is {node.describe()}" for name, node in sorted(states.items())) or "there is none"
        return [f"a node that is Ready and not cordoned: {told}; look closer with `kubectl describe nodes`"]
    strange = sorted(name for name in nodes if _architecture(nodes[name]) not in (*ARCHITECTURES, ""))
    if strange:
        return [
            f"images for the processors of {', '.join(strange)}: PyTorch's CPU builds are for amd64 and arm64; "
            f"keep runs away from these nodes with `kubectl cordon {strange[0]}`"
        ]
    return []


def image_notes(nodes: Mapping[str, Object], images: Images) -> list[str]:
    """Nodes that do not name our images among those they have; nodes tell at most some fifty of theirs."""
    notes = []
    usable = {name: item for name, item in nodes.items() if ClusterNode.of(item).usable}
    for target, reference in (("aggregator", images.aggregator), ("client", images.client)):
        without = sorted(name for name, item in usable.items() if not has_image(item, reference))
        if without:
            platforms = ",".join(
                sorted({f"linux/{_architecture(usable[n])}" for n in without if _architecture(usable[n])})
            )
            notes.append(
                f"image {reference} is not known to be on {', '.join(without)}; build it with "
                f"`docker build --platform {platforms or 'linux/amd64'} --target {target} -t {reference} fl_service` "
                "and bring it there (k3d: `k3d image import`, K3s: `k3s ctr images import`)"
            )
    return notes


def has_image(item: Object, reference: str) -> bool:
    """Whether a Node object names an image among those it has."""
    names = {name for image in item.get("status", {}).get("images") or [] for name in image.get("names") or []}
    return any(name == reference or name.endswith(f"/{reference}") for name in names)


def usage_notes(used: Mapping[str, Usage]) -> list[str]:
    """Where CPU and memory in use come from, if not from the metrics API."""
    if not used or any(each.source == "metrics API" for each in used.values()):
        return []
    instead = "told by the kubelets" if any(each.source for each in used.values()) else "unknown"
    return [f"there is no metrics API, so CPU and memory in use are {instead}; K3s has it unless it was disabled"]


def _namespace_lacks(connection: Connection) -> list[str]:
    from kubernetes.client import ApiException

    try:
        with connection.asking("asking for the namespace"):
            try:
                connection.request("GET", f"/api/v1/namespaces/{connection.namespace}", tries=1)
            except ApiException as error:
                if error.status == 404:
                    return [
                        f"the namespace {connection.namespace}: `kubectl apply -k k3s/overlays/k3s` (or "
                        f"`kubectl create namespace {connection.namespace}`), or choose another with --namespace"
                    ]
                if error.status != 403:  # who may not look may still be allowed to work in it
                    raise
    except AIoTwinError as error:
        return [str(error)]
    return []


def _list_nodes(connection: Connection) -> dict[str, Object]:
    with connection.asking("listing the nodes"):
        return {item["metadata"]["name"]: item for item in connection.request("GET", "/api/v1/nodes")["items"]}


def _architecture(item: Object) -> str:
    return str(item.get("status", {}).get("nodeInfo", {}).get("architecture", ""))


def _share(used: float | None, of: float | None, words: Callable[[float], str], unit: str = "") -> str | None:
    if of is None:
        return None
    return f"{words(of)}{unit}" if used is None else f"{words(used)} of {words(of)}{unit}"


def _data(labels: Mapping[str, str]) -> str:
    if SLOT in labels:
        return f"part {labels[SLOT]} of {labels.get(SLOTS, '?')}"
    counts = _sorted_numbers((key.removeprefix(DATA), value) for key, value in labels.items() if key.startswith(DATA))
    return ", ".join(f"{label}: {count}" for label, count in counts)


def _sorted_numbers(pairs: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    return sorted(pairs, key=lambda pair: (len(pair[0]), pair[0]))
