"""How fast the simulator is: `python tests/benchmarks/bench_simulator.py`; 1 when a million requests take over 60 s.

Median and range over three runs of the default policy; the others once, for comparison. Process time is shown beside
the wall clock's, which other work on the machine lengthens.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from statistics import median
from time import perf_counter, process_time

from aiotwin_nb.inference.balancing import DEFAULT_POLICY, policies
from aiotwin_nb.inference.simulator import simulate
from aiotwin_nb.inference.simulator.families import family

REQUESTS, TARGET_S = 1_000_000, 60.0


def main() -> int:
    base = family("drift", 0)
    rate = sum(c.rate for c in base.clients if isinstance(c.rate, float))
    print(f"{len(base.instances)} instances, {len(base.clients)} proxies, {REQUESTS} requests; seconds a million")
    measured = {}
    for name in [DEFAULT_POLICY] * 3 + [n for n in policies.names() if n != DEFAULT_POLICY]:
        share = 1.0 if name == DEFAULT_POLICY else 0.1
        scenario = replace(base, seconds=share * REQUESTS / rate)
        wall, own = perf_counter(), process_time()
        number = len(simulate(scenario, name).time)
        per_million = (perf_counter() - wall) * 1e6 / number, (process_time() - own) * 1e6 / number
        measured.setdefault(name, []).append(per_million)
        print(
            f"{name:20} wall {per_million[0]:6.1f} s   process {per_million[1]:6.1f} s   ({number} requests)",
            flush=True,
        )
    walls = [wall for wall, _ in measured[DEFAULT_POLICY]]
    missed = median(walls) > TARGET_S
    print(f"{DEFAULT_POLICY}: median {median(walls):.1f} s ({min(walls):.1f}–{max(walls):.1f}), target {TARGET_S:g} s"
          f"{': MISSED' if missed else ''}")  # fmt: skip
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
