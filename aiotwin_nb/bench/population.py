"""A seeded population of scenarios with one event each: a node joins or leaves, or links change and nodes move.

Every scenario is a function of (data set, number). What varies: who holds which labels, what the joining node brings
(useful, rich, redundant, mislabelled, tiny), link costs, learning rate, budget, event round, epochs, local rounds and
window. From the number HARD_FROM on, a quarter are hard: few samples, of which each client has labelled a part wrongly,
so that runs slow down at 35–70 %; a rich newcomer brings a multiple of all data there.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aiotwin_nb.scenario import Scenario

LABELS = range(10)
KINDS = (
    "join-useful", "join-useful", "join-useful", "join-rich", "join-redundant", "join-redundant", "join-mislabelled",
    "join-mislabelled", "join-mixed", "join-mixed", "join-tiny", "leave", "leave", "move", "move",
)  # fmt: skip
HARD_SHARE = 0.25
HARD_NOISE = (0.2, 0.6)  # share of wrong labels at every client
HARD_FROM = {"digits": 540, "fashion_mnist": 260}  # the scenarios before are as they were when they were first run


@dataclass(frozen=True)
class Ranges:
    """What a data set's scenarios are drawn from; learning rates are log-uniform, rounds count in old rounds."""

    samples: tuple[int, int]
    learning_rate: tuple[float, float]
    rounds: tuple[int, int]
    test_samples: int


DATA_SETS = {
    "digits": Ranges((15, 60), (0.0008, 0.012), (30, 80), 500),
    "fashion_mnist": Ranges((40, 120), (0.0004, 0.004), (25, 50), 2000),
}
HARD = {
    "digits": Ranges((4, 14), (0.01, 0.05), (30, 80), 500),
    "fashion_mnist": Ranges((4, 20), (0.003, 0.02), (25, 50), 2000),
}


def scenario(data_set: str, number: int) -> Scenario:
    """Return the population's scenario with a number, which is also its run seed."""
    rng, hard = random.Random(f"{data_set}/{number}"), is_hard(data_set, number)
    ranges = (HARD if hard else DATA_SETS)[data_set]
    kind = rng.choice(KINDS)
    labels = rng.sample(LABELS, 10)
    samples = rng.randint(*ranges.samples)
    clients = _clients(rng, labels, samples)
    events, extra = _event(rng, kind, labels, samples, clients)
    clients += extra
    local_rounds, epochs = rng.choice((1, 2, 2, 3)), rng.choice((1, 2, 2, 3))
    window = rng.choice((4, 5, 5, 6, 8))
    after_round = rng.randint(5, 16)
    cost = 3.3 * (200 + local_rounds * sum(min(c["links"]["n2"], c["links"]["n3"]) for c in clients))
    rounds = max(rng.randint(*ranges.rounds), after_round + 2 * window + 8)
    low, high = map(math.log, ranges.learning_rate)
    learning_rate = round(math.exp(rng.uniform(low, high)), 6)
    if hard:
        _make_hard(rng, clients + events.get("add", []), rich=kind == "join-rich")
    return Scenario.model_validate(
        {
            "name": f"{'hard-' if hard else ''}{kind}-{number}",
            "seed": number,
            "task": {
                "name": data_set,
                "learning_rate": learning_rate,
                "test_samples": ranges.test_samples,
            },
            "nodes": [
                {"id": "n1", "role": "global_aggregator"},
                {"id": "n2", "role": "local_aggregator", "links": {"n1": 100}},
                {"id": "n3", "role": "local_aggregator", "links": {"n1": 100}},
                *clients,
            ],
            "training": {"epochs": epochs, "local_rounds": local_rounds, "max_rounds": 400},
            "objective": {"budget": round(rounds * cost)},
            "validation": {"policy": "always_keep", "window": window, "arm": "always"},
            "events": [{"after_round": after_round, **events}],
        }
    )


def is_hard(data_set: str, number: int) -> bool:
    """Whether a scenario is one of the hard ones; drawn apart, so that no other draw depends on it."""
    return number >= HARD_FROM[data_set] and random.Random(f"{data_set}/{number}/hard").random() < HARD_SHARE


def _make_hard(rng: random.Random, clients: list[dict[str, Any]], *, rich: bool) -> None:
    """Make every client label a part of its samples wrongly; a rich newcomer brings 3–6 times as many again."""
    kind = rng.choice(("random", "random", "shift"))
    worst = 0.75 if kind == "shift" else 1.0  # with half of the labels shifted, nothing would be left to learn
    share = round(worst * rng.uniform(*HARD_NOISE), 2)
    for client in clients:
        already = client.get("label_noise", {"share": 0})["share"]
        if share > already:
            client["label_noise"] = {"kind": kind, "share": share}
        if rich and client["id"] == "n12":
            times = rng.randint(3, 6)
            client["data"] = {label: min(times * count, 120) for label, count in client["data"].items()}


def _clients(rng: random.Random, labels: list[int], samples: int) -> list[dict[str, Any]]:
    """Clients at the start: n4–n6 near n2, the others near n3; each holds a few labels, or a wide choice of them."""
    wide, missing = rng.random() < 0.3, rng.choice((0, 1, 1, 2, 3))
    known = labels[: 10 - missing]
    chunks = [known[i::3] for i in range(3)]
    clients = []
    for index in range(rng.choice((5, 5, 6, 7))):
        held = rng.sample(known, rng.randint(4, len(known))) if wide else chunks[index % 3]
        near_n2 = index < 3
        links = {"n1": 120, "n2": 20 if near_n2 else 60, "n3": 60 if near_n2 else 20}
        clients.append(_client(f"n{4 + index}", links, dict.fromkeys(held, samples)))
    return clients


def _client(name: str, links: Mapping[str, float], data: Mapping[int, int]) -> dict[str, Any]:
    return {"id": name, "role": "client", "links": links, "data": data}


def _event(
    rng: random.Random, kind: str, labels: list[int], samples: int, clients: list[dict[str, Any]]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the event, and clients that must be there before it."""
    if kind == "move":
        return {"link": _moved_links(rng, clients)}, []
    link = round(math.exp(rng.uniform(math.log(20), math.log(260))))
    links = {"n1": link + 50, "n2": link + 20, "n3": link}
    if kind == "leave":
        node = _newcomer(
            rng, rng.choice(("join-useful", "join-redundant", "join-mislabelled")), labels, samples, clients
        )
        return {"remove": ["n12"]}, [{**node, "links": links}]
    return {"add": [{**_newcomer(rng, kind, labels, samples, clients), "links": links}]}, []


def _moved_links(rng: random.Random, clients: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """New link costs after which two or four clients are cheaper at the other aggregator."""
    near_n2, near_n3 = (
        [c["id"] for c in clients if (c["links"]["n2"] < c["links"]["n3"]) == wanted] for wanted in (True, False)
    )
    count = min(rng.choice((1, 2)), len(near_n3))
    moved = {i: {"n2": 80, "n3": rng.choice((5, 10, 15))} for i in rng.sample(near_n2, count)}
    return moved | {i: {"n3": 80, "n2": rng.choice((5, 10, 15))} for i in rng.sample(near_n3, count)}


def _newcomer(
    rng: random.Random, kind: str, labels: list[int], samples: int, clients: list[dict[str, Any]]
) -> dict[str, Any]:
    """Return the node that joins, or that is there to leave: n12."""
    held = {label for client in clients for label in client["data"]}
    unseen = [label for label in labels if label not in held]
    known = [label for label in labels if label in held]
    count = samples
    noise: dict[str, Any] = {"kind": "none", "share": 0}
    if kind == "join-useful":
        brought = (unseen or known[-1:]) + rng.sample(known, rng.randint(0, 3))
    elif kind == "join-mixed":
        brought = rng.sample(labels, rng.randint(1, 6))
    else:
        brought = rng.sample(known, rng.randint(2, 5))
    if kind == "join-rich":  # nothing new, but more of it than all others have
        brought, count = rng.sample(known, min(len(known), rng.randint(4, 8))), min(samples * rng.randint(3, 6), 120)
    if kind == "join-tiny":
        brought, count = brought + unseen[:1], rng.randint(2, 6)
    if kind == "join-mislabelled":
        brought += unseen[: rng.choice((0, 0, 1))]
        noise = {"kind": rng.choice(("shift", "random")), "share": rng.choice((0.3, 0.5, 0.7, 1.0))}
    node = _client("n12", {}, dict.fromkeys(dict.fromkeys(brought), count))
    return {**node, "label_noise": noise}
