"""A scenario's nodes written to a cluster's nodes: roles, links, data as labels, the rest as an annotation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from aiotwin_nb.cluster.connection import Connection
from aiotwin_nb.cluster.labels import ID, annotations_of, is_ours, labels_of
from aiotwin_nb.cluster.watching import Object
from aiotwin_nb.continuum import Node, natural_sorted
from aiotwin_nb.errors import InvalidInput, did_you_mean

MERGE_PATCH = "application/merge-patch+json"


@dataclass(frozen=True)
class Labelling:
    """What is to change at one cluster node; a value of None removes the key."""

    cluster_node: str
    labels: Mapping[str, str | None]
    annotations: Mapping[str, str | None]

    def __bool__(self) -> bool:
        return bool(self.labels or self.annotations)


def match(nodes: Iterable[Node], cluster_nodes: Iterable[str], pairs: Mapping[str, str]) -> dict[str, Node]:
    """{cluster node: scenario node}: as `pairs` {scenario node: cluster node} say, else by the same name.

    Raises InvalidInput for names that do not exist, for two nodes on one, and for nodes without a cluster node.
    """
    by_id, known = {node.id: node for node in nodes}, natural_sorted(cluster_nodes)
    for asked, cluster_node in pairs.items():
        if asked not in by_id:
            hint = did_you_mean(asked, by_id)
            raise InvalidInput(f"--map {asked}={cluster_node}: the scenario has no node {asked!r}.{hint}")
        if cluster_node not in known:
            raise InvalidInput(
                f"--map {asked}={cluster_node}: the cluster has no node {cluster_node!r}; it has {', '.join(known)}."
                + did_you_mean(cluster_node, known)
            )
    found: dict[str, Node] = {}
    homeless = []
    for node in by_id.values():
        place = pairs.get(node.id, node.id)
        if place in found:
            raise InvalidInput(f"cluster node {place} cannot be both {found[place].id} and {node.id}; give one a --map")
        if place in known:
            found[place] = node
        else:
            homeless.append(node.id)
    if homeless:
        raise InvalidInput(
            f"the cluster has no node {', '.join(homeless)}; it has {', '.join(known) or 'none'}. Say which is which "
            f"with --map {homeless[0]}=CLUSTER_NODE, or leave them out with --partial. A cluster with fewer nodes than "
            "the scenario needs no labels: there the scenario's nodes are simulated, several on a cluster node"
        )
    return found


def plan_labels(cluster: Mapping[str, Object], wanted: Mapping[str, Node], *, clear: bool = False) -> list[Labelling]:
    """What has to change so that the wanted cluster nodes carry exactly their node's labels; nothing where all is well.

    `clear`: nodes that are not wanted lose theirs.
    """
    changes = []
    for name in natural_sorted(cluster if clear else wanted):
        meta, node = cluster[name]["metadata"], wanted.get(name)
        labels = {} if node is None else labels_of(node) | ({} if node.id == name else {ID: node.id})
        annotations = {} if node is None else annotations_of(node)
        changes.append(
            Labelling(name, _changed(meta.get("labels"), labels), _changed(meta.get("annotations"), annotations))
        )
    return [change for change in changes if change]


def apply_labels(connection: Connection, change: Labelling) -> Object:
    """Write labels and annotations; returns the Node object as it is then."""
    body = {"metadata": {"labels": dict(change.labels), "annotations": dict(change.annotations)}}
    with connection.asking(f"labelling the node {change.cluster_node}"):
        return connection.request("PATCH", f"/api/v1/nodes/{change.cluster_node}", None, body, MERGE_PATCH)


def _changed(found: Mapping[str, Any] | None, wanted: Mapping[str, str]) -> dict[str, str | None]:
    """The keys to set, and with None those of ours that are to go."""
    found = found or {}
    gone = {key: None for key in found if is_ours(key) and key not in wanted}
    return {**gone, **{key: value for key, value in wanted.items() if found.get(key) != value}}
