"""Nothing of a run is left on the cluster: its owner is deleted, and with it, by the cluster, all that it owns."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from aiotwin_nb.cluster.applying import delete
from aiotwin_nb.cluster.connection import Connection
from aiotwin_nb.cluster.manifests import Names, owner
from aiotwin_nb.errors import RunFailed

# What is counted, and what is deleted one by one if the owner was gone before it took them along.
KINDS = {
    "Deployment": ("apps/v1", "/apis/apps/v1/namespaces/{}/deployments"),
    "Service": ("v1", "/api/v1/namespaces/{}/services"),
    "ConfigMap": ("v1", "/api/v1/namespaces/{}/configmaps"),
    "Secret": ("v1", "/api/v1/namespaces/{}/secrets"),
    "ReplicaSet": ("apps/v1", "/apis/apps/v1/namespaces/{}/replicasets"),
    "Pod": ("v1", "/api/v1/namespaces/{}/pods"),
}
BY_HAND = ("Deployment", "Service", "ConfigMap", "Secret")
PATIENCE = 120.0  # seconds; pods take their time to end
_PAUSE = 0.2


def leftovers(connection: Connection, run_id: str) -> dict[str, list[str]]:
    """{kind: names} of all objects of a run that are there; kinds that may not be listed are left out."""
    names = Names(run_id, connection.namespace)
    found = {kind: _list(connection, path, names.selector) for kind, (_, path) in KINDS.items()}
    return {kind: listed for kind, listed in found.items() if listed}


def clean(
    connection: Connection,
    run_id: str,
    *,
    patience: float = PATIENCE,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> dict[str, list[str]]:
    """Delete everything of a run and wait until it is gone; returns {kind: names} of what was there.

    Raises RunFailed naming what is still there when patience ends.
    """
    names, before = Names(run_id, connection.namespace), leftovers(connection, run_id)
    was_there = delete(connection, owner(names, {}))
    if not was_there:
        _delete_by_hand(connection, names, before)
    until = clock() + patience
    while left := leftovers(connection, run_id):
        if clock() > until:
            told = "; ".join(f"{kind} {', '.join(listed)}" for kind, listed in left.items())
            raise RunFailed(f"still there after {patience:g} s: {told}; pods of a lost node stay until it is deleted")
        sleep(_PAUSE)
    return before


def _delete_by_hand(connection: Connection, names: Names, found: dict[str, list[str]]) -> None:
    for kind in BY_HAND:
        for name in found.get(kind, ()):
            metadata: dict[str, Any] = {"name": name, "namespace": names.namespace}
            delete(connection, {"apiVersion": KINDS[kind][0], "kind": kind, "metadata": metadata})


def _list(connection: Connection, path: str, selector: str) -> list[str]:
    """Names by label; none where this user may not look, as with Secrets: they go with their owner all the same."""
    from kubernetes.client import ApiException

    with connection.asking("looking what is left of the run"):
        try:
            answer = connection.request("GET", path.format(connection.namespace), {"labelSelector": selector})
        except ApiException as error:
            if error.status == 403:
                return []
            raise
    return sorted(item["metadata"]["name"] for item in answer["items"])
