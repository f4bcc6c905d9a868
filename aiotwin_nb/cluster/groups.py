"""A cluster for many: a namespace, rights, limits and a kubeconfig file for each group of a workshop.

What a group gets are the manifests of `k3s/base`, with the limits of `k3s/overlays/workshop`, so that this command and
kustomize make the same. A kubeconfig holds a token of the group's own account that expires: it is written for its owner
alone and never printed.
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from aiotwin_nb.cluster.applying import Manifest, apply_one, delete
from aiotwin_nb.cluster.connection import Connection
from aiotwin_nb.errors import AIoTwinError, InvalidInput
from aiotwin_nb.orchestration.files import replace_durably
from aiotwin_nb.scenario import shipped

PREFIX, ACCOUNT, NODES = "aiotwin-group", "aiotwin-orchestrator", "aiotwin-nodes"
MOST_GROUPS = 100
LEAST_HOURS, MOST_HOURS = 1, 24 * 7
_BASE = ("namespace.yaml", "account.yaml", "quota.yaml", "network-policy.yaml")
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,48}[a-z0-9])?")


@dataclass(frozen=True)
class Group:
    """What one group was given. `changed`: objects made or changed now; `expires`: UTC, as the API server said."""

    namespace: str
    kubeconfig: Path
    changed: int
    expires: str


def group_names(count: int, prefix: str = PREFIX) -> list[str]:
    """The groups' namespaces, `aiotwin-group-1` …; raises InvalidInput for a count or a prefix that cannot be."""
    if not 1 <= count <= MOST_GROUPS:
        raise InvalidInput(f"{count} groups: must be 1 to {MOST_GROUPS}")
    if not _NAME.fullmatch(prefix):
        raise InvalidInput(
            f"--prefix {prefix!r}: becomes part of names in Kubernetes: small letters, digits and dashes, at most 50"
        )
    return [f"{prefix}-{number}" for number in range(1, count + 1)]


def manifests_of(namespace: str) -> list[Manifest]:
    """Everything in a group's namespace, the namespace first, and what lets its account list the cluster's nodes."""
    folder = shipped("k3s")
    inside = [item for name in _BASE for item in yaml.safe_load_all((folder / "base" / name).read_text("utf-8"))]
    (role,) = yaml.safe_load_all((folder / "nodes" / "cluster-role.yaml").read_text("utf-8"))
    limits = _workshop_limits(folder)
    made = [_placed(item, namespace) for item in inside]
    for item in made:
        if item["kind"] == "ResourceQuota":
            item["spec"]["hard"] |= limits
    return [*made, role, _nodes_binding(namespace)]


def _placed(item: dict[str, Any], namespace: str) -> dict[str, Any]:
    """An object of k3s/base in a group's namespace."""
    if item["kind"] == "Namespace":
        return {**item, "metadata": {**item["metadata"], "name": namespace}}
    placed = {**item, "metadata": {**item["metadata"], "namespace": namespace}}
    if "subjects" in placed:
        placed["subjects"] = [{**subject, "namespace": namespace} for subject in placed["subjects"]]
    return placed


def _workshop_limits(folder: Path) -> dict[str, str]:
    """The quota that the workshop's overlay puts in place of k3s/base's: {resource: most}."""
    overlay = yaml.safe_load((folder / "overlays" / "workshop" / "kustomization.yaml").read_text("utf-8"))
    (patch,) = (each["patch"] for each in overlay["patches"] if each["target"]["kind"] == "ResourceQuota")
    return {step["path"].removeprefix("/spec/hard/"): step["value"] for step in yaml.safe_load(patch)}


def _nodes_binding(namespace: str) -> dict[str, Any]:
    """A binding for each group, so that groups can be added and removed one by one."""
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": f"{NODES}-{namespace}", "labels": {"app.kubernetes.io/part-of": "aiotwin"}},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": NODES},
        "subjects": [{"kind": "ServiceAccount", "name": ACCOUNT, "namespace": namespace}],
    }


def make_groups(connection: Connection, names: Sequence[str], folder: Path, hours: int = 8) -> Iterator[Group]:
    """Give every group its namespace and a new kubeconfig file; done again it changes nothing but the tokens.

    `hours`: how long a token is asked for; a cluster may give less. Raises InvalidInput before anything is made for
    hours out of range and for files that are no such kubeconfigs, AIoTwinError for what the cluster refuses.
    """
    if not LEAST_HOURS <= hours <= MOST_HOURS:
        raise InvalidInput(f"--hours {hours}: must be {LEAST_HOURS} to {MOST_HOURS}")
    files = {name: folder / f"{name}.kubeconfig" for name in names}
    for name, file in files.items():
        _check_free(file, name)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInput(f"{folder}: cannot be made: {error.strerror}; choose another folder with --out") from None
    for name, file in files.items():
        applied = [apply_one(connection, manifest) for manifest in manifests_of(name)]
        token, expires = _token(connection, name, hours)
        _write_private(file, yaml.safe_dump(_kubeconfig(connection, name, token), sort_keys=False))
        yield Group(name, file, sum(each.outcome != "unchanged" for each in applied), expires)


def remove_groups(connection: Connection, names: Sequence[str]) -> list[str]:
    """Delete the groups' namespaces with all that is in them; returns those that were there. Files stay."""
    found = []
    for name in names:
        (namespace, *_) = manifests_of(name)
        delete(connection, _nodes_binding(name))
        if delete(connection, namespace):
            found.append(name)
    return found


def _token(connection: Connection, namespace: str, hours: int) -> tuple[str, str]:
    """A token of the group's account, and when it expires."""
    request = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {"audiences": [], "expirationSeconds": hours * 3600},
    }
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{ACCOUNT}/token"
    with connection.asking(f"making a token for {namespace}"):
        status = connection.request("POST", path, None, request)["status"]
    return str(status["token"]), str(status["expirationTimestamp"])


def _kubeconfig(connection: Connection, namespace: str, token: str) -> dict[str, Any]:
    """A kubeconfig for the cluster of a connection, with another user and namespace."""
    configuration = connection.api.configuration
    cluster: dict[str, Any] = {"server": configuration.host}
    if not configuration.verify_ssl:
        cluster["insecure-skip-tls-verify"] = True
    elif configuration.ssl_ca_cert:
        authority = Path(configuration.ssl_ca_cert).read_bytes()
        cluster["certificate-authority-data"] = base64.b64encode(authority).decode()
    name = connection.context.cluster
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": cluster}],
        "users": [{"name": namespace, "user": {"token": token}}],
        "contexts": [{"name": namespace, "context": {"cluster": name, "user": namespace, "namespace": namespace}}],
        "current-context": namespace,
    }


def _check_free(file: Path, namespace: str) -> None:
    """Refuse to write over what was not written for this group."""
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return
    except (OSError, UnicodeDecodeError):
        text = ""
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError:  # its message would quote the file
        document = None
    if not isinstance(document, dict) or document.get("current-context") != namespace:
        raise InvalidInput(f"{file}: is there and is no kubeconfig of {namespace}; remove it or choose another --out")


def _write_private(file: Path, text: str) -> None:
    """Write a file that only its owner may read from the very first byte."""
    temporary = file.with_name(f".{file.name}.tmp")
    try:
        temporary.unlink(missing_ok=True)
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as out:
            out.write(text)
        replace_durably(temporary, file)
    except OSError as error:
        raise AIoTwinError(f"{file}: cannot be written: {error.strerror}") from None
