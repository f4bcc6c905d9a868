"""Ready nodes for trying things out, made to measure for the nodes and the data that there are; pure functions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from decimal import Decimal
from statistics import median
from typing import Any

from aiotwin_nb.continuum import Infrastructure
from aiotwin_nb.continuum.model import natural_key
from aiotwin_nb.scenario import number

Raw = dict[str, Any]  # a node as in a scenario file

_FAR = 5  # times as expensive as usual
_TINY = 10  # times less data than usual


def ready_nodes(
    nodes: Infrastructure, clusters: Mapping[str, list[str]], *, classes: int = 10, taken: Collection[str] = ()
) -> dict[str, Raw]:
    """{name: node} of the library, for nodes arranged in clusters.

    `classes`: labels of the data set; `taken`: ids that nodes still to come will have. Costs and amounts are the median
    of the clients there are, so that a ready node differs from them in one thing.
    """
    usual = _Usual(nodes, clusters, classes, taken)
    made = {name: make(usual) for name, make in _LIBRARY.items()}
    return {name: raw for name, raw in made.items() if raw["links"]}


class _Usual:
    """What is usual among the clients."""

    def __init__(
        self, nodes: Infrastructure, clusters: Mapping[str, list[str]], classes: int, taken: Collection[str]
    ) -> None:
        self.nodes, self.clusters = nodes, clusters
        self.members = [nodes.nodes[i] for i in nodes.clients]
        self.id = _free_id(nodes, taken)
        held: Counter[int] = Counter()
        for node in self.members:
            held.update(node.data)
        everything = set(range(classes)) | set(held)
        per_client = round(median(len(node.data) for node in self.members)) if self.members else 3
        self.width = max(1, min(per_client or 3, len(everything)))
        self.rarest = tuple(sorted(sorted(everything, key=lambda label: (held[label], label))[: self.width]))
        self.commonest = tuple(sorted(sorted(held, key=lambda label: (-held[label], label))[: self.width]))
        counts = [count for node in self.members for count in node.data.values()]
        self.samples = round(median(counts)) if counts else 0
        self.part = next((node.partition for node in self.members if node.partition), None)

    def links(self, factor: int = 1) -> dict[str, int | float]:
        """The median cost of the clients' links to every aggregator, times a factor."""
        peers = (self.nodes.global_aggregator, *self.nodes.local_aggregators)
        costs = {
            peer: [c for node in self.members if (c := self.nodes.link(node.id, peer)) is not None] for peer in peers
        }
        return {peer: number(median(found) * factor) for peer, found in costs.items() if found}

    def client(self, labels: tuple[int, ...], samples: int, **more: Any) -> Raw:
        """A client with so many samples of each of these labels."""
        raw = {"id": self.id, "role": "client", "links": self.links(), **more}
        if self.samples:
            raw["data"] = dict.fromkeys(labels, samples)
        elif self.part:
            raw["partition"] = list(self.part)
        return raw


def _aggregator(usual: _Usual) -> Raw:
    """A local aggregator close to the clients of the largest cluster."""
    nodes = usual.nodes
    ga = nodes.global_aggregator
    uplinks = [c for la in nodes.local_aggregators if (c := nodes.link(la, ga)) is not None]
    links: dict[str, int | float] = {ga: number(median(uplinks)) if uplinks else 100}
    crowd = max(usual.clusters.values(), key=len, default=[])
    home = next((a for a, clients in usual.clusters.items() if clients == crowd), "")
    for client in nodes.clients:
        if client in crowd:
            cost = nodes.link(client, home)
            links[client] = number(max(Decimal(1), (cost or Decimal(2)) / 2))
        else:
            links[client] = number(_middle(nodes, client))
    return {"id": usual.id, "role": "local_aggregator", "links": links}


def _middle(nodes: Infrastructure, client: str) -> Decimal:
    """The median cost of a client's links to the aggregators."""
    peers = (nodes.global_aggregator, *nodes.local_aggregators)
    return median(sorted(c for peer in peers if (c := nodes.link(client, peer)) is not None) or [Decimal(100)])


_LIBRARY: dict[str, Callable[[_Usual], Raw]] = {
    "New classes": lambda usual: usual.client(usual.rarest, usual.samples),
    "More of the same": lambda usual: usual.client(usual.commonest, usual.samples),
    "Wrong labels": lambda usual: usual.client(
        usual.rarest, usual.samples, label_noise={"kind": "shift", "share": 1.0}
    ),
    "Tiny": lambda usual: usual.client(usual.rarest, max(1, usual.samples // _TINY)),
    "Far away and expensive": lambda usual: usual.client(usual.rarest, usual.samples, links=usual.links(_FAR)),
    "New local aggregator": _aggregator,
}


def _free_id(nodes: Infrastructure, taken: Collection[str]) -> str:
    """An id like those of the clients that nobody has or will have."""
    ids = {*nodes.nodes, *taken}
    stem = max(nodes.clients or ids or ("n1",), key=natural_key).rstrip("0123456789")
    numbers = (int(i[len(stem) :]) for i in ids if i.startswith(stem) and i[len(stem) :].isdecimal())
    return f"{stem}{1 + max(numbers, default=0)}"
