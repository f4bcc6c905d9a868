"""What training shows reaches the strategy when it plans again, and survives a journal."""

import pytest
from fakes import FakeRuntime, RecordingTracker, node, rules

from aiotwin_nb import api
from aiotwin_nb.orchestration.events import Deployed, InfrastructureChanged, RoundFinished, decode, encode
from aiotwin_nb.orchestration.loop import Orchestrator
from aiotwin_nb.orchestration.ports import ClientResult, RoundResult
from aiotwin_nb.orchestration.state import Training, fold
from aiotwin_nb.orchestration.store import MemoryStore
from aiotwin_nb.orchestration.summary import summarise
from aiotwin_nb.planning.balance import imbalance
from aiotwin_nb.planning.updates import pack
from aiotwin_nb.scenario import load_scenario

DATA = {"n4": [1, 0], "n5": [1, 0], "n6": [1, 0], "n7": [0, 1], "n8": [0, 1]}  # near n2: n4–n6, near n3: n7 and n8
NEARER = [{"after_round": 4, "link": {"n8": {"n3": 19}}}]


class Showing(FakeRuntime):
    """A runtime whose clients' updates and norms are given."""

    def __init__(self, norms=None):
        super().__init__()
        self.norms = norms or {}

    def _result(self, number):
        result = super()._result(number)
        clients = tuple(
            ClientResult(c.client, c.aggregator, k, 10, 1.0, 0.0, self.norms.get(c.client, 0.5) * k)
            for k in (1, 2)
            for c in result.clients
        )
        updates = {c: pack(DATA[c]) for c in self.members if number and c in DATA}
        return RoundResult(number, result.accuracy, 1.0, 0.01, clients, updates=updates)


def run(runtime, **overrides):
    the_rules = rules("improvement", objective__budget=30000, **overrides)
    store = MemoryStore()
    state = Orchestrator(the_rules, runtime, store, RecordingTracker()).run("t")
    return the_rules, state, store.events


def test_shape_plans_with_updates_from_the_first_change_on():
    shape = {"strategy": {"name": "shape", "args": {"gamma": 100}}, "validation__policy": "off", "events": NEARER}
    the_rules, state, events = run(Showing(), **shape)
    assert state.initial.configuration.clusters[0] == ("n2", ("n4", "n5", "n6"))
    (record,) = state.reconfigurations
    for _, members in record.configuration.clusters:
        assert {tuple(DATA[c]) for c in members} == {(1, 0), (0, 1)}
    again = fold(the_rules, [decode(*encode(event)) for event in events])
    assert again.training == state.training
    assert summarise(again) == summarise(state)


def test_select_leaves_out_those_whose_data_move_the_model_least():
    norms = {"n4": 0.1, "n5": 0.9, "n6": 0.8, "n7": 0.7, "n8": 0.6}
    select = {"strategy": {"name": "select", "args": {"keep": 4, "utility": "update_norm"}}}
    _, state, events = run(Showing(norms), validation__policy="off", events=NEARER, **select)
    assert set(state.initial.configuration.clients) == {"n4", "n5", "n6", "n7", "n8"}
    deployed = [event.configuration for event in events if isinstance(event, Deployed)]
    assert "n4" not in deployed[-1].clients
    assert len(deployed[-1].clients) == 4


def test_drops_take_the_last_local_round_of_the_latest_round():
    norms = {"n4": 0.5, "n5": 0.9, "n6": 0.8, "n7": 0.3, "n8": 0.6}
    drop = [{"after_round": 4, "drop": {"clients": 1, "utility": "update_norm"}}]
    _, state, _ = run(Showing(norms), validation__policy="off", events=drop)
    assert state.reconfigurations[0].trigger.avoided == ("n7",)


def test_a_member_that_never_delivered_is_dropped_first():
    class Silent(Showing):
        def _result(self, number):
            result = super()._result(number)
            delivered = tuple(c for c in result.clients if c.client != "n5")
            return RoundResult(number, result.accuracy, 1.0, 0.01, delivered)

    drop = [{"after_round": 4, "drop": {"clients": 1, "utility": "update_norm"}}]
    _, state, _ = run(Silent(), validation__policy="off", events=drop)
    assert state.reconfigurations[0].trigger.avoided == ("n5",)


def test_other_data_are_another_client():
    training = Training({"n4": 0.5, "n5": 0.5}, {"n4": pack([1.0]), "n5": pack([1.0])})
    assert training.without({"n4"}) == Training({"n5": 0.5}, {"n5": pack([1.0])})
    events = [
        {"after_round": 3, "data": {"n4": {9: 10}}},
        {"after_round": 5, "remove": ["n5"]},
        {"after_round": 7, "add": [node("n5")]},
    ]
    _, _, events = run(Showing(), validation__policy="off", events=events)
    seen = {}
    the_rules = rules("improvement", objective__budget=30000, validation__policy="off")
    for i, event in enumerate(events):
        if isinstance(event, InfrastructureChanged):
            state = fold(the_rules, events[: i + 1])
            seen[event.after_round] = set(state.training.norms)
    assert seen == {3: {"n5", "n6", "n7", "n8"}, 5: {"n4", "n6", "n7", "n8"}, 7: {"n4", "n6", "n7", "n8"}}


# Real training.

REAL = {
    "strategy": {"name": "shape", "args": {"gamma": 50}},
    "objective.budget": 200000,
    "training.max_rounds": 6,
    "validation.policy": "off",
    "events": [{"after_round": 3, "link": {"n9": {"n4": 30}}}],
}


@pytest.mark.slow
def test_a_real_run_balances_labels_that_nobody_has_told_and_resumes_the_same(tmp_path):
    scenario = load_scenario("cluster-24", overrides=REAL)
    whole = api.execute(scenario, tmp_path / "whole", tracking="off")
    (record,) = whole.reconfigurations
    before, after = (imbalance(scenario.infrastructure, c) for c in (record.previous, record.configuration))
    best = imbalance(scenario.infrastructure, api.check(_with(scenario, "min_kld")).plan(scenario.infrastructure, None))
    assert before > 0.5
    assert after < best + 0.1

    class Killed(BaseException):
        """Stands for the process dying."""

    def die(event, state):
        if isinstance(event, RoundFinished) and event.result.round == 3:
            raise Killed

    with pytest.raises(Killed):
        api.execute(scenario, tmp_path / "run", tracking="off", listeners=[die])
    resumed = api.continue_run(tmp_path / "run", tracking="off")
    assert resumed.reconfigurations == whole.reconfigurations
    assert [row.accuracy for row in resumed.history] == [row.accuracy for row in whole.history]
    journal = (tmp_path / "whole" / "journal.jsonl").stat().st_size
    assert journal < 24 * 6 * 1000, "more than a kilobyte a client and round"


def _with(scenario, strategy):
    return scenario.model_copy(update={"strategy": scenario.strategy.model_copy(update={"name": strategy, "args": {}})})
