"""The last layer's change: which layer that is, how long the vector may get, and who is asked."""

from __future__ import annotations

import numpy as np
import pytest

from fl_service.pipeline import Pipeline
from fl_service.spec import ClientNode, Plan, TrainingSpec
from fl_service.stacked import StackedPipeline
from fl_service.updates import MOST, last_layer_change

NODES = [ClientNode(f"c{i}", ((i % 5, 20), (5 + i % 5, 20))) for i in range(5)]
HIERARCHY = Plan("ga", (("la1", ("c0", "c1", "c2")), ("la2", ("c3", "c4"))), 1, 2)
FLAT = Plan("ga", (("ga", ("c0", "c1", "c2", "c3", "c4")),), 2, 1)


def test_the_last_layer_is_the_last_matrix_and_its_biases():
    before = {"w1": np.ones((2, 3)), "b1": np.ones(2), "w2": np.zeros((2, 2)), "b2": np.zeros(2)}
    after = {"w1": np.zeros((2, 3)), "b1": np.zeros(2), "w2": np.array([[1, 2], [3, 4.0]]), "b2": np.array([5, 6.0])}
    assert last_layer_change(before, after) == [1, 2, 3, 4, 5, 6]
    assert last_layer_change({"b": np.zeros(2)}, {"b": np.array([1, 2])}) == [1, 2]


def test_a_large_layer_is_sketched_so_that_directions_stay():
    draw = np.random.default_rng(1)
    common = draw.normal(size=(100, 200))
    vectors = [common + draw.normal(size=common.shape) for _ in range(4)]
    zero = {"w": np.zeros_like(common)}
    short = np.array([last_layer_change(zero, {"w": v}) for v in vectors])
    assert short.shape == (4, MOST)
    long = np.array([v.ravel() for v in vectors])

    def cosines(rows):
        rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return rows @ rows.T

    assert np.abs(cosines(short) - cosines(long)).max() < 0.1
    total = last_layer_change(zero, {"w": sum(vectors)})
    assert total == pytest.approx(short.sum(axis=0))  # sums of updates are what clusters are scored by


@pytest.mark.parametrize("plan", [HIERARCHY, FLAT], ids=["hierarchy", "flat"])
def test_both_engines_report_the_first_local_round_where_asked(plan):
    reports = {}
    for asked in (True, False):
        spec = TrainingSpec(3, {"name": "digits", "test_samples": 200}, report_updates=asked)
        for kind in (Pipeline, StackedPipeline):
            pipeline = kind(spec)
            pipeline.start(NODES, ["la1", "la2", "ga"], plan)
            start = pipeline.run_round(1)
            if not asked:
                assert start.updates == {}
                continue
            reports[kind] = start.updates
            assert set(start.updates) == {node.name for node in NODES}
            assert pipeline.run_round(2).updates["c0"] != start.updates["c0"]
    for client, update in reports[Pipeline].items():
        assert len(update) == 32 * 10 + 10
        assert reports[StackedPipeline][client] == pytest.approx(update, abs=1e-5)
