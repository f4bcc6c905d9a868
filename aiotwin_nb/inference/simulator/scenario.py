"""What is simulated: nodes, links, instances of one service, clients and what breaks, all as plain frozen data.

A quantity that changes is a number, or a list of (seconds, value) points with straight lines between; two points at one
time are a step. In a file (YAML) the same names are used:

    name: two-sites
    seconds: 60
    bound_ms: 150
    nodes:
      - {id: edge, background: [[0, 0.1], [20, 0.1], [20, 0.8], [60, 0.8]]}
      - {id: cloud, speed: 2}
    links:
      - {ends: [edge, cloud], rtt_ms: 40}
    instances:
      - {id: e1, node: edge, work_ms: 30}
      - {id: c1, node: cloud, work_ms: 30, workers: 4}
    clients:
      - {id: camera, node: edge, rate: 12}
    outages:
      - {instance: c1, start: 30, end: 40, seen_after_s: 3}
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config

from aiotwin_nb.errors import InvalidInput, did_you_mean

Curve = float | tuple[tuple[float, float], ...]
_in_files = with_config(ConfigDict(extra="forbid", allow_inf_nan=False))


@_in_files
@dataclass(frozen=True, slots=True)
class Node:
    """A machine.

    Attributes:
        speed: 2 means half the time for the same work
        background: the share of it that others use, 0 to 0.99; work takes 1 / (1 - background) as long
    """

    id: str
    speed: float = 1.0
    background: Curve = 0.0


@_in_files
@dataclass(frozen=True, slots=True)
class Link:
    """The way between two nodes, the same in both directions.

    Attributes:
        rtt_ms: there and back
        noise: standard deviation of the logarithm of a message's time
    """

    ends: tuple[str, str]
    rtt_ms: Curve
    noise: float = 0.1


@_in_files
@dataclass(frozen=True, slots=True)
class Replica:
    """One running copy of the service.

    Attributes:
        work_ms: median time for a request on an idle node of speed 1
        noise: standard deviation of the logarithm of that time
        workers: requests that it works on at a time
        queue: requests that may wait; more are refused with 503
    """

    id: str
    node: str
    work_ms: float
    noise: float = 0.25
    workers: int = 1
    queue: int = 100


@_in_files
@dataclass(frozen=True, slots=True)
class Client:
    """A source of requests (a Poisson process) that calls the proxy on a node.

    Attributes:
        rate: requests per second
    """

    id: str
    node: str
    rate: Curve


@_in_files
@dataclass(frozen=True, slots=True)
class Outage:
    """An instance is gone for a while; what it was working on is lost.

    Attributes:
        silent: requests time out, as with a node without power; else they are refused at once
        seen_after_s: until the platform takes it from, and later puts it back on, the list of ready instances
    """

    instance: str
    start: float
    end: float
    silent: bool = False
    seen_after_s: float = 5.0


@_in_files
@dataclass(frozen=True, slots=True)
class Scenario:
    """One service on one continuum for a while.

    Attributes:
        seconds: simulated time
        bound_ms: the service's
        timeout_ms: a proxy gives a request up after this time
        local_ms: there and back within a node
        load_every_s: between reports of the nodes' load to the proxies; 0: none
        seed: of everything random
    """

    name: str
    seconds: float
    bound_ms: float
    nodes: tuple[Node, ...]
    links: tuple[Link, ...]
    instances: tuple[Replica, ...]
    clients: tuple[Client, ...]
    outages: tuple[Outage, ...] = ()
    timeout_ms: float = 2000.0
    local_ms: float = 0.5
    load_every_s: float = 10.0
    seed: int = 0

    def __post_init__(self) -> None:
        """Raise InvalidInput for what cannot be simulated."""
        nodes = _unique("nodes", (n.id for n in self.nodes))
        instances = _unique("instances", (i.id for i in self.instances))
        _unique("clients", (c.id for c in self.clients))
        for where, names, known in (
            ("links", (e for link in self.links for e in link.ends), nodes),
            ("instances", (i.node for i in self.instances), nodes),
            ("clients", (c.node for c in self.clients), nodes),
            ("outages", (o.instance for o in self.outages), instances),
        ):
            for name in names:
                if name not in known:
                    raise InvalidInput(
                        f"{where}: there is no {name!r}; known are {', '.join(sorted(known))}."
                        f"{did_you_mean(name, sorted(known))}"
                    )
        linked = {frozenset(link.ends) for link in self.links}
        for client in self.clients:
            for instance in self.instances:
                if client.node != instance.node and frozenset((client.node, instance.node)) not in linked:
                    raise InvalidInput(
                        f"links: there is none between {client.node!r}, where client {client.id!r} is, and "
                        f"{instance.node!r}, where instance {instance.id!r} is; add one"
                    )
        self._check_numbers()

    def _check_numbers(self) -> None:
        above_zero = [("seconds", self.seconds), ("bound_ms", self.bound_ms), ("timeout_ms", self.timeout_ms)]
        above_zero += [(f"nodes.{n.id}.speed", n.speed) for n in self.nodes]
        above_zero += [(f"instances.{i.id}.work_ms", i.work_ms) for i in self.instances]
        above_zero += [(f"instances.{i.id}.workers", i.workers) for i in self.instances]
        above_zero += [(f"outages.{o.instance}: end - start", o.end - o.start) for o in self.outages]
        for what, value in above_zero:
            if not value > 0:
                raise InvalidInput(f"{what} is {value:g}; it must be above 0")
        curves = [(f"nodes.{n.id}.background", n.background, 0.99) for n in self.nodes]
        curves += [(f"links.{'-'.join(link.ends)}.rtt_ms", link.rtt_ms, 1e6) for link in self.links]
        curves += [(f"clients.{c.id}.rate", c.rate, 1e6) for c in self.clients]
        for what, curve, most in curves:
            points = _points(curve)
            if not points or any(not 0 <= value <= most for _, value in points):
                raise InvalidInput(f"{what} must have values from 0 to {most:g}")
            if any(b[0] < a[0] for a, b in pairwise(points)):
                raise InvalidInput(f"{what}: its points must be in the order of time")


def _points(curve: Curve) -> tuple[tuple[float, float], ...]:
    return curve if isinstance(curve, tuple) else ((0.0, curve),)


def _unique(where: str, names: Iterable[str]) -> set[str]:
    found: set[str] = set()
    for name in names:
        if name in found:
            raise InvalidInput(f"{where}: {name!r} is there twice; ids must be unique")
        found.add(name)
    if not found:
        raise InvalidInput(f"{where}: there are none; at least one is needed")
    return found


def parse_scenario(data: Any, where: str = "scenario") -> Scenario:
    """Return a scenario from what a YAML or JSON file of the documented form holds; raises InvalidInput."""
    try:
        return TypeAdapter(Scenario).validate_python(data)
    except ValidationError as error:
        lines = (f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise InvalidInput(f"{where}: " + "; ".join(lines)) from None
