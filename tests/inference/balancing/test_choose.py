"""What holds for every balancing policy, whatever happened before."""

import copy
import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiotwin_nb.errors import InvalidInput
from aiotwin_nb.inference.balancing import DEFAULT_POLICY, Setting, policies
from aiotwin_nb.inference.services import Instance

NAMES = policies.names()
IDS = ("a", "b", "c", "d")
INSTANCES = tuple(Instance(i, f"http://{i}", f"node-{i}") for i in IDS)
BOUND_MS = 128.0
# Sums of these are exact, so that a shifted clock shows the very same differences.
ticks = st.integers(0, 2**12).map(lambda n: n / 256)
events = st.lists(
    st.tuples(
        st.sampled_from(("request", "request", "request", "end", "ping", "load")),
        st.sampled_from(IDS),
        ticks,
        st.sampled_from((None, 1.0, 100.0, BOUND_MS, 129.0, 5000.0)),  # a latency; None: failed
    ),
    max_size=40,
)
some_instances = st.lists(st.sampled_from(INSTANCES), min_size=1, unique=True)
each_policy = pytest.mark.parametrize("name", NAMES)


def lived(name, history, start=0.0, seed=0):
    """The policy, its estimates after a history, and the time then."""
    policy, now, under_way = policies.get(name), start, []
    known = policy.estimates(Setting(BOUND_MS, "node-b", seed))
    for what, instance, wait, value in history:
        now += wait
        if what == "request":
            known.sent(instance, now)
            under_way.append((instance, value))
        elif what == "end" and under_way:
            ended, latency = under_way.pop()
            known.failed(ended, now) if latency is None else known.answered(ended, latency, now)
        elif what == "ping":
            known.pinged(instance, float("inf") if value is None else value, now)
        elif what == "load":
            known.loaded(f"node-{instance}", min((value or 0.0) / 128, 1.0), now)
    return policy, known, now


def answer(known, instance, latency_ms, now):
    known.sent(instance, now - latency_ms / 1000)
    known.answered(instance, latency_ms, now)


@each_policy
@given(history=events, offered=some_instances)
@settings(max_examples=40, deadline=None)
def test_chooses_one_of_those_offered_and_changes_nothing(name, history, offered):
    policy, known, now = lived(name, history)
    before = pickle.dumps(known)
    chosen = policy.choose(offered, known, now)
    policy.probes(offered, known, now)
    assert chosen in offered
    assert pickle.dumps(known) == before
    assert policy.choose(offered, copy.deepcopy(known), now) == chosen
    assert all(probed in offered for probed in policy.probes(offered, known, now))


@each_policy
@given(history=events, offered=some_instances, data=st.data())
@settings(max_examples=30, deadline=None)
def test_the_order_of_the_instances_does_not_matter(name, history, offered, data):
    policy, known, now = lived(name, history)
    shuffled = data.draw(st.permutations(offered))
    assert policy.choose(shuffled, known, now) == policy.choose(offered, known, now)


@each_policy
@given(history=events, offered=some_instances, shift=st.integers(-(2**20), 2**20))
@settings(max_examples=30, deadline=None)
def test_only_differences_of_time_matter(name, history, offered, shift):
    policy, known, now = lived(name, history)
    _, later, then = lived(name, history, start=float(shift))
    assert policy.choose(offered, later, then) == policy.choose(offered, known, now)
    assert policy.probes(offered, later, then) == policy.probes(offered, known, now)


@each_policy
@given(history=events)
@settings(max_examples=20, deadline=None)
def test_one_that_is_alone_is_chosen_even_when_it_just_failed(name, history):
    policy, known, now = lived(name, history)
    for _ in range(3):
        known.sent("a", now)
        known.failed("a", now)
    assert policy.choose(INSTANCES[:1], known, now).id == "a"


@each_policy
def test_when_all_have_just_failed_one_is_chosen_still(name):
    policy, known, now = lived(name, ())
    for instance in IDS:
        known.sent(instance, now)
        known.failed(instance, now)
    assert policy.choose(INSTANCES, known, now) in INSTANCES


@pytest.mark.parametrize("name", [DEFAULT_POLICY, "qedgeproxy", "qedgeproxy_fastest", "least_latency"])
@given(history=events, seed=st.integers(0, 2**32), wait=st.floats(0, 0.25))
@settings(max_examples=30, deadline=None)
def test_one_that_just_failed_is_avoided_while_others_are_good(name, history, seed, wait):
    policy, known, now = lived(name, history, seed=seed)
    now += 60.0  # whatever was before is over
    while known_under_way(known):
        known.answered(known_under_way(known), 1.0, now)
    for _ in range(60):
        for instance in IDS:
            answer(known, instance, 20.0, now)
    known.sent("c", now)
    known.failed("c", now)
    for number in range(20):
        chosen = policy.choose(INSTANCES, known, now + wait * number / 20)
        assert chosen.id != "c"
        answer(known, chosen.id, 20.0, now + wait * number / 20)


def known_under_way(known):
    """An instance with a request under way, where the estimates say so."""
    return next((i for i, belief in known.of.items() if belief.way), None) if known_has_beliefs(known) else None


def known_has_beliefs(known):
    return isinstance(getattr(known, "of", None), dict)


def test_an_unknown_policy_is_named_with_those_there_are():
    with pytest.raises(InvalidInput, match=r"qos_bandit.*Did you mean 'nearest'"):
        policies.get("neares")


def test_the_default_is_registered():
    assert DEFAULT_POLICY in NAMES
