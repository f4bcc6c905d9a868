"""Counts, latency quantiles and the bounded table of clients."""

import random
from statistics import quantiles

import pytest

from aiotwin_nb.inference.proxy.accounts import BOUNDS_MS, OTHERS, Clients, Tally


def test_a_request_counts_within_the_bound_up_to_the_bound_itself_and_never_when_it_failed():
    tally = Tally()
    for latency in (10, 300, 300.01):
        tally.answered(latency, 300)
    tally.failure()
    shown = tally.as_dict()
    assert (shown["requests"], shown["within_bound"], shown["failed"]) == (4, 2, 1)
    assert shown["share_within_bound"] == 0.5


def test_quantiles_are_right_within_the_width_of_a_bucket():
    tally, draw = Tally(), random.Random(1)
    values = [draw.lognormvariate(3, 1) for _ in range(5000)]
    for value in values:
        tally.answered(value, 300)
    exact = quantiles(values, n=100)
    for share, at in ((0.5, 49), (0.9, 89), (0.99, 98)):
        assert tally.quantile(share) == pytest.approx(exact[at], rel=0.25)
    assert tally.as_dict()["latency_ms"]["mean"] == pytest.approx(sum(values) / len(values))


def test_nothing_measured_is_null_and_the_far_end_is_finite():
    tally = Tally()
    assert tally.as_dict()["share_within_bound"] is None
    assert tally.as_dict()["latency_ms"] == {"mean": None, "p50": None, "p90": None, "p99": None}
    tally.answered(1e9, 300)
    assert tally.quantile(0.5) == BOUNDS_MS[-1]
    assert tally.cumulative()[-1] == ("+Inf", 1)


def test_the_client_not_seen_for_longest_is_forgotten_and_goes_on_counting_among_the_others():
    clients = Clients(2)
    clients.of("a").answered(1, 300)
    clients.of("b").answered(1, 300)
    clients.of("a").answered(1, 300)
    clients.of("c").failure()
    shown = clients.as_dict()
    assert list(shown) == ["a", "c", OTHERS]
    assert shown["a"]["requests"] == 2
    assert shown[OTHERS]["requests"] == 1
    for number in range(1000):
        clients.of(str(number)).answered(1, 300)
    assert len(clients.as_dict()) == 3
    assert clients.as_dict()[OTHERS]["requests"] == 1 + 2 + 1 + 998
