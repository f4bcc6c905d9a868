"""Chapter 03: clusters by hand, a greedy strategy, and how unlike everybody's data a cluster's is."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

from aiotwin_nb.api import plan
from aiotwin_nb.continuum import Infrastructure, Node, Role, exact
from aiotwin_nb.course.examine import call, checks, expect
from aiotwin_nb.planning import Configuration, PlanningRequest, cost_model
from aiotwin_nb.scenario import load_scenario

CHAPTER = "03-strategies"
LAB = "cluster-24"
SIZES = (4, 6)
CHEAP = 6000


@checks.register(f"{CHAPTER}/by-hand")
def by_hand(attempt: Any) -> None:
    """Clusters of 4 to 6 clients that cost less than 6,000 a round."""
    lab = load_scenario(LAB)
    nodes = lab.infrastructure
    clusters = call(attempt)
    expect(isinstance(clusters, Mapping), f"return a dictionary, LA: [clients], not {type(clusters).__name__}")
    for la in clusters:
        expect(
            la in nodes.local_aggregators, f"{la} is no local aggregator; there are {_some(nodes.local_aggregators)}"
        )
    places = Counter(client for members in clusters.values() for client in members)
    for client in places:
        expect(client in nodes.clients, f"{client} is no client of this lab")
    expect(not (twice := [c for c, n in places.items() if n > 1]), f"{_some(twice)}: in two clusters at once")
    expect(not (lost := [c for c in nodes.clients if c not in places]), f"without a cluster: {_some(lost)}")
    for la in nodes.local_aggregators:
        size = len(clusters.get(la, ()))
        expect(SIZES[0] <= size <= SIZES[1], f"{la} has {size} clients; {SIZES[0]} to {SIZES[1]} are asked for")
    args = {"clusters": {la: list(members) for la, members in clusters.items()}}
    cost = plan(lab, strategy={"name": "manual", "args": args})["initial"]["round_cost"]
    expect(
        cost < CHEAP, f"a round costs {cost:,.1f}: less than {CHEAP:,} is asked for. Which client has the dearest link?"
    )


@checks.register(f"{CHAPTER}/greedy")
def greedy(attempt: Any) -> None:
    """A strategy: client after client at the cheapest LA with room."""
    request = _request()
    found = call(attempt, request, 2)
    expect(
        isinstance(found, Configuration),
        f"a strategy returns a configuration, as request.hierarchical(...) makes it, not {type(found).__name__}",
    )
    parents = found.parents
    expect(set(parents) == set(request.infrastructure.clients), f"only {_some(sorted(parents))} have a place")
    sizes = Counter(parents.values())
    expect(max(sizes.values()) <= 2, f"with room for 2, no LA may have more clients; here it is {dict(sizes)}")
    expect(parents["c4"] == "a1", "c4 has no link to a2 or a3: what does request.member_cost say then?")
    expect(
        parents["c1"] == "a2" and parents["c2"] == "a2",
        "c1 and c2 come first and are nearest to a2; they are not there",
    )
    expect(parents["c3"] == "a3", "when c3 comes, a2 is full; its next cheapest LA is a3")
    roomy = call(attempt, request, 9).parents
    expect(roomy["c3"] == "a2", "with room for everybody, c3 must be at its cheapest LA, a2")


@checks.register(f"{CHAPTER}/divergence")
def divergence(attempt: Any) -> None:
    """KL divergence of two label counts, in nats."""
    same = call(attempt, [10, 30], [100, 300])
    expect(isinstance(same, int | float), f"it must return a number, and returns {same!r}")
    expect(abs(same) < 1e-9, f"the same mix in other amounts must give 0, not {same:.3f}: take shares, not counts")
    value = call(attempt, [30, 10], [20, 20])
    right = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    expect(abs(value - right / math.log(2)) > 1e-9, "that is in bits: nats need the natural logarithm")
    other = 0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25)
    expect(abs(value - other) > 1e-9, "p and q have changed places")
    expect(abs(value + right) > 1e-9, "the sign is wrong; the divergence is never negative")
    expect(abs(value - right) < 1e-9, f"for 30 : 10 against 20 : 20 it must be {right:.4f}, not {value:.4f}")
    missing = call(attempt, [40, 0], [20, 20])
    expect(abs(missing - math.log(2)) < 1e-3, "a label that the cluster lacks adds nothing: 0 · ln 0 counts as 0")


def _request() -> PlanningRequest:
    """Three aggregators in which the order of the clients matters, and a client that reaches one of them only."""
    links = {
        "c1": {"a1": 50, "a2": 10, "a3": 60},
        "c2": {"a1": 40, "a2": 20, "a3": 90},
        "c3": {"a1": 70, "a2": 15, "a3": 30},
        "c4": {"a1": 80},
    }
    nodes = [Node("ga", Role.GLOBAL_AGGREGATOR)]
    nodes += [Node(la, Role.LOCAL_AGGREGATOR, {"ga": exact(100)}) for la in ("a1", "a2", "a3")]
    nodes += [Node(name, Role.CLIENT, {la: exact(cost) for la, cost in own.items()}) for name, own in links.items()]
    return PlanningRequest(Infrastructure.of(nodes), 2, 2, cost_model("communication", model_size_mb=1))


def _some(names: Any) -> str:
    names = list(names)
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
