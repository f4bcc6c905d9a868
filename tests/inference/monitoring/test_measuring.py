"""Windows of quality, accuracy from late labels, and the rows that come of them."""

import random

import numpy as np
import pytest

from aiotwin_nb.errors import InvalidInput
from aiotwin_nb.inference.monitoring import Answer, Labels, Latencies, Windows, wilson
from aiotwin_nb.inference.monitoring.metrics import window_row


def test_quantiles_are_within_one_percent():
    draw = random.Random(1)
    values = [draw.lognormvariate(3, 1.5) for _ in range(5000)]
    found = Latencies()
    for value in values:
        found.add(value)
    for q in (0.01, 0.5, 0.95, 0.999):
        assert found.quantile(q) == pytest.approx(np.quantile(values, q, method="inverted_cdf"), rel=0.0101)
    assert found.sum_ms == pytest.approx(sum(values))
    assert Latencies().quantile(0.5) is None


def test_a_window_counts_by_client_instance_and_node():
    windows = Windows(now=10.0)
    windows.add(Answer("west", "a", "n1", 20, bound_ms=100))
    windows.add(Answer("west", "b", "n2", 150, bound_ms=100))
    windows.add(Answer("east", "b", "n2", 5, bound_ms=100, ok=False))
    windows.add(Answer("east", "", "", 0, bound_ms=100, ok=False))  # nobody was there
    window = windows.close(12.0, {"n1": 0.5})
    assert (window.number, window.start, window.seconds) == (0, 10.0, 2.0)
    assert (window.total.requests, window.total.within, window.total.failed) == (4, 1, 2)
    assert window.clients["west"].qos_share == 0.5
    assert window.clients["east"].qos_share == 0
    assert window.clients["east"].p50_ms is None
    assert {i: q.requests for i, q in window.instances.items()} == {"a": 1, "b": 2}
    assert window.nodes["n2"].failed == 1
    empty = windows.close(13.0)
    assert empty.number == 1
    assert empty.total.qos_share is None
    row = window_row(window)
    assert row["inference/qos_share"] == 0.25
    assert row["inference/client/west/p95_ms"] == pytest.approx(150, rel=0.011)
    assert row["inference/node/n1/load"] == 0.5
    assert "inference/qos_share" not in window_row(empty)
    assert all(isinstance(value, int | float) for value in row.values())


def test_labels_are_joined_late_partly_and_in_any_order():
    labels = Labels(size=3)
    for k in range(6):
        labels.predicted(f"p{k}", k % 2, now=k, model="m1" if k < 3 else "m2")
    assert labels.labelled("p5", 1, now=10) is True
    assert labels.labelled("p5", 1, now=10) is None  # only once
    assert labels.labelled("other", 1, now=10) is None
    assert labels.labelled("p0", 1, now=11) is False
    assert labels.window() is None
    assert labels.labelled("p2", 0, now=12) is True
    window = labels.window()
    assert (window.labelled, window.correct, window.coverage) == (3, 2, 0.5)
    assert window.models == {"m2": (1, 1), "m1": (2, 1)}
    assert window.delay_s == 10
    assert window.accuracy == pytest.approx(66.67, abs=0.01)
    assert window.interval[0] < window.accuracy < window.interval[1]
    assert labels.window() is None
    assert labels.unknown == 2
    row = window_row(Windows().close(1.0), window)
    assert row["inference/accuracy"] == window.accuracy


def test_predictions_without_labels_are_forgotten():
    labels = Labels(size=1, keep_s=10, most=3)
    for k in range(5):
        labels.predicted(f"p{k}", 0, now=0)
    assert (labels.waiting, labels.forgotten) == (3, 2)
    labels.predicted("late", 0, now=20)
    assert (labels.waiting, labels.forgotten) == (1, 5)


def test_wilson_covers_as_often_as_it_says():
    draw = np.random.default_rng(1)
    for share in (0.5, 0.9, 0.97):
        hits = [low <= share <= high for low, high in (wilson(int(n), 100) for n in draw.binomial(100, share, 2000))]
        assert np.mean(hits) > 0.92
    assert wilson(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize("wrong", [{"size": 0}, {"most": 0}, {"keep_s": 0}])
def test_wrong_limits(wrong):
    with pytest.raises(InvalidInput):
        Labels(**wrong)
