"""How good the decisions are: `python tests/benchmarks/bench_decisions.py [--full]`; 1 when a target is missed.

The same as `aiotwin bench decisions --quick` (or the full population, whose results are in results/), with the targets:
the default policy right in at least 85 % of the held-out scenarios, at most 0.5 points of mean regret, never behind
always_keep, always_revert or the original's fit, and 80 % intervals that cover 75–90 %.
"""

from __future__ import annotations

import math
import sys
from typing import Any

from aiotwin_nb.bench.decisions import as_text, bench_decisions

DEFAULT = "default, context, extending"
BASELINES = ("always_keep", "always_revert", "original (rva, log_original)")


def misses(data_set: str, methods: dict[str, Any], full: bool) -> list[str]:
    """What of the targets is missed on a data set; a small population is granted two standard errors of a share."""
    ours = methods[DEFAULT]
    slack = 0.0 if full else 2 * math.sqrt(0.85 * 0.15 / ours["cases"])
    right, regret, coverage = ours["right"] + slack, ours["mean_regret"] * (1 - slack), ours["coverage"]
    found = [
        (right >= 0.85, f"right {ours['right']:.1%}, target 85 %"),
        (regret <= 0.5, f"mean regret {ours['mean_regret']:.2f}, target 0.5"),
        (0.75 - slack <= coverage <= 0.9 + slack, f"80 % intervals cover {coverage:.0%}, target 75–90 %"),
        *((right >= methods[name]["right"], f"behind {name} ({methods[name]['right']:.1%})") for name in BASELINES),
    ]
    return [f"{data_set}: {text}" for holds, text in found if not holds]


def main(full: bool) -> int:
    results = bench_decisions(quick=not full, tell=lambda text: print(text, file=sys.stderr))
    print(as_text(results))
    missed = [text for data_set, methods in results["data_sets"].items() for text in misses(data_set, methods, full)]
    for text in missed:
        print(f"MISSED {text}")
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main("--full" in sys.argv[1:]))
