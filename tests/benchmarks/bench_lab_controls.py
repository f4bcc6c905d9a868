"""How soon a moved control shows the new plan: `python tests/benchmarks/bench_lab_controls.py [repeats]`.

50 nodes: one GA, five LAs, 44 clients, and a node that joins. Measured are the time until the control gives the kernel
back and the time until the new plan stands in its widget. Exits with 1 when a median misses its target.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable
from statistics import median, quantiles
from typing import Any

from aiotwin_nb.scenario import Scenario
from aiotwin_nb.widgets.session import Session
from aiotwin_nb.widgets.strategy import StrategyPanel

TARGET_SHOWN, TARGET_BLOCKED = 0.200, 0.050  # seconds
LAS = [f"n{i}" for i in range(2, 7)]


def fifty_nodes() -> Scenario:
    """A scenario of 50 nodes with links from 10 to 100 per MB."""
    draw = random.Random("bench_lab_controls")
    nodes: list[dict[str, Any]] = [{"id": "n1", "role": "global_aggregator"}]
    nodes += [{"id": la, "role": "local_aggregator", "links": {"n1": 100}} for la in LAS]
    for i in range(7, 51):
        links = {"n1": 200, **{la: draw.randint(10, 100) for la in LAS}}
        data = {draw.randrange(10): 40, draw.randrange(10): 30}
        nodes.append({"id": f"n{i}", "role": "client", "links": links, "data": data})
    joins = {"id": "n51", "role": "client", "links": {"n1": 150, "n2": 120, "n3": 90}, "data": {7: 40}}
    return Scenario.model_validate(
        {
            "name": "fifty",
            "nodes": nodes,
            "objective": {"budget": 500_000},
            "events": [{"after_round": 5, "add": [joins]}],
        }
    )


def controls(panel: StrategyPanel) -> dict[str, Callable[[int], None]]:
    """What is moved, each move to a new value."""
    by_name = panel._controls
    names = ("min_comm_cost", "min_comm_cost_greedy", "flat", "random")

    def move(name: str, value: Any) -> None:
        by_name[name].value = value

    return {
        "budget": lambda i: move("budget", 400_000.0 + 5000 * i),
        "epochs": lambda i: move("epochs", 1 + (i + 1) % 5),
        "local rounds": lambda i: move("local_rounds", 1 + (i + 1) % 5),
        "window": lambda i: move("window", 1 + i % 9),
        "strategy": lambda i: move("strategy", names[i % len(names)]),
    }


def timed(panel: StrategyPanel, move: Callable[[int], None], i: int) -> tuple[float, float]:
    """Seconds until the control gives the kernel back, and until the new plan is shown."""
    before = panel.plan
    began = time.perf_counter()
    move(i)
    back = time.perf_counter() - began
    while panel.plan is before or "aiotwin-dim" in panel._result._dom_classes:
        time.sleep(0.0005)
    return back, time.perf_counter() - began


def main(repeats: int) -> int:
    """Print the table; returns how many medians miss their target."""
    panel = StrategyPanel(Session(fifty_nodes()))
    while panel.comparison is None:  # the first one also imports matplotlib
        time.sleep(0.05)
    missed = 0
    print(f"{'control (50 nodes)':<20} {'kernel held':>22} {'plan shown':>22}   targets: 50 ms, 200 ms (medians)")
    for name, move in controls(panel).items():
        rows = [timed(panel, move, i) for i in range(1, repeats + 1)]
        columns = list(zip(*rows, strict=True))
        bad = median(columns[0]) > TARGET_BLOCKED or median(columns[1]) > TARGET_SHOWN
        missed += bad
        print(f"{name:<20} {spread(columns[0]):>22} {spread(columns[1]):>22}{'   MISSED' if bad else ''}")
    panel.close()
    return missed


def spread(seconds: tuple[float, ...]) -> str:
    """Median and the quarter and three-quarter marks, in milliseconds."""
    low, middle, high = (1000 * value for value in quantiles(seconds, n=4))
    return f"{middle:.0f} ms ({low:.0f}–{high:.0f})"


if __name__ == "__main__":
    sys.exit(1 if main(int(sys.argv[1]) if len(sys.argv) > 1 else 40) else 0)
