"""What each policy is for."""

from collections import Counter
from math import inf

import pytest

from aiotwin_nb.inference.balancing import Setting, policies
from aiotwin_nb.inference.balancing.draws import draw
from aiotwin_nb.inference.balancing.qedgeproxy import QEdgeProxy, Rules
from aiotwin_nb.inference.services import Instance

A, B, C = (Instance(i, f"http://{i}", f"node-{i}") for i in "abc")
ALL = (A, B, C)


def proxy(name, node="", seed=0, bound_ms=100.0):
    policy = policies.get(name) if isinstance(name, str) else name
    return policy, policy.estimates(Setting(bound_ms, node, seed))


def answer(known, instance, latency_ms, now, times=1):
    for _ in range(times):
        known.sent(instance.id, now - latency_ms / 1000)
        known.answered(instance.id, latency_ms, now)


def fail(known, instance, now):
    known.sent(instance.id, now)
    known.failed(instance.id, now)


def choices(policy, known, now, requests, latency_ms=20.0):
    """How often each is chosen when all answer alike; one request at a time."""
    found = Counter()
    for number in range(requests):
        chosen = policy.choose(ALL, known, now + number / 100)
        answer(known, chosen, latency_ms, now + number / 100)
        found[chosen.id] += 1
    return found


def test_draws_are_uniform_and_differ_by_seed():
    drawn = [draw(7, n) for n in range(4000)]
    assert all(0 <= x < 1 for x in drawn)
    assert all(330 < count < 470 for count in Counter(int(10 * x) for x in drawn).values())
    assert sum(draw(8, n) > 0.5 and draw(7, n) > 0.5 for n in range(4000)) == pytest.approx(1000, abs=100)


def test_round_robin_gives_each_its_turn():
    policy, known = proxy("round_robin")
    assert [policy.choose(ALL, known, 0.0).id for _ in range(6) if known.sent("x", 0.0) is None] == list("bcabca")


def test_random_is_even_and_by_seed():
    assert all(250 < n < 350 for n in choices(*proxy("random", seed=1), 0.0, 900).values())
    one, other = ([proxy("random", seed=s)] for s in (1, 2))
    assert choices(*one[0], 0.0, 50) != choices(*other[0], 0.0, 50)


def test_nearest_takes_its_own_node_then_the_shortest_way():
    policy, known = proxy("nearest", node="node-b")
    for instance, ms in ((A, 5.0), (B, 50.0), (C, 1.0)):
        known.pinged(instance.id, ms, 0.0)
    assert policy.choose(ALL, known, 0.0) == B
    assert policy.choose((A, C), known, 0.0) == C
    known.pinged("c", inf, 20.0)
    assert policy.choose((A, C), known, 20.0) == A


def test_nearest_asks_for_probes_now_and_then():
    policy, known = proxy("nearest")
    assert policy.probes(ALL, known, 0.0) == ALL
    known.pinged("a", 5.0, 0.0)
    assert not policy.probes(ALL, known, 9.0)
    assert policy.probes(ALL, known, 10.0) == ALL


def test_least_latency_tries_all_and_takes_the_fastest():
    policy, known = proxy("least_latency")
    for instance, ms in ((A, 30.0), (B, 10.0)):
        answer(known, instance, ms, 0.0)
    assert policy.choose(ALL, known, 0.0) == C
    answer(known, C, 20.0, 0.0)
    assert policy.choose(ALL, known, 0.0) == B
    fail(known, B, 0.0)
    assert policy.choose(ALL, known, 0.0) == C


class TestOriginal:
    """The original's rules (qedgeproxy), number by number."""

    def test_moves_by_a_fifth_and_after_a_probe_by_seven_tenths(self):
        _, known = proxy("qedgeproxy")
        known.pinged("a", 10.0, 0.0)
        answer(known, A, 110.0, 0.0)
        assert known.known["a"].latency_ms == 80  # 0.3 * 10 + 0.7 * 110
        answer(known, A, 33.9, 0.0)
        assert known.known["a"].latency_ms == 70  # 0.8 * 80 + 0.2 * 33 = 70.6, in whole ms

    def test_is_random_among_those_below_the_bound(self):
        policy, known = proxy("qedgeproxy", node="node-c")
        for instance, ms in ((A, 99.0), (B, 20.0), (C, 100.0)):
            answer(known, instance, ms, 0.0)
        found = Counter(policy.choose(ALL, known, 0.0).id for n in range(400) if known.sent("x", 0.0) is None)
        assert set(found) == {"a", "b"}
        assert abs(found["a"] - 200) < 50

    def test_takes_the_lowest_when_it_is_told_to(self):
        policy, known = proxy(QEdgeProxy(Rules(at_random=False)))
        for instance, ms in ((A, 99.0), (B, 20.0), (C, 10.0)):
            answer(known, instance, ms, 0.0)
        assert policy.choose(ALL, known, 0.0) == C

    def test_nodes_with_nothing_left_come_last(self):
        policy, known = proxy("qedgeproxy")
        for instance, share in ((A, 0.96), (B, 0.95), (C, 0.96)):
            answer(known, instance, 10.0, 0.0)
            known.loaded(instance.node, share, 0.0)
        assert policy.choose(ALL, known, 0.0) == B
        assert policy.choose((A, C), known, 0.0) in (A, C)

    def test_without_one_below_the_bound_its_own_node_and_else_any(self):
        policy, known = proxy("qedgeproxy", node="node-c")
        assert policy.choose(ALL, known, 0.0) == C
        assert policy.choose((A, B), known, 0.0) in (A, B)

    def test_cools_down_30_seconds_times_the_failures_in_a_row(self):
        policy, known = proxy("qedgeproxy", node="node-a")
        fail(known, A, 0.0)
        assert policy.choose((A, B), known, 29.9) == B
        assert policy.choose((A, B), known, 30.0) == A
        fail(known, A, 30.0)
        assert policy.choose((A, B), known, 89.9) == B
        answer(known, A, 10.0, 90.0)
        assert not known.cooling("a", 90.0)

    def test_probes_first_and_then_when_few_keep_the_bound_once_a_minute(self):
        policy, known = proxy("qedgeproxy")
        assert policy.probes(ALL, known, 0.0) == ALL
        for instance in ALL:
            known.pinged(instance.id, 150.0, 0.0)
        assert not policy.probes(ALL, known, 60.0)
        assert policy.probes(ALL, known, 60.1) == ALL
        answer(known, B, 10.0, 60.0)  # a third keeps it: 30 % suffice
        assert not policy.probes(ALL, known, 61.0)

    def test_a_probe_replaces_no_young_answer_and_is_cached(self):
        _, known = proxy("qedgeproxy")
        known.pinged("a", 10.0, 0.0)
        known.pinged("a", 90.0, 99.0)
        assert known.known["a"].latency_ms == 10
        answer(known, A, 50.0, 100.0)
        known.pinged("a", 90.0, 200.0)
        assert known.known["a"].latency_ms == 38
        known.pinged("a", 70.0, 461.0)
        assert (known.known["a"].latency_ms, known.known["a"].probed) == (70, True)

    def test_a_probe_without_an_answer_counts_as_the_bound(self):
        _, known = proxy("qedgeproxy")
        known.pinged("a", inf, 0.0)
        assert known.known["a"].latency_ms == 100


class TestQosBandit:
    def test_shares_requests_among_all_that_are_good(self):
        policy, known = proxy("qos_bandit")
        for instance in ALL:
            answer(known, instance, 20.0, 0.0, times=20)
        assert min(choices(policy, known, 0.1, 300).values()) > 50

    def test_proxies_with_other_seeds_do_not_rush_to_the_same(self):
        found = []
        for seed in range(40):
            policy, known = proxy("qos_bandit", seed=seed)
            for instance in ALL:
                answer(known, instance, 20.0, 0.0, times=20)
            found.append(policy.choose(ALL, known, 0.1).id)
        assert max(Counter(found).values()) < 30

    def test_prefers_a_sure_one_to_a_faster_that_is_often_late(self):
        policy, known = proxy("qos_bandit")
        for ms in (5.0, 5.0, 150.0, 5.0, 150.0, 5.0) * 3:
            answer(known, A, ms, 0.0)
        answer(known, B, 60.0, 0.0, times=18)
        assert policy.choose((A, B), known, 0.0) == B

    def test_sees_a_queue_before_its_answers_are_late(self):
        policy, known = proxy("qos_bandit")
        for instance in (A, B):
            answer(known, instance, 40.0, 0.0, times=20)
        for _ in range(12):
            known.sent("a", 0.0)
        assert policy.choose((A, B), known, 0.01) == B

    def test_sees_that_one_has_been_silent_for_too_long(self):
        policy, known = proxy("qos_bandit")
        for instance in (A, B):
            answer(known, instance, 20.0, 0.0, times=20)
        known.sent("a", 0.0)
        assert {policy.choose((A, B), known, 0.09 + n / 1000).id for n in range(5)} == {"b"}

    def test_follows_a_step_within_some_answers(self):
        policy, known = proxy("qos_bandit")
        for instance in (A, B):
            answer(known, instance, 20.0, 0.0, times=100)
        answer(known, A, 300.0, 0.1, times=4)
        assert policy.choose((A, B), known, 0.1) == B

    def test_tries_a_failed_one_again_within_two_seconds_and_with_one_request(self):
        policy, known = proxy("qos_bandit")
        for instance in ALL:
            answer(known, instance, 20.0, 0.0, times=20)
        for number in range(8):
            fail(known, A, 10.0 + 2 * number)
        assert policy.choose(ALL, known, 24.3) != A
        trial = policy.choose(ALL, known, 25.6)
        assert trial == A
        known.sent("a", 25.6)
        assert policy.choose(ALL, known, 25.7) != A  # one at a time
        known.answered("a", 20.0, 25.8)
        answer(known, A, 20.0, 25.9, times=20)
        assert choices(policy, known, 26.0, 100)["a"] > 10

    def test_requests_that_fail_together_are_one_failure(self):
        _, known = proxy("qos_bandit")
        for _ in range(10):
            known.sent("a", 0.0)
        for _ in range(10):
            known.failed("a", 0.1)
        assert known.of["a"].failures == 1

    def test_forgets_that_one_was_slow(self):
        policy, known = proxy("qos_bandit")
        answer(known, A, 500.0, 0.0, times=20)
        answer(known, B, 102.0, 0.0, times=20)
        assert policy.choose((A, B), known, 0.0) == B
        answer(known, B, 102.0, 60.0, times=20)
        assert policy.choose((A, B), known, 60.0) == A

    def test_what_is_lost_anyway_spares_the_better_one(self):
        policy, known = proxy("qos_bandit")
        answer(known, A, 500.0, 0.0, times=20)
        answer(known, B, 200.0, 0.0, times=20)
        assert policy.choose((A, B), known, 0.0) == A

    def test_an_answer_nobody_waited_for_is_no_error(self):
        policy, known = proxy("qos_bandit")
        known.answered("a", 10.0, 0.0)
        known.failed("b", 0.0)
        assert policy.choose((A, B), known, 0.0) == A
