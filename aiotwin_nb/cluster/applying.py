"""Server-side apply: say what should be there, once or many times; the same twice changes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from aiotwin_nb.cluster.connection import Connection

Manifest = Mapping[str, Any]
MANAGER = "aiotwin"
# Where objects of a kind live. Only kinds and versions that Kubernetes 1.20 and current K3s both serve.
_PATHS = {
    ("v1", "Namespace"): "/api/v1/namespaces",
    ("v1", "ConfigMap"): "/api/v1/namespaces/{namespace}/configmaps",
    ("v1", "Secret"): "/api/v1/namespaces/{namespace}/secrets",
    ("v1", "Service"): "/api/v1/namespaces/{namespace}/services",
    ("v1", "ServiceAccount"): "/api/v1/namespaces/{namespace}/serviceaccounts",
    ("v1", "ResourceQuota"): "/api/v1/namespaces/{namespace}/resourcequotas",
    ("v1", "LimitRange"): "/api/v1/namespaces/{namespace}/limitranges",
    ("v1", "Pod"): "/api/v1/namespaces/{namespace}/pods",
    ("v1", "Node"): "/api/v1/nodes",
    ("apps/v1", "Deployment"): "/apis/apps/v1/namespaces/{namespace}/deployments",
    ("apps/v1", "DaemonSet"): "/apis/apps/v1/namespaces/{namespace}/daemonsets",
    ("rbac.authorization.k8s.io/v1", "Role"): "/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/roles",
    ("rbac.authorization.k8s.io/v1", "RoleBinding"): (
        "/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/rolebindings"
    ),
    ("rbac.authorization.k8s.io/v1", "ClusterRole"): "/apis/rbac.authorization.k8s.io/v1/clusterroles",
    ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding"): "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
    ("networking.k8s.io/v1", "NetworkPolicy"): "/apis/networking.k8s.io/v1/namespaces/{namespace}/networkpolicies",
}


@dataclass(frozen=True)
class Applied:
    """One object that was applied: its kind and name, what happened (created, changed, unchanged), and itself."""

    kind: str
    name: str
    outcome: str
    object: Mapping[str, Any]


def apply_owned(connection: Connection, owner: Applied, manifests: Iterable[Manifest]) -> list[Applied]:
    """Apply objects in order, owned by one that was applied before; raises AIoTwinError naming what is refused.

    Where the owner is new, objects of the same names belong to one that is gone: the cluster is about to delete them,
    so they are deleted first and made anew.
    """
    owned = [owned_by(owner.object, manifest) for manifest in manifests]
    if owner.outcome == "created":
        for manifest in owned:
            delete(connection, manifest)
    return [apply_one(connection, manifest) for manifest in owned]


def apply_one(connection: Connection, manifest: Manifest, *, dry_run: bool = False) -> Applied:
    """Make one object be what the manifest says; fields that others own are left alone.

    A Secret is made once and stays as it is: so it is never read, and no right to read secrets is needed.
    """
    kind, name = manifest["kind"], manifest["metadata"]["name"]
    query = {"fieldManager": MANAGER, **({"dryRun": "All"} if dry_run else {})}
    if kind == "Secret":
        with connection.asking(f"making {kind} {name}"):
            made = _post(connection, manifest, query)
        return Applied(kind, name, "unchanged" if made is None else "created", manifest)
    path = f"{_collection(connection, manifest)}/{name}"
    before = read(connection, manifest)
    with connection.asking(f"applying {kind} {name}"):
        after = connection.request("PATCH", path, {**query, "force": "true"}, manifest, "application/apply-patch+yaml")
    if before is None:
        return Applied(kind, name, "created", after)
    return Applied(kind, name, "unchanged" if _version(before) == _version(after) else "changed", after)


def _post(connection: Connection, manifest: Manifest, query: Mapping[str, str]) -> Mapping[str, Any] | None:
    """Create an object; None when there is one of that name."""
    from kubernetes.client import ApiException

    try:
        return connection.request("POST", _collection(connection, manifest), query, manifest)
    except ApiException as error:
        if error.status == 409:
            return None
        raise


def read(connection: Connection, manifest: Manifest) -> dict[str, Any] | None:
    """The object of a manifest's kind and name as the cluster has it; None when there is none."""
    from kubernetes.client import ApiException

    kind, name = manifest["kind"], manifest["metadata"]["name"]
    with connection.asking(f"reading {kind} {name}"):
        try:
            return connection.request("GET", f"{_collection(connection, manifest)}/{name}")
        except ApiException as error:
            if error.status == 404:
                return None
            raise


def delete(connection: Connection, manifest: Manifest, *, grace_seconds: int | None = None) -> bool:
    """Delete the object and, in the background, what it owns; returns whether it was there."""
    from kubernetes.client import ApiException

    kind, name = manifest["kind"], manifest["metadata"]["name"]
    options: dict[str, Any] = {"propagationPolicy": "Background"}
    if grace_seconds is not None:
        options["gracePeriodSeconds"] = grace_seconds
    with connection.asking(f"deleting {kind} {name}"):
        try:
            connection.request("DELETE", f"{_collection(connection, manifest)}/{name}", None, options)
        except ApiException as error:
            if error.status == 404:
                return False
            raise
    return True


def owned_by(owner: Mapping[str, Any], manifest: Manifest) -> dict[str, Any]:
    """The manifest with an owner: deleting the owner (an applied object) deletes this object too."""
    reference = {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
    }
    return {**manifest, "metadata": {**manifest["metadata"], "ownerReferences": [reference]}}


def _version(found: Mapping[str, Any]) -> Any:
    """What changes when somebody wants something else of an object; not when its status does."""
    meta = found["metadata"]
    if "generation" not in meta:
        return meta.get("resourceVersion")
    return meta["generation"], meta.get("labels"), meta.get("annotations"), meta.get("ownerReferences")


def _collection(connection: Connection, manifest: Manifest) -> str:
    path = _PATHS[manifest["apiVersion"], manifest["kind"]]
    return path.format(namespace=manifest["metadata"].get("namespace", connection.namespace))
