"""What makes the orchestrator act without a node joining or leaving: forecasts of overload and of benefit, drops."""

import pytest
from fakes import FakeRuntime, RecordingTracker, node, rules

from aiotwin_nb.decision import Row, forecast_load, foresee
from aiotwin_nb.errors import InvalidInput
from aiotwin_nb.orchestration.loop import Orchestrator
from aiotwin_nb.orchestration.store import MemoryStore
from aiotwin_nb.orchestration.summary import summarise

RISING = [0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
OVERLOAD = {"threshold": 0.9, "horizon": 3, "history": 4}


def run(runtime=None, **overrides):
    runtime = runtime or FakeRuntime()
    state = Orchestrator(rules("improvement", **overrides), runtime, MemoryStore(), RecordingTracker()).run("t")
    return summarise(state), runtime


@pytest.mark.parametrize(
    ("series", "expected"),
    [([0.1, 0.2, 0.3], 0.6), ([0.5, 0.5], 0.5), ([0.9, 0.95], 1.0), ([0.5, 0.1], 0.0), ([0.4], None), ([], None)],
)
def test_forecast_is_the_line_through_the_last_values(series, expected):
    assert forecast_load(series, 3) == (None if expected is None else pytest.approx(expected))


def test_forecast_looks_at_recent_values_only():
    assert forecast_load([0.9, 0.9, 0.9, 0.1, 0.1], 3, history=2) == pytest.approx(0.1)


def test_a_client_about_to_be_overloaded_leaves_before_it_is():
    summary, runtime = run(events=[], **{"nodes[5].load": RISING}, triggers__overload=OVERLOAD)
    (record,) = summary["reconfigurations"]
    assert record["trigger"]["avoided"] == ["n6"]
    assert record["trigger"]["proactive"] is True
    assert RISING[record["after_round"] - 1] < 0.9, "it acted only when the node was overloaded already"
    assert "n6" not in runtime.members


def test_an_overloaded_aggregator_gives_its_clients_away_and_comes_back_when_it_is_idle():
    series = [*RISING[2:], *[0.1] * 10]
    summary, _ = run(events=[], **{"nodes[2].load": series}, triggers__overload=OVERLOAD)
    first, second = summary["reconfigurations"][:2]
    assert first["trigger"]["avoided"] == ["n3"]
    assert list(first["clusters"]) == ["n1"]  # one LA is left: flat
    assert second["trigger"]["readmitted"] == ["n3"]
    assert sorted(second["clusters"]) == ["n2", "n3"]


def test_an_avoided_node_is_taken_back_when_the_validation_reverts_and_is_not_avoided_again():
    rules_ = {"events": [], "nodes[5].load": RISING, "triggers__overload": OVERLOAD}
    summary, runtime = run(**rules_, validation__policy="always_revert", validation__arm="always")
    (record,) = summary["reconfigurations"]
    assert record["decision"] == "reverted"
    assert "n6" in runtime.members


def test_without_a_trigger_load_changes_nothing():
    summary, _ = run(events=[], **{"nodes[5].load": RISING})
    assert summary["reconfigurations"] == []


def test_least_useful_clients_are_dropped_at_given_rounds():
    smaller = {"nodes[4].data": {3: 5}, "nodes[7].data": {3: 6}}
    events = [
        {"after_round": 4, "drop": {"clients": 1}},
        {"after_round": 8, "drop": {"clients": 1, "utility": "dataset_share"}},
    ]
    summary, runtime = run(events=events, **smaller)
    assert [r["trigger"]["avoided"] for r in summary["reconfigurations"]] == [["n5"], ["n8"]]
    assert set(runtime.members) == {"n4", "n6", "n7"}


def test_one_client_always_stays():
    summary, runtime = run(events=[{"after_round": 4, "drop": {"clients": 99}}])
    assert len(runtime.members) == 1
    assert summary["status"] == "finished"


def test_proactive_takes_what_brings_labels_and_refuses_what_only_costs():
    learning = FakeRuntime(accuracy=lambda trained: min(45.0, 10 + 5 * trained**0.5))
    new_labels, _ = run(
        learning,
        validation__policy="proactive",
        events=[{"after_round": 10, "add": [node("n9", n3=100, labels=(7, 8, 9))]}],
    )
    (taken,) = new_labels["reconfigurations"]
    assert taken["decision"] == "not_validated"
    assert taken["predicted_new"] > taken["predicted_old"]
    assert taken["trigger"]["proactive"] is True
    known, runtime = run(
        FakeRuntime(accuracy=lambda trained: min(45.0, 10 + 5 * trained**0.5)),
        validation__policy="proactive",
        events=[{"after_round": 10, "add": [node("n9", n3=200, labels=(0, 1, 2))]}],
    )
    (refused,) = known["reconfigurations"]
    assert refused["decision"] == "refused"
    assert refused["reason"].startswith("proactive: no improvement is predicted")
    assert "n9" not in runtime.members
    assert [e["kind"] for e in known["ledger"]].count("change") == 0


def test_foresight_needs_a_trend():
    from decimal import Decimal

    money = {
        "budget_left": Decimal(1000), "change_cost": Decimal(10), "round_cost_before": Decimal(10),
        "round_cost_after": Decimal(20), "coverage_before": 0.9, "coverage_after": 1.0, "trend": "log",
    }  # fmt: skip
    assert foresee([Row(0, 10.0, 2.0), Row(1, 20.0, 2.0)], **money) is None
    rows = [Row(r, 10.0 + r, 2.0) for r in range(8)]
    found = foresee(rows, **money)
    assert (found.rounds_left_old, found.rounds_left_new) == (100, 49)
    assert found.predicted_new / found.predicted_old != 1


def test_bad_triggers_are_refused():
    with pytest.raises(InvalidInput, match=r"triggers\.overload\.threshold"):
        rules("improvement", triggers__overload={"threshold": 1.5})
    with pytest.raises(InvalidInput, match="Did you mean 'divergence'"):
        rules("improvement", events=[{"after_round": 2, "drop": {"utility": "divergense"}}])
