"""The question of a placement, and its answer.

A replica is a queue with one server. With Poisson arrivals at utilisation u and exponential service times of mean s, a
request stays -ln(1 - q) · s / (1 - u) at its q-quantile (the sojourn time of an M/M/1 queue is exponential). A host can
serve a group when that and the round trip between them fit the group's bound; its replicas take u / s requests per
second each. Whatever a group's rate is, it may be divided between hosts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import log

from aiotwin_nb.errors import InvalidInput


@dataclass(frozen=True)
class Host:
    """A node that can run replicas.

    Attributes:
        id: the node
        service_ms: mean time that a replica here works on one request
        slots: most replicas that fit
        price: cost of one replica for an hour
        download: cost of bringing the image and the model here once
    """

    id: str
    service_ms: float
    slots: int = 1
    price: float = 1.0
    download: float = 0.0


@dataclass(frozen=True)
class Group:
    """Clients at one node. `rate`: their requests per second; `bound_ms`: within which answers are due."""

    id: str
    node: str
    rate: float
    bound_ms: float


@dataclass(frozen=True)
class Question:
    """Where to run how many replicas of one service.

    Attributes:
        hosts: where replicas can run
        groups: who asks
        round_trip_ms: {node of a group: {host: ms}}; a pair that is not there has no connection
        current: {host: replicas that run now}
        copies: hosts that have the image and the model already, besides those with replicas
        moving: cost of starting one replica
        horizon_h: hours over which a change has to pay for itself
        utilisation: u above, more than 0 and less than 1
        quantile: q above
    """

    hosts: tuple[Host, ...]
    groups: tuple[Group, ...]
    round_trip_ms: Mapping[str, Mapping[str, float]]
    current: Mapping[str, int] = field(default_factory=dict)
    copies: frozenset[str] = frozenset()
    moving: float = 0.0
    horizon_h: float = 1.0
    utilisation: float = 0.7
    quantile: float = 0.95

    def __post_init__(self) -> None:
        for what, value, allowed in (
            ("utilisation", self.utilisation, 0 < self.utilisation < 1),
            ("quantile", self.quantile, 0 < self.quantile < 1),
            ("horizon_h", self.horizon_h, self.horizon_h > 0),
            ("moving", self.moving, self.moving >= 0),
        ):
            if not allowed:
                wanted = "at least 0" if what == "moving" else "above 0" + (", below 1" if what != "horizon_h" else "")
                raise InvalidInput(f"{what}: is {value:g}; it must be {wanted}")
        for host in self.hosts:
            if host.service_ms <= 0 or host.slots < 0 or host.price < 0 or host.download < 0:
                raise InvalidInput(
                    f"host {host.id!r}: service_ms must be above 0, slots, price and download at least 0"
                )
        for group in self.groups:
            if group.rate < 0 or group.bound_ms <= 0:
                raise InvalidInput(f"group {group.id!r}: rate must be at least 0 and bound_ms above 0")

    @cached_property
    def by_id(self) -> dict[str, Host]:
        """The hosts by their id."""
        return {host.id: host for host in self.hosts}

    def capacity(self, host: Host) -> float:
        """Requests per second that one replica takes."""
        return 1000 * self.utilisation / host.service_ms

    def latency_ms(self, group: Group, host: Host) -> float | None:
        """The q-quantile of a request's latency from group to host; None without a connection."""
        way = self.round_trip_ms.get(group.node, {}).get(host.id)
        if way is None:
            return None
        return way - log(1 - self.quantile) * host.service_ms / (1 - self.utilisation)

    def within_reach(self, group: Group) -> tuple[str, ...]:
        """Hosts with slots that keep the group's bound."""
        found = ((host, self.latency_ms(group, host)) for host in self.hosts if host.slots)
        return tuple(host.id for host, ms in found if ms is not None and ms <= group.bound_ms)

    def running_cost(self, replicas: Mapping[str, int]) -> float:
        """Cost of an hour with these replicas."""
        return sum(self.by_id[i].price * count for i, count in replicas.items())

    def change_cost(self, replicas: Mapping[str, int]) -> float:
        """Cost of getting from what runs now to these replicas: downloads and starts. Stopping is free."""
        started = {i: max(0, count - self.current.get(i, 0)) for i, count in replicas.items()}
        new = [i for i, count in started.items() if count and not self.has_copy(i)]
        return self.moving * sum(started.values()) + sum(self.by_id[i].download for i in new)

    def cost(self, replicas: Mapping[str, int]) -> float:
        """What a placement minimises: the horizon's running cost and the cost of the change."""
        return self.horizon_h * self.running_cost(replicas) + self.change_cost(replicas)

    def has_copy(self, host: str) -> bool:
        """Whether nothing needs to be downloaded there."""
        return host in self.copies or self.current.get(host, 0) > 0


@dataclass(frozen=True)
class Missed:
    """A group whose bound cannot be kept, or not for all its requests.

    `rate`: requests per second beyond what can be served within the bound; `reason`: why, for people.
    """

    group: str
    rate: float
    reason: str


@dataclass(frozen=True)
class Placement:
    """Replicas per host, and what is known about them.

    Attributes:
        replicas: {host: how many}, hosts with at least one
        routes: {group: {host: share of its requests}}, the shortest ways that capacities allow
        missed: groups whose bound does not hold, empty when all do
        running_cost: of an hour
        change_cost: of getting there
        cost: what was minimised
        bound: no placement that serves as much costs less; equals `cost` when the optimum is proven
    """

    replicas: Mapping[str, int]
    routes: Mapping[str, Mapping[str, float]]
    missed: tuple[Missed, ...]
    running_cost: float
    change_cost: float
    cost: float
    bound: float

    @property
    def gap(self) -> float:
        """The cost above the bound, as a share of the cost; 0 is proven optimal."""
        return max(0.0, self.cost - self.bound) / self.cost if self.cost > 0 else 0.0

    @property
    def missed_rate(self) -> float:
        """Requests per second that cannot be served within their bounds."""
        return sum(missed.rate for missed in self.missed)
