"""The simulated continuum against what can be calculated by hand."""

import inspect
import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import yaml

from aiotwin_nb.errors import InvalidInput
from aiotwin_nb.inference.balancing import DEFAULT_POLICY, policies
from aiotwin_nb.inference.balancing.round_robin import RoundRobin
from aiotwin_nb.inference.simulator import (
    Client,
    Link,
    Node,
    Outage,
    Replica,
    Scenario,
    parse_scenario,
    simulate,
)
from aiotwin_nb.inference.simulator import scenario as scenario_module
from aiotwin_nb.inference.simulator.families import FAMILIES, family


def world(**changes):
    """Two nodes with an instance each, 20 ms apart; a client at one of them."""
    plain = Scenario(
        name="plain",
        seconds=60.0,
        bound_ms=100.0,
        nodes=(Node("n1"), Node("n2")),
        links=(Link(("n1", "n2"), 20.0, noise=0.0),),
        instances=(Replica("i1", "n1", 10.0, noise=0.0), Replica("i2", "n2", 10.0, noise=0.0)),
        clients=(Client("c1", "n1", 20.0),),
        local_ms=0.0,
    )
    return replace(plain, **changes)


def alone(**changes):
    replica = replace(Replica("i1", "n1", 10.0, noise=0.0), **changes)
    return world(instances=(replica,))


def test_the_same_seed_gives_the_same_bit_for_bit_and_another_one_another():
    first, again, other = (simulate(family("failure", s), DEFAULT_POLICY) for s in (3, 3, 4))
    for name in ("time", "client", "instance", "latency_ms", "attempts"):
        assert getattr(first, name).tobytes() == getattr(again, name).tobytes()
    assert first.latency_ms.tobytes() != other.latency_ms.tobytes()


def test_every_policy_meets_the_same_requests():
    results = [simulate(world(), name) for name in ("round_robin", "nearest", "oracle")]
    assert len({r.time.tobytes() for r in results}) == 1


def test_requests_come_at_the_rate_of_the_curve():
    curve = ((0.0, 100.0), (30.0, 100.0), (30.0, 400.0), (60.0, 400.0))
    time = simulate(world(clients=(Client("c", "n1", curve),)), "round_robin").time
    early = int((time < 30).sum())
    assert early == pytest.approx(3000, abs=220)
    assert len(time) - early == pytest.approx(12000, abs=440)


def test_a_queue_waits_as_long_as_queueing_theory_says():
    rate, work = 70.0, 0.010
    scenario = replace(alone(), seconds=300.0, clients=(Client("c", "n1", rate),))
    waited = simulate(scenario, "round_robin").latency_ms.mean() / 1000 - work
    busy = rate * work
    assert waited == pytest.approx(busy * work / (2 * (1 - busy)), rel=0.1)  # M/D/1, Pollaczek–Khinchine


def test_more_workers_work_at_the_same_time():
    rush = replace(alone(workers=2), clients=(Client("c", "n1", 150.0),))
    assert simulate(rush, "round_robin").qos > 0.95
    assert simulate(replace(rush, instances=alone().instances), "round_robin").qos < 0.2


def test_speed_background_and_link_make_the_latency():
    scenario = world(
        nodes=(Node("n1"), Node("n2", speed=2.0, background=0.75)),
        instances=(Replica("i2", "n2", 10.0, noise=0.0),),
        clients=(Client("c1", "n1", 0.5),),
    )
    assert np.median(simulate(scenario, "round_robin").latency_ms) == pytest.approx(20 + 10 / 2 / 0.25)


def test_what_is_refused_goes_to_another_instance_once():
    down = world(outages=(Outage("i1", 10.0, 40.0, seen_after_s=99.0),))
    result = simulate(down, "round_robin")
    assert np.isfinite(result.latency_ms).all()
    during = (result.time > 10) & (result.time < 40)
    assert set(result.instance[during]) == {1}
    assert result.attempts.sum() > len(result.time)


def test_a_silent_instance_costs_the_request():
    down = world(outages=(Outage("i1", 10.0, 40.0, silent=True, seen_after_s=99.0),))
    result = simulate(down, "round_robin")
    lost = np.isinf(result.latency_ms)
    assert lost.sum() == pytest.approx(20 * 30 / 2, rel=0.2)
    assert (result.time[lost] > 9.5).all()
    assert (result.time[lost] < 40).all()


def test_the_platform_takes_it_from_the_list_and_puts_it_back():
    seen = world(outages=(Outage("i1", 10.0, 40.0, silent=True, seen_after_s=2.0),))
    result = simulate(seen, "round_robin")
    lost = result.time[np.isinf(result.latency_ms)]
    assert lost.max() < 12.0
    first = result.time >= 42.0
    assert set(result.instance[first]) == {0, 1}
    assert set(result.instance[(result.time > 12.0) & (result.time < 42.0)]) == {1}


def test_without_any_instance_requests_fail():
    gone = replace(alone(), outages=(Outage("i1", 20.0, 40.0, seen_after_s=1.0),))
    result = simulate(gone, DEFAULT_POLICY)
    absent = (result.time > 21.0) & (result.time < 41.0)
    assert (result.instance[absent] == -1).all()
    assert np.isinf(result.latency_ms[absent]).all()
    assert result.qos == pytest.approx(1 - 21 / 60, abs=0.05)


def test_a_full_queue_refuses():
    result = simulate(replace(alone(queue=3), clients=(Client("c", "n1", 200.0),)), "round_robin")
    answered = result.latency_ms[np.isfinite(result.latency_ms)]
    assert answered.max() <= 40.0 + 1e-6  # three before it and itself
    assert len(answered) == pytest.approx(60 * 100, rel=0.02)


def test_an_answer_that_takes_too_long_is_not_waited_for():
    late = simulate(replace(alone(), clients=(Client("c", "n1", 200.0),), timeout_ms=500.0), "round_robin")
    assert np.isinf(late.latency_ms).any()
    assert late.latency_ms[np.isfinite(late.latency_ms)].max() <= 500.0 + 1e-6


def test_every_sending_is_followed_by_one_answer_or_failure(monkeypatch):
    under_way, ended = Counter(), Counter()

    class Spy(RoundRobin):
        def estimates(self, setting):
            known = super().estimates(setting)
            send = known.sent
            known.sent = lambda i, now: (send(i, now), under_way.update([i]))
            known.answered = lambda i, ms, now: ended.update([i])
            known.failed = lambda i, now: ended.update([i])
            return known

    monkeypatch.setitem(policies._items, "spy", Spy())
    result = simulate(family("failure", 1), "spy")
    assert under_way == ended
    assert sum(under_way.values()) == result.attempts.sum()


def test_probes_and_load_reach_the_policy(monkeypatch):
    pings, loads = [], []

    class Spy(RoundRobin):
        def estimates(self, setting):
            known = super().estimates(setting)
            known.pinged = lambda i, ms, now: pings.append((i, ms))
            known.loaded = lambda node, share, now: loads.append((node, share))
            return known

        def probes(self, instances, estimates, now):
            return instances if not pings else ()

    monkeypatch.setitem(policies._items, "spy", Spy())
    busy = world(nodes=(Node("n1", background=0.5), Node("n2")), clients=(Client("c", "n1", 40.0),))
    simulate(busy, "spy")
    assert dict(pings)["i1"] == pytest.approx(0.0)
    assert dict(pings)["i2"] == pytest.approx(20.0)
    assert len(loads) == 2 * 6
    assert np.mean([s for n, s in loads if n == "n1"]) == pytest.approx(0.5 + 0.5 * 20 * 0.02, abs=0.05)
    assert np.mean([s for n, s in loads if n == "n2"]) == pytest.approx(20 * 0.01, abs=0.05)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_oracle_is_ahead_of_every_policy(name):
    scenario = replace(family(name, 0), seconds=20.0)
    possible = simulate(scenario, "oracle").qos
    assert all(simulate(scenario, policy).qos <= possible for policy in policies.names())


def test_the_default_is_back_within_five_seconds_of_a_link_getting_slow():
    scenario = world(
        nodes=(Node("n1"), Node("n2"), Node("n3")),
        links=tuple(Link(("n1", n), curve) for n, curve in (("n2", ((0, 20), (30, 20), (30, 400), (60, 400))), ("n3", 40.0))),
        instances=(Replica("i2", "n2", 10.0, workers=2), Replica("i3", "n3", 10.0, workers=2)),
        clients=(Client("c1", "n1", 50.0),),
    )  # fmt: skip
    ours, possible = simulate(scenario, DEFAULT_POLICY), simulate(scenario, "oracle")
    after = ours.time > 35.0
    assert ours.kept[after].mean() >= 0.95 * possible.kept[after].mean()


def test_the_default_uses_an_instance_within_two_seconds_of_its_return():
    gone = world(outages=(Outage("i1", 10.0, 40.0, seen_after_s=0.0),), clients=(Client("c1", "n1", 50.0),))
    result = simulate(gone, DEFAULT_POLICY)
    back = (result.time > 40.0) & (result.time < 42.0)
    assert 0 in result.instance[back]
    assert np.isfinite(result.latency_ms).all()


def test_the_result_says_who_got_what():
    scenario = world(clients=(Client("c1", "n1", 20.0), Client("c2", "n2", 5.0)), bound_ms=25.0)
    result = simulate(scenario, "round_robin")
    assert sum(result.load().values()) == len(result.time)
    by_client = result.qos_by_client()
    assert by_client["c1"] == pytest.approx(0.5, abs=0.1)  # the other node is too far
    weights = np.bincount(result.client)
    assert result.qos == pytest.approx((by_client["c1"] * weights[0] + by_client["c2"] * weights[1]) / weights.sum())
    p10, p90 = result.quantiles(0.1, 0.9)
    assert p10 == pytest.approx(10.0)
    assert p90 >= 30.0 - 1e-6
    series = result.series(window_s=5.0)
    assert len(series["qos"]) == 12
    assert series["requests"].sum() == len(result.time)
    assert json.loads(json.dumps(result.summary()))["clients"] == by_client


@pytest.mark.parametrize("name", FAMILIES)
def test_families_are_determined_by_their_seed(name):
    assert family(name, 5) == family(name, 5)
    drawn = [family(name, seed) for seed in range(40)]
    assert len(set(drawn)) == 40


def test_an_unknown_family_is_named_with_those_there_are():
    with pytest.raises(InvalidInput, match=r"overload, failure.*Did you mean 'drift'"):
        family("drifts", 0)


class TestFile:
    def data(self):
        text = inspect.getdoc(scenario_module)
        return yaml.safe_load(text[text.index("    name: two-sites") :])

    def test_the_documented_form_is_read_and_runs(self):
        scenario = parse_scenario(self.data())
        assert scenario.nodes[0].background == ((0.0, 0.1), (20.0, 0.1), (20.0, 0.8), (60.0, 0.8))
        assert simulate(scenario, DEFAULT_POLICY).qos > 0.5

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"bound": 3}, "bound: Unexpected"),
            ({"seconds": "long"}, "seconds: Input should be a valid number"),
            ({"seconds": 0}, "seconds is 0; it must be above 0"),
            ({"clients": []}, "clients: there are none"),
            ({"clients": [{"id": "c", "node": "egde", "rate": 1}]}, "no 'egde'; known are cloud, edge. Did you mean 'edge'"),
            ({"clients": [{"id": "c", "node": "edge", "rate": -1}]}, "clients.c.rate must have values from 0"),
            ({"nodes": [{"id": "edge"}, {"id": "cloud"}, {"id": "edge"}]}, "'edge' is there twice"),
            ({"nodes": [{"id": "edge", "background": [[5, 0], [1, 0]]}, {"id": "cloud"}]}, "in the order of time"),
            ({"nodes": [{"id": "edge", "background": 1.0}, {"id": "cloud"}]}, "from 0 to 0.99"),
            ({"links": []}, "none between 'edge', where client 'camera' is, and 'cloud'"),
            ({"outages": [{"instance": "c1", "start": 5, "end": 5}]}, "outages.c1: end - start is 0"),
        ],
    )  # fmt: skip
    def test_what_cannot_be_simulated_is_refused_with_the_place(self, change, message):
        with pytest.raises(InvalidInput, match=message):
            parse_scenario(self.data() | change)
