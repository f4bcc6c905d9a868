"""What must hold of an infrastructure before anything is planned on it; every violation is reported, not the first."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from aiotwin_nb.continuum.model import Infrastructure, Node, Role
from aiotwin_nb.errors import did_you_mean


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with an infrastructure.

    `node`: id of the node concerned, None when the infrastructure as a whole is. `field`: dotted path inside the node,
    e.g. ``links.n3``. `value`: what stands there now, as text. `message`: what is wrong and what is allowed.
    """

    node: str | None
    field: str
    value: str
    message: str


def check_infrastructure(infrastructure: Infrastructure, known_later: Collection[str] = ()) -> list[Problem]:
    """Return everything that is wrong with an infrastructure; an empty list when it can be planned on.

    `known_later`: ids of nodes that join in a later event; a link to one of them is allowed already, but does not give
    a client its parent of today.
    """
    return [
        *_role_problems(infrastructure),
        *(p for node in infrastructure.nodes.values() for p in _link_problems(node, infrastructure, known_later)),
        *_unreachable(infrastructure),
        *(p for node in infrastructure.nodes.values() for p in _data_problems(node)),
    ]


def _role_problems(infrastructure: Infrastructure) -> Iterator[Problem]:
    ga_role = Role.GLOBAL_AGGREGATOR
    gas = infrastructure.with_role(ga_role)
    if not gas:
        yield Problem(None, "role", "", f"no node has the role {ga_role.value!r}; give it to exactly one node")
    for extra in gas[1:]:
        message = (
            f"{gas[0]!r} is the {ga_role.value} already and there can be only one; make {extra!r} a local_aggregator"
        )
        yield Problem(extra, "role", ga_role.value, message)
    if not infrastructure.clients:
        yield Problem(None, "role", "", f"no node has the role {Role.CLIENT.value!r}; at least one must train")


def _link_problems(node: Node, infrastructure: Infrastructure, known_later: Collection[str]) -> Iterator[Problem]:
    known = {*infrastructure.nodes, *known_later}
    for peer, cost in node.links.items():
        field, value = f"links.{peer}", str(cost)
        if peer == node.id:
            yield Problem(node.id, field, value, f"node {node.id!r} is linked to itself; remove this link")
        elif peer not in known:
            message = f"link to {peer!r}, but there is no such node.{did_you_mean(peer, known - {node.id})}"
            yield Problem(node.id, field, value, message)
        if not cost.is_finite() or cost < 0:
            yield Problem(node.id, field, value, f"link cost is {value}; allowed is a finite number per MB, 0 or more")


def _unreachable(infrastructure: Infrastructure) -> Iterator[Problem]:
    """Clients and local aggregators that no plan can connect to the GA."""
    gas, las = infrastructure.with_role(Role.GLOBAL_AGGREGATOR), infrastructure.local_aggregators
    # With at most one LA every strategy falls back to flat FL, where clients hang on the GA itself.
    parents, kind = (las, "local aggregator") if len(las) > 1 else (gas, "global aggregator")
    for client in infrastructure.clients:
        if parents and not _linked(infrastructure, client, parents):
            message = f"client {client!r} has no link to any {kind}; add one to {' or '.join(parents)}"
            yield Problem(client, "links", ", ".join(infrastructure.nodes[client].links), message)
    for la in las:
        if gas and not _linked(infrastructure, la, gas):
            message = f"local aggregator {la!r} has no link to the global aggregator; add one to {gas[0]}"
            yield Problem(la, "links", ", ".join(infrastructure.nodes[la].links), message)


def _linked(infrastructure: Infrastructure, node: str, peers: Collection[str]) -> bool:
    return any(infrastructure.link(node, peer) is not None for peer in peers)


def _data_problems(node: Node) -> Iterator[Problem]:
    for label, count in node.data.items():
        if count < 0:
            message = f"{count} samples of label {label}; allowed is a whole number, 0 or more"
            yield Problem(node.id, f"data.{label}", str(count), message)
