"""Changes while a window is open: its way back must stay true."""

import pytest
from fakes import FakeRuntime, RecordingTracker, node, rules

from aiotwin_nb.orchestration.loop import Orchestrator
from aiotwin_nb.orchestration.store import MemoryStore
from aiotwin_nb.orchestration.summary import summarise

JOIN = {"after_round": 10, "add": [node("n9", n3=100, n2=120, n1=150)]}


def run(**overrides):
    runtime = FakeRuntime()
    state = Orchestrator(rules("improvement", **overrides), runtime, MemoryStore(), RecordingTracker()).run("t")
    return summarise(state), runtime


def test_members_leave_and_the_rearrangement_is_refused():
    summary, runtime = run(objective__budget=27500, events=[JOIN, {"after_round": 12, "remove": ["n4", "n5"]}])
    assert summary["status"] == "finished"
    assert "n4" not in runtime.members
    assert summary["reconfigurations"][0]["decision"] in ("kept", "reverted", "undecided")


@pytest.mark.parametrize("budget", range(20000, 23001, 500))
def test_a_missing_member_comes_back_inside_the_window(budget):
    back = {"id": "n6", "role": "client", "links": {"n1": 120, "n2": 20, "n3": 60}, "data": {6: 40}}
    events = [{"after_round": 10, "remove": ["n6"]}, {"after_round": 12, "add": [back]}]
    summary, _ = run(objective__budget=budget, validation__arm="always", events=events)
    assert summary["status"] == "finished"
    assert summary["total_cost"] <= budget


def test_link_change_inside_the_window_changes_the_price_of_the_way_back():
    inside, _ = run(events=[JOIN, {"after_round": 12, "link": {"n4": {"n2": 25}}}])
    before, _ = run(events=[JOIN, {"after_round": 10, "link": {"n4": {"n2": 25}}}])
    left = [s["reconfigurations"][0]["rounds_left_old"] for s in (inside, before)]
    # the same old configuration at the same price: only what was spent in two rounds differs
    assert abs(left[0] - left[1]) <= 1


def test_window_that_is_full_with_the_last_round_is_decided_but_nothing_is_paid():
    summary, runtime = run(training__max_rounds=15, validation__policy="always_revert")
    (record,) = summary["reconfigurations"]
    assert (summary["stop_reason"], record["decision"]) == ("rounds", "reverted")
    assert "nothing was changed back" in record["reason"]
    assert [e["kind"] for e in summary["ledger"]].count("revert") == 0
    assert "n9" in runtime.members


def test_lost_aggregator_closes_the_window():
    summary, _ = run(events=[JOIN, {"after_round": 12, "remove": ["n2"]}])
    first, second = summary["reconfigurations"]
    assert (first["decision"], first["evaluation_round"]) == ("undecided", None)
    assert second["decision"] == "forced"
