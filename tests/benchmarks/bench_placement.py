"""How good and how fast placements are: `python tests/benchmarks/bench_placement.py [repeats]`.

Hosts and groups lie on a map (seeded); round trips are distances of up to 140 ms, bounds 60, 100 or 200 ms, rates 1 to
20 requests/s, hosts of four speeds with 1 to 4 slots and prices that follow their speed only roughly. The solver's limit
is half the target time; the gap is proven by the solver. 1 when a median misses a target.
"""

from __future__ import annotations

import random
import sys
from math import dist
from statistics import median
from time import perf_counter

from aiotwin_nb.inference.placement import Group, Host, Question, place

TARGETS = {(20, 100): (2.0, 0.0001), (50, 300): (10.0, 0.01), (200, 1000): (60.0, 0.03)}  # (hosts, groups): s, gap


def question(hosts: int, groups: int, seed: int) -> Question:
    """Return a placement question on a map, with capacity for about three times the demand."""
    draw = random.Random(f"{hosts} {groups} {seed}")
    where = {f"n{i}": (draw.random(), draw.random()) for i in range(hosts)}
    spare = hosts / groups * 5  # rates follow the hosts' number, so that sizes are alike in kind
    return Question(
        hosts=tuple(
            Host(
                node,
                service_ms=draw.choice([4, 6, 8, 12]),
                slots=draw.randint(1, 4),
                price=draw.uniform(1, 3),
                download=draw.uniform(0, 2),
            )
            for node in where
        ),
        groups=tuple(
            Group(f"g{k}", draw.choice(list(where)), spare * draw.uniform(1, 20), draw.choice([60, 100, 200]))
            for k in range(groups)
        ),
        round_trip_ms={a: {b: 100 * dist(p, q) for b, q in where.items()} for a, p in where.items()},
        current={node: 1 for node in where if draw.random() < 0.3},
        moving=0.2,
    )


def main(repeats: int) -> int:
    """Print the table."""
    missed = 0
    print(
        f"{'hosts×groups':>12} {'median':>9} {'most':>9} {'limit':>7} {'gap':>9} {'most':>9} {'target':>8} {'served':>8}"
    )
    for (hosts, groups), (seconds, gap) in TARGETS.items():
        times, gaps, served = [], [], []
        for seed in range(repeats):
            asked = question(hosts, groups, seed)
            start = perf_counter()
            found = place(asked, time_limit_s=0.5 * seconds)
            times.append(perf_counter() - start)
            gaps.append(found.gap)
            served.append(1 - found.missed_rate / sum(g.rate for g in asked.groups))
        bad = median(times) > seconds or median(gaps) > gap
        missed += bad
        print(
            f"{hosts:>7}×{groups:<4} {median(times):>8.2f}s {max(times):>8.2f}s {seconds:>6.0f}s {median(gaps):>9.3%} "
            f"{max(gaps):>9.3%} {gap:>8.2%} {median(served):>8.2%}{'  MISSED' if bad else ''}"
        )
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 5))
