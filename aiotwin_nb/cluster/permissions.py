"""What a run may do on a cluster: exactly what it needs, the same as the Role and ClusterRole in k3s/base."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from aiotwin_nb.cluster.connection import Connection


@dataclass(frozen=True)
class Need:
    """Verbs on a resource, such as pods/portforward. `why`: what they are for; `namespaced`: in the run's namespace."""

    group: str
    resource: str
    verbs: tuple[str, ...]
    why: str
    namespaced: bool = True
    optional: bool = False


# Secrets are made and deleted, never read: also not their own, as the right to read cannot be limited to those.
NEEDS = (
    Need("", "configmaps", ("get", "create", "patch", "delete"), "configurations of the FL services"),
    Need("", "secrets", ("create", "delete"), "certificates of the FL services"),
    Need("", "services", ("get", "create", "patch", "delete"), "addresses of the aggregators"),
    Need("apps", "deployments", ("get", "create", "patch", "delete"), "the FL services themselves"),
    Need("", "pods", ("list", "watch", "delete"), "which of them are ready; killing one as an experiment"),
    Need("", "pods/portforward", ("get", "create"), "talking to the global aggregator"),
    Need("", "nodes", ("list", "watch"), "which nodes there are", namespaced=False),
    Need("metrics.k8s.io", "nodes", ("get", "list"), "CPU and memory in use", namespaced=False, optional=True),
)


def lacking(connection: Connection, needs: Iterable[Need] = NEEDS) -> list[tuple[Need, tuple[str, ...]]]:
    """The needs whose verbs the connection's user does not have, each with these verbs; asks the API server."""
    asked = [(need, verb) for need in needs for verb in need.verbs]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda each: may(connection, *each), asked))
    refused: dict[Need, tuple[str, ...]] = {}
    for (need, verb), allowed in zip(asked, answers, strict=True):
        if not allowed:
            refused[need] = (*refused.get(need, ()), verb)
    return list(refused.items())


def may(connection: Connection, need: Need, verb: str) -> bool:
    """Ask the API server whether the connection's user may do this."""
    resource, _, part = need.resource.partition("/")
    attributes = {"verb": verb, "group": need.group, "resource": resource, "subresource": part}
    if need.namespaced:
        attributes["namespace"] = connection.namespace
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes},
    }
    with connection.asking("asking for permissions"):
        answer = connection.request("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", None, review)
    return bool(answer.get("status", {}).get("allowed"))
