"""Families of scenarios, by seed: overload, failure, drift, burst and calm.

All share one kind of continuum: three to five edge sites with their own clients and instances, near to each other, and
sometimes a cloud that is far away but has more workers. What is hard about a family is added to it:

- calm: nothing changes but noise
- overload: others use up the CPU of some nodes for a while, slowly or at once
- failure: instances go and come back, refused or silent, alone or with their whole site
- drift: links get slow and fast again, by steps and slowly
- burst: clients send several times as much for a while, one site's or all

A proxy sees its own site's requests only.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations

from aiotwin_nb.errors import InvalidInput, did_you_mean
from aiotwin_nb.inference.simulator.scenario import Client, Curve, Link, Node, Outage, Replica, Scenario

TRAINING, HELD_OUT = (
    range(20),
    range(1000, 1020),
)  # seeds: what the default policy was fixed on, and what it is judged by
SECONDS = 90.0
PER_SITE = (10.0, 35.0)  # requests per second
Points = tuple[tuple[float, float], ...]


def family(name: str, seed: int) -> Scenario:
    """Return a family's scenario; raises InvalidInput for an unknown one."""
    if name not in FAMILIES:
        raise InvalidInput(f"unknown family {name!r}; known are {', '.join(FAMILIES)}.{did_you_mean(name, FAMILIES)}")
    rng = random.Random(f"{name}/{seed}")
    return FAMILIES[name](rng, replace(_continuum(rng), name=f"{name}-{seed}", seed=rng.randrange(2**32)))


def _continuum(rng: random.Random) -> Scenario:
    """Sites whose capacity suffices for all requests together, if not always for their own."""
    sites = [f"site{n}" for n in range(1, rng.randint(3, 5) + 1)]
    bound = rng.choice((80.0, 120.0, 150.0, 200.0, 300.0))
    nodes = [Node(s, speed=rng.uniform(0.6, 1.6), background=rng.uniform(0.0, 0.3)) for s in sites]
    work = bound * rng.uniform(0.12, 0.3)
    replicas = [
        Replica(f"{s}-{k}", s, work, noise=rng.uniform(0.1, 0.4), workers=rng.choice((1, 2, 2, 4)))
        for s in sites
        for k in range(rng.choice((1, 1, 2)))
    ]
    links = [Link(pair, rng.uniform(0.03, 0.35) * bound, rng.uniform(0.05, 0.25)) for pair in combinations(sites, 2)]
    if rng.random() < 0.6:
        nodes.append(Node("cloud", speed=rng.uniform(1.0, 2.0)))
        replicas.append(Replica("cloud-0", "cloud", work, noise=0.2, workers=rng.choice((4, 8))))
        links += [Link((s, "cloud"), rng.uniform(0.3, 0.75) * bound, rng.uniform(0.05, 0.2)) for s in sites]
    weights = [rng.uniform(0.5, 2.0) for _ in sites]
    total = rng.uniform(0.35, 0.65) * _capacity(nodes, replicas)
    total = min(total, len(sites) * rng.uniform(*PER_SITE))
    clients = [
        Client(f"camera{s[4:]}", s, round(total * w / sum(weights), 2)) for s, w in zip(sites, weights, strict=True)
    ]
    return Scenario("", SECONDS, bound, tuple(nodes), tuple(links), tuple(replicas), tuple(clients), timeout_ms=2000.0)


def _capacity(nodes: list[Node], replicas: list[Replica]) -> float:
    """Requests per second that all instances together can answer."""
    left = {n.id: n.speed * (1 - max(v for _, v in _points(n.background))) for n in nodes}
    return sum(r.workers * left[r.node] * 1000 / r.work_ms for r in replicas)


def _points(curve: Curve) -> Points:
    return curve if isinstance(curve, tuple) else ((0.0, curve),)


def _calm(rng: random.Random, scenario: Scenario) -> Scenario:
    return scenario


def _overload(rng: random.Random, scenario: Scenario) -> Scenario:
    some = set(_some(rng, [n.id for n in scenario.nodes]))
    nodes = tuple(
        replace(n, background=_episodes(rng, _level(n.background), lambda: rng.uniform(0.55, 0.93)))
        if n.id in some
        else n
        for n in scenario.nodes
    )
    return replace(scenario, nodes=nodes)


def _failure(rng: random.Random, scenario: Scenario) -> Scenario:
    outages: list[Outage] = []
    for node in _some(rng, [n.id for n in scenario.nodes]):
        here = [r.id for r in scenario.instances if r.node == node]
        for start, end in _spans(rng):
            silent, seen = rng.random() < 0.4, rng.uniform(1.0, 15.0)
            gone = here if silent else [rng.choice(here)]
            outages += [Outage(i, start, end, silent, seen) for i in gone]
    return replace(scenario, outages=tuple(outages))


def _drift(rng: random.Random, scenario: Scenario) -> Scenario:
    links = tuple(
        replace(link, rtt_ms=_episodes(rng, _level(link.rtt_ms), lambda: rng.uniform(0.2, 1.5) * scenario.bound_ms))
        if rng.random() < 0.6
        else link
        for link in scenario.links
    )
    # A site whose own instance is slow has to use links.
    slow = rng.choice(scenario.clients).node
    nodes = tuple(replace(n, speed=0.5 * n.speed) if n.id == slow else n for n in scenario.nodes)
    return replace(scenario, links=links, nodes=nodes)


def _burst(rng: random.Random, scenario: Scenario) -> Scenario:
    everywhere = rng.random() < 0.3
    some = {c.id for c in scenario.clients} if everywhere else set(_some(rng, [c.id for c in scenario.clients]))
    high = (1.3, 2.2) if everywhere else (2.0, 5.0)
    clients = tuple(
        replace(c, rate=_episodes(rng, _level(c.rate), lambda c=c: _level(c.rate) * rng.uniform(*high), 3.0, 15.0))  # type: ignore[misc]
        if c.id in some
        else c
        for c in scenario.clients
    )
    return replace(scenario, clients=clients)


def _level(curve: Curve) -> float:
    return _points(curve)[0][1]


def _some(rng: random.Random, names: list[str]) -> list[str]:
    """One to all but one."""
    return rng.sample(names, rng.randint(1, max(1, len(names) - 1)))


def _spans(rng: random.Random, shortest: float = 5.0, longest: float = 30.0) -> list[tuple[float, float]]:
    """Times at which something is not as usual."""
    spans, now = [], rng.uniform(3.0, 30.0)
    while now < SECONDS - 5.0:
        end = now + rng.uniform(shortest, longest)
        spans.append((now, min(end, SECONDS)))
        now = end + rng.uniform(shortest, longest)
    return spans


def _episodes(
    rng: random.Random, usual: float, other: Callable[[], float], shortest: float = 5.0, longest: float = 30.0
) -> Curve:
    """A curve that leaves its usual value now and then, half the times at once, else within seconds."""
    points = [(0.0, usual)]
    for start, end in _spans(rng, shortest, longest):
        value, ramp = other(), rng.choice((0.0, rng.uniform(1.0, 0.4 * shortest + 1.0)))
        points += [(start, usual), (min(start + ramp, end), value), (end, value), (end, usual)]
    return tuple(points)


FAMILIES: dict[str, Callable[[random.Random, Scenario], Scenario]] = {
    "overload": _overload,
    "failure": _failure,
    "drift": _drift,
    "burst": _burst,
    "calm": _calm,
}
