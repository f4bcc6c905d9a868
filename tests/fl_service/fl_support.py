"""A small pipeline: two local aggregators, four clients with 20 samples each of the digits."""

from __future__ import annotations

from typing import Any

import numpy as np

from fl_service.pipeline import Pipeline, RoundReport
from fl_service.records import to_arrays
from fl_service.spec import ClientNode, Plan, TrainingSpec

CLIENTS = {
    name: ClientNode(name, tuple((label, 10) for label in labels))
    for name, labels in {"c1": (0, 1), "c2": (2, 3), "c3": (4, 5), "c4": (6, 7)}.items()
}
NODES = ["ga", "la1", "la2", *CLIENTS]
TWO_TIERS = Plan("ga", (("la1", ("c1", "c2")), ("la2", ("c3", "c4"))), epochs=1, local_rounds=2)
FLAT = Plan("ga", (("ga", ("c1", "c2", "c3", "c4")),), epochs=1, local_rounds=1)


def spec(**changes: Any) -> TrainingSpec:
    task = {"name": "digits", "learning_rate": 0.01, "batch_size": 8, "test_samples": 100, **changes.pop("task", {})}
    return TrainingSpec(changes.pop("seed", 1), task, **changes)


def model(pipeline: Pipeline) -> dict[str, np.ndarray]:
    return to_arrays(pipeline.model)


def assert_same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> None:
    assert a.keys() == b.keys()
    for key in a:
        assert a[key].dtype == b[key].dtype
        assert a[key].tobytes() == b[key].tobytes(), key


def steady(report: RoundReport) -> tuple[Any, ...]:
    """Return what of a report must be the same in a repetition: all but the seconds."""
    clients = [(c.client, c.aggregator, c.local_round, c.samples, c.train_loss, c.update_norm) for c in report.clients]
    return report.round, report.evaluation, clients, dict(report.problems)
