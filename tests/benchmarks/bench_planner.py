"""How long planning takes: `python tests/benchmarks/bench_planner.py [repeats]` prints a table beside the targets.

Links are drawn with a fixed seed: integers from 1 to 1000, and from {10, 20, 30}, where nearly everything is a tie.
"""

from __future__ import annotations

import random
import sys
from decimal import Decimal
from statistics import median
from time import perf_counter

from aiotwin_nb.continuum import Infrastructure, Node, Role
from aiotwin_nb.planning import PlanningRequest, cost_model, make_plan

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
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 7))
