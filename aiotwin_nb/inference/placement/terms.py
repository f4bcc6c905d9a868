"""Hosts and distances from the continuum's nodes: the same nodes and changes as on the learning side."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from aiotwin_nb.continuum import Infrastructure, Node
from aiotwin_nb.errors import InvalidInput
from aiotwin_nb.inference.placement.problem import Host

IDLE = 1e-3  # share of a node that is left to a replica at least, so that times stay finite


@dataclass(frozen=True)
class Terms:
    """What one service needs and what nodes charge for it.

    Attributes:
        work: training samples that take as long as one request; a third, as a forward pass is about a third of a step
        speed: training samples per second of a node that declares no speed
        size_mb: image and model
        registry: the node that downloads come from; without one they are free
        price: cost of a replica for an hour where `prices` says nothing
        slots: most replicas on a node where `slots_of` says nothing
    """

    work: float = 1 / 3
    speed: float = 1000.0
    size_mb: float = 0.0
    registry: str = ""
    price: float = 1.0
    prices: Mapping[str, float] = field(default_factory=dict)
    slots: int = 2
    slots_of: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.work <= 0 or self.speed <= 0:
            raise InvalidInput(f"work and speed: are {self.work:g} and {self.speed:g}; both must be above 0")

    def host(self, node: Node, infrastructure: Infrastructure, load: float = 0.0) -> Host:
        """Return a node as a host. `load`: share of it, 0 to 1, that others use.

        A node without a declared link to the registry cannot download: it has no slots.
        """
        speed = float(node.speed or self.speed) * max(IDLE, 1.0 - load)
        download, slots = 0.0, self.slots_of.get(node.id, self.slots)
        if self.registry and node.id != self.registry:
            link = infrastructure.link(node.id, self.registry)
            download, slots = (self.size_mb * float(link), slots) if link is not None else (0.0, 0)
        price = self.prices.get(node.id, self.price)
        return Host(node.id, 1000 * self.work / speed, slots, price, download)

    def hosts(self, infrastructure: Infrastructure, load: Mapping[str, float]) -> tuple[Host, ...]:
        """All nodes as hosts."""
        return tuple(self.host(node, infrastructure, load.get(node.id, 0.0)) for node in infrastructure.nodes.values())


def round_trips(nodes: Iterable[str], links_ms: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Round-trip times in ms over the shortest paths between nodes, from those of links (declared on either side)."""
    from scipy.sparse.csgraph import csgraph_from_dense, dijkstra

    names = list(nodes)
    place = {name: i for i, name in enumerate(names)}
    direct = np.full((len(names), len(names)), np.inf)
    for a, ways in links_ms.items():
        for b, ms in ways.items():
            if a in place and b in place:
                shorter = min(direct[place[a], place[b]], ms)
                direct[place[a], place[b]] = direct[place[b], place[a]] = shorter
    graph = csgraph_from_dense(direct, null_value=np.inf)  # a link of 0 ms is a link
    paths = dijkstra(graph, directed=False) if names else direct
    return {
        a: {b: float(paths[i, j]) if i != j else 0.0 for b, j in place.items() if np.isfinite(paths[i, j])}
        for a, i in place.items()
    }
