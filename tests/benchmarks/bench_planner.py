"""How long planning takes: `python tests/benchmarks/bench_planner.py [repeats]` prints a table beside the targets.

Links are drawn with a fixed seed: integers from 1 to 1000, from {10, 20, 30}, where nearly everything is a tie, and
distances on a map. The last rows are planned once each: 10 000 clients × 100 LAs, balanced and open, with the proven gap
and the process's peak memory.
"""

from __future__ import annotations

import random
import resource
import sys
from collections.abc import Callable
from decimal import Decimal
from math import dist
from statistics import median
from time import perf_counter
from typing import Any

from aiotwin_nb.continuum import Infrastructure, Node, Role
from aiotwin_nb.planning import PlanningRequest, cost_model, make_plan, make_reported_plan

TARGETS = {(24, 5): 0.05, (500, 20): 1.0, (1000, 50): 3.0}  # (clients, LAs): seconds
LINKS = {"1..1000": range(1, 1001), "10|20|30": (10, 20, 30)}


def request(clients: int, las: int, costs: range | tuple[int, ...], seed: int) -> PlanningRequest:
    """Return a planning request with every client linked to every LA at random cost."""
    draw = random.Random(f"{clients} {las} {seed}")
    la_ids = [f"la{i}" for i in range(las)]
    infrastructure = Infrastructure.of(
        [
            Node("ga", Role.GLOBAL_AGGREGATOR),
            *(Node(la, Role.LOCAL_AGGREGATOR, {"ga": Decimal(100)}) for la in la_ids),
            *(
                Node(f"c{i}", Role.CLIENT, {la: Decimal(draw.choice(costs)) for la in la_ids} | {"ga": Decimal(999)})
                for i in range(clients)
            ),
        ]
    )
    return PlanningRequest(infrastructure, 2, 2, cost_model("communication", model_size_mb="3.3"))


def on_a_map(clients: int, las: int, uplink: int, seed: int) -> PlanningRequest:
    """Return a planning request whose links cost what the distance is; opening an LA costs `uplink` per MB."""
    draw = random.Random(f"{clients} {las} {seed}")
    places = {f"la{i}": (draw.random(), draw.random()) for i in range(las)}
    nodes = [Node("ga", Role.GLOBAL_AGGREGATOR)]
    nodes += [Node(la, Role.LOCAL_AGGREGATOR, {"ga": Decimal(uplink)}) for la in places]
    for i in range(clients):
        here = (draw.random(), draw.random())
        links = {la: Decimal(round(1000 * dist(here, there))) for la, there in places.items()}
        nodes.append(Node(f"c{i}", Role.CLIENT, links))
    return PlanningRequest(Infrastructure.of(nodes), 2, 2, cost_model("communication", model_size_mb="3.3"))


LARGE: dict[str, tuple[str, dict[str, Any], Callable[[], PlanningRequest]]] = {
    "balanced, 1..1000": ("min_comm_cost", {}, lambda: request(10_000, 100, range(1, 1001), 0)),
    "balanced, map": ("min_comm_cost", {}, lambda: on_a_map(10_000, 100, 100, 0)),
    "open, 1..1000": ("min_comm_cost_open", {}, lambda: request(10_000, 100, range(1, 1001), 0)),
    "open, map": ("min_comm_cost_open", {}, lambda: on_a_map(10_000, 100, 50_000, 0)),
    "open, map, 120 an LA": ("min_comm_cost_open", {"capacity": 120}, lambda: on_a_map(10_000, 100, 5000, 0)),
}
LARGE_TARGET = (60.0, 0.01, 4.0)  # seconds, gap, GB


def large() -> int:
    """Print the table of 10 000 × 100; returns how many miss a target."""
    missed = 0
    print(f"\n{'10 000 × 100':<22} {'seconds':>8} {'gap':>9} {'peak':>8}   targets: 60 s, 1 %, 4 GB")
    for name, (strategy, args, make) in LARGE.items():
        plan = make_reported_plan(strategy, args, make())
        assert plan.report is not None
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        figures = (plan.seconds, plan.report.gap, peak)
        bad = any(figure > target for figure, target in zip(figures, LARGE_TARGET, strict=True))
        missed += bad
        print(f"{name:<22} {figures[0]:>7.1f}s {100 * figures[1]:>7.3f} % {peak:>6.2f}GB{'  MISSED' if bad else ''}")
    return missed


def seconds(question: PlanningRequest) -> float:
    """Wall time of one plan."""
    start = perf_counter()
    make_plan("min_comm_cost", {}, question)
    return perf_counter() - start


def main(repeats: int) -> int:
    """Print the table; 1 when a median misses its target."""
    missed = 0
    seconds(request(4, 2, (1,), 0))  # imports numpy
    print(f"{'size':>9}  {'links':<9} {'median':>9} {'least':>9} {'most':>9} {'target':>9}   ({repeats} repeats)")
    for (clients, las), target in TARGETS.items():
        for name, costs in LINKS.items():
            times = [seconds(request(clients, las, costs, seed)) for seed in range(repeats)]
            missed += median(times) > target
            columns = "".join(f"{1000 * t:>7.1f}ms " for t in (median(times), min(times), max(times), target))
            print(f"{clients:>6}×{las:<2}  {name:<9} {columns}{'' if median(times) <= target else '  MISSED'}")
    return int(missed + large() > 0)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 7))
