"""What Flower costs per global round: `python tests/benchmarks/bench_flower_overhead.py [repeats]`.

2 local aggregators × 4 clients × 2 local rounds over a model of 62 006 parameters; clients do no training, so what is
measured is messages, strategies and averaging. Side by side in one run: plain function calls with the same averaging,
Flower's ClientApp and strategies over the in-process grid, and, where ray is installed, Flower's own simulation (there
one "global round" is two FedAvg rounds of the 8 clients, the same number of calls).
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from statistics import median
from time import perf_counter

import numpy as np
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from fl_service.aggregation import build
from fl_service.grid import InProcessGrid, Registry
from fl_service.hierarchy import GlobalAggregator, LocalAggregator
from fl_service.records import to_arrays, to_record
from fl_service.spec import Plan

TARGET = 0.120  # seconds
SHAPES = [(6, 3, 5, 5), (6,), (16, 6, 5, 5), (16,), (120, 400), (120,), (84, 120), (84,), (10, 84), (10,)]
MODEL = {str(i): np.random.default_rng(i).random(shape, np.float32) for i, shape in enumerate(SHAPES)}
CLUSTERS = (("la1", ("c1", "c2", "c3", "c4")), ("la2", ("c5", "c6", "c7", "c8")))
LOCAL_ROUNDS = 2

Arrays = dict[str, np.ndarray]


def no_training(arrays: Arrays) -> Arrays:
    """Stand for a client: a new model that costs next to nothing."""
    return {key: array + np.float32(1e-6) for key, array in arrays.items()}


def average(models: list[Arrays]) -> Arrays:
    """Average models of equal weight, as FedAvg does."""
    weight = np.float32(1 / len(models))
    return {key: sum((m[key] * weight for m in models[1:]), models[0][key] * weight) for key in models[0]}


def plain_round(arrays: Arrays) -> Arrays:
    """Run one global round by plain function calls."""
    tops = []
    for _, clients in CLUSTERS:
        local = arrays
        for _ in range(LOCAL_ROUNDS):
            local = average([no_training(local) for _ in clients])
        tops.append(local)
    return average(tops)


def client_app() -> ClientApp:
    """Return the client as a Flower ClientApp."""
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        arrays = no_training(to_arrays(message.content.array_records["arrays"]))
        content = RecordDict({"arrays": to_record(arrays), "metrics": MetricRecord({"num-examples": 1})})
        return Message(content, reply_to=message)

    return app


def flower_round() -> Callable[[ArrayRecord], ArrayRecord]:
    """Return a function that runs one global round with Flower over the in-process grid."""
    registry, app, number = Registry(1), client_app(), iter(range(1, 10**9))
    for aggregator, clients in CLUSTERS:
        local = LocalAggregator(build("FedAvg", {}), InProcessGrid(aggregator, registry, 1))
        registry.put(aggregator, local, {"name": aggregator})
        for client in clients:
            registry.put(client, app, {"name": client})
    registry.put("ga", app, {"name": "ga"})
    context = registry.members["ga"].context
    aggregator = GlobalAggregator(build("FedAvg", {}), InProcessGrid("ga", registry, 1), context)
    plan = Plan("ga", CLUSTERS, epochs=1, local_rounds=LOCAL_ROUNDS)
    return lambda record: aggregator.run_round(next(number), plan, record, {"lr": 0.1}).arrays


def timed(step: Callable, start: object, repeats: int) -> list[float]:
    """Return the seconds of each repeat of a step that is fed its own result."""
    value, seconds = step(step(start)), []
    for _ in range(repeats):
        began = perf_counter()
        value = step(value)
        seconds.append(perf_counter() - began)
    return seconds


def ray_rounds(repeats: int) -> list[float]:
    """Return the seconds of each pair of rounds in Flower's own simulation, its start left out."""
    from flwr.serverapp import Grid, ServerApp
    from flwr.simulation import run_simulation

    server, ticks = ServerApp(), []

    @server.main()
    def main(grid: Grid, context: Context) -> None:
        def note(number: int, arrays: ArrayRecord) -> MetricRecord:
            ticks.append(perf_counter())
            return MetricRecord()

        strategy = build("FedAvg", {})
        strategy.min_available_nodes = 8
        strategy.start(grid, to_record(MODEL), num_rounds=LOCAL_ROUNDS * (repeats + 1), evaluate_fn=note)

    run_simulation(server, client_app(), num_supernodes=8)
    pairs = ticks[1 + LOCAL_ROUNDS :: LOCAL_ROUNDS]  # the first pair starts the actors
    return [later - earlier for earlier, later in zip(ticks[1::LOCAL_ROUNDS], pairs, strict=False)][1:]


def show(name: str, seconds: list[float]) -> None:
    """Print one row: median and spread in milliseconds."""
    columns = "".join(f"{1000 * t:>9.1f}" for t in (median(seconds), min(seconds), max(seconds)))
    print(f"{name:<34}{columns}")


def main(repeats: int) -> int:
    """Print the table; 1 when the in-process grid misses its target."""
    print(f"{'ms per global round':<34}{'median':>9}{'least':>9}{'most':>9}   ({repeats} repeats)")
    plain = timed(plain_round, MODEL, repeats)
    show("plain function calls", plain)
    flower = timed(flower_round(), to_record(MODEL), repeats)
    show("Flower over the in-process grid", flower)
    if importlib.util.find_spec("ray") is None:
        print("ray not installed: pip install aiotwin-nb[bench]")
    else:
        show("Flower's Ray simulation", ray_rounds(min(repeats, 10)))
    overhead = median(flower) - median(plain)
    print(f"overhead {1000 * overhead:.1f} ms, target {1000 * TARGET:.0f} ms{'' if overhead <= TARGET else '  MISSED'}")
    return int(overhead > TARGET)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 30))
