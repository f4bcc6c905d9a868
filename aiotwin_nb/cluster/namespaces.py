"""The namespace of runs: it lets in only pods that keep to the Pod Security profile "restricted"."""

from __future__ import annotations

from aiotwin_nb.cluster.applying import Applied, apply_one
from aiotwin_nb.cluster.connection import Connection
from aiotwin_nb.cluster.manifests import PART_OF, Manifest

RESTRICTED = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "audit", "warn")}


def namespace(name: str) -> Manifest:
    """The namespace as it should be; the same labels as in k3s/base."""
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": name, "labels": {PART_OF: "aiotwin", **RESTRICTED}},
    }


def prepare_namespace(connection: Connection) -> Applied:
    """Make the connection's namespace, or give it the labels."""
    return apply_one(connection, namespace(connection.namespace))
