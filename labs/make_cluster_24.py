"""Writes labs/cluster-24.yaml: 24 clients × 5 LAs, links and labels from a seed. Run: python labs/make_cluster_24.py.

Five sites on a map, an LA each, and a GA far away; clients live around the sites, and a link costs what the distance
is. Clients of one site hold mostly the site's own two labels, so that cheap clusters are unbalanced and balanced
clusters are dear.
"""

from __future__ import annotations

import math
import random
from pathlib import Path

SEED = 24
SITES = {"n2": (15, 20), "n3": (80, 15), "n4": (50, 50), "n5": (20, 80), "n6": (85, 85)}
CENTRE, FAR = (50, 35), 120  # of the GA, and what its distance from everything adds to a link
CLIENTS = [f"n{number}" for number in range(7, 31)]
COMMON, RARE = 40, 20  # samples of a site's own labels, and of one label from elsewhere

HEAD = """\
# 24 clients and 5 local aggregators: neighbours share labels, so what is cheap is unbalanced, and the strategies differ
# (see it with: aiotwin plan cluster-24 --strategies all). Written by labs/make_cluster_24.py from seed {seed}.
name: cluster-24
seed: 1
task: {{name: digits, model: mlp, batch_size: 32, learning_rate: 0.004, momentum: 0.9, test_samples: 500}}
model_size_mb: 3.3
nodes:
  - {{id: n1, role: global_aggregator}}
"""
TAIL = """\
training: {epochs: 2, local_rounds: 2, max_rounds: 100}
strategy: {name: min_comm_cost, args: {}}
aggregation: {global: {name: FedAvg, args: {}}, local: {name: FedAvg, args: {}}}
cost: {model: communication}
objective: {type: total_budget, budget: 250000, target_accuracy: null, overshoot: forbidden}
validation: {policy: rva, trend: log, window: 5, arm: fewer_rounds}
events: []
"""


def cost(a: tuple[float, float], b: tuple[float, float]) -> int:
    """Cost per MB: the distance on the map, at least 5."""
    return max(5, round(math.dist(a, b)))


def mapping(pairs: dict[object, int]) -> str:
    """A YAML flow mapping."""
    return "{" + ", ".join(f"{key}: {value}" for key, value in pairs.items()) + "}"


def main() -> None:
    """Write the lab beside this file."""
    draw = random.Random(SEED)
    lines = [
        f"  - {{id: {la}, role: local_aggregator, links: {mapping({'n1': FAR // 2 + cost(place, CENTRE)})}}}"
        for la, place in SITES.items()
    ]
    sites = [number % len(SITES) for number in range(len(CLIENTS))]
    draw.shuffle(sites)
    for client, site in zip(CLIENTS, sites, strict=True):
        home = list(SITES.values())[site]
        place = (draw.gauss(home[0], 12), draw.gauss(home[1], 12))
        links = {"n1": FAR + cost(place, CENTRE), **{la: cost(place, at) for la, at in SITES.items()}}
        own = [2 * site, 2 * site + 1]
        other = draw.choice([label for label in range(10) if label not in own])
        data = dict.fromkeys(own, COMMON) | {other: RARE}
        speed = draw.choice([200, 400, 800])
        facts = f"links: {mapping(links)}, data: {mapping(dict(sorted(data.items())))}"
        lines.append(f"  - {{id: {client}, role: client, {facts}, speed: {speed}}}")
    text = HEAD.format(seed=SEED) + "\n".join(lines) + "\n" + TAIL
    Path(__file__).with_name("cluster-24.yaml").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
