"""Placements against brute force: every combination of replicas, feasible by Hall's condition."""

from itertools import chain, combinations, product
from math import isclose

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiotwin_nb.errors import InvalidInput
from aiotwin_nb.inference.placement import Group, Host, Question, place

HOSTS = ("a", "b", "c")


@st.composite
def questions(draw):
    whole = st.integers(0, 8)
    hosts = tuple(
        Host(
            i,
            service_ms=draw(st.sampled_from([5, 10, 25])),
            slots=draw(st.integers(0, 2)),
            price=draw(whole),
            download=draw(whole),
        )
        for i in HOSTS
    )
    groups = tuple(
        Group(f"g{k}", draw(st.sampled_from(HOSTS)), draw(st.integers(0, 160)), draw(st.sampled_from([20, 80, 300])))
        for k in range(draw(st.integers(1, 4)))
    )
    ways = {a: {b: draw(st.sampled_from([1, 30, 120])) for b in HOSTS if draw(st.integers(0, 5))} for a in HOSTS}
    current = {h.id: draw(st.integers(0, h.slots)) for h in hosts}
    return Question(
        hosts,
        groups,
        ways,
        current=current,
        copies=frozenset(draw(st.sets(st.sampled_from(HOSTS)))),
        moving=draw(whole),
        horizon_h=draw(st.sampled_from([1.0, 3.0])),
        utilisation=0.5,
        quantile=0.5,
    )


def least_missed(question, replicas):
    """Requests per second that no routing can serve, by max-flow min-cut over all sets of groups."""
    room = {h.id: question.capacity(h) * replicas.get(h.id, 0) for h in question.hosts}
    reach = {g.id: set(question.within_reach(g)) for g in question.groups}
    subsets = chain.from_iterable(combinations(question.groups, n) for n in range(len(question.groups) + 1))
    return max(
        sum(g.rate for g in some) - sum(room[i] for i in set().union(*(reach[g.id] for g in some))) for some in subsets
    )


def brute_force(question):
    """(least missed rate, least cost at that)."""
    found = []
    for counts in product(*(range(h.slots + 1) for h in question.hosts)):
        replicas = {h.id: n for h, n in zip(question.hosts, counts, strict=True) if n}
        found.append((round(least_missed(question, replicas), 6), question.cost(replicas)))
    return min(found)


@given(questions())
@settings(max_examples=60, deadline=None)
def test_no_combination_is_better(question):
    missed, cost = brute_force(question)
    found = place(question)
    assert isclose(found.missed_rate, missed, abs_tol=1e-3)
    assert isclose(found.cost, cost, abs_tol=1e-6)
    assert found.gap <= 1e-6
    assert least_missed(question, found.replicas) == pytest.approx(missed, abs=1e-3)


@given(questions())
@settings(max_examples=25, deadline=None)
def test_routes_keep_bounds_and_capacities(question):
    found = place(question)
    taken = dict.fromkeys(HOSTS, 0.0)
    missed = {m.group: m.rate for m in found.missed}
    for group in question.groups:
        shares = found.routes[group.id]
        assert set(shares) <= set(question.within_reach(group))
        assert group.rate * sum(shares.values()) + missed.get(group.id, 0) == pytest.approx(group.rate, abs=1e-3)
        for host, share in shares.items():
            taken[host] += group.rate * share
    for host in question.hosts:
        assert taken[host.id] <= question.capacity(host) * found.replicas.get(host.id, 0) + 1e-3


NEAR = {"a": {"a": 0, "b": 10}, "b": {"b": 0, "a": 10}}


def test_who_misses_and_why():
    question = Question(
        (Host("a", 10, slots=1),),
        (Group("crowd", "a", 100, 200), Group("far", "b", 5, 30), Group("cut-off", "z", 5, 30)),
        NEAR,
    )
    found = place(question)
    reasons = {m.group: m.reason for m in found.missed}
    assert found.replicas == {"a": 1}
    assert reasons["crowd"].startswith("capacity: a can keep 200 ms, but take 70 requests/s")
    assert reasons["far"].startswith("latency: the nearest host, a, answers within 110 ms, and the bound is 30 ms")
    assert reasons["cut-off"].startswith("connection: no host with a slot can be reached from z")
    assert found.missed_rate == pytest.approx(40)


def test_a_download_is_paid_once_and_only_where_there_is_no_copy():
    hosts = (Host("a", 10, slots=2, price=1, download=100), Host("b", 10, slots=2, price=3))
    groups = (Group("g", "a", 120, 500),)
    assert place(Question(hosts, groups, NEAR)).replicas == {"b": 2}
    assert place(Question(hosts, groups, NEAR, copies=frozenset("a"))).replicas == {"a": 2}
    long_run = place(Question(hosts, groups, NEAR, horizon_h=100))
    assert long_run.replicas == {"a": 2}
    assert long_run.change_cost == 100


def test_nobody_asks():
    found = place(Question((Host("a", 10),), (Group("g", "a", 0, 100),), NEAR))
    assert (found.replicas, found.cost, found.missed, found.gap) == ({}, 0, (), 0)


def test_no_hosts():
    found = place(Question((), (Group("g", "a", 5, 100),), NEAR))
    assert found.replicas == {}
    assert [m.group for m in found.missed] == ["g"]


@pytest.mark.parametrize("wrong", [{"utilisation": 1.0}, {"quantile": 0.0}, {"horizon_h": 0}, {"moving": -1}])
def test_wrong_settings(wrong):
    with pytest.raises(InvalidInput, match=next(iter(wrong))):
        Question((), (), {}, **wrong)


def test_a_time_limit_leaves_a_placement_with_its_gap():
    """At no time at all, the rounded relaxation serves everybody and the gap says what may be missing."""
    hosts = tuple(Host(f"h{i}", 7 + i % 5, slots=3, price=1 + i % 3, download=i % 7) for i in range(40))
    ways = {h.id: {o.id: (i * 7 + j * 13) % 90 for j, o in enumerate(hosts)} for i, h in enumerate(hosts)}
    groups = tuple(Group(f"g{k}", f"h{k % 40}", 3 + k % 17, 90 + k % 3 * 40) for k in range(120))
    question = Question(hosts, groups, ways, utilisation=0.5)
    quick, good = place(question, time_limit_s=0.0), place(question, time_limit_s=30)
    assert quick.missed == good.missed == ()
    assert good.bound <= quick.cost
    assert quick.bound <= good.cost <= quick.cost + 1e-9
    assert quick.cost * (1 - quick.gap) == pytest.approx(quick.bound)
