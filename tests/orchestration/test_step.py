"""The decision function on traces: rules of budget, force, refusal, windows, reverts; no training."""

import math
from decimal import Decimal

import pytest
from fakes import FakeRuntime, RecordingTracker, node, rules

from aiotwin_nb.errors import InvalidInput
from aiotwin_nb.orchestration.loop import Orchestrator, check_budget
from aiotwin_nb.orchestration.store import MemoryStore
from aiotwin_nb.orchestration.summary import summarise


def run(the_rules, runtime=None):
    runtime = runtime or FakeRuntime()
    state = Orchestrator(the_rules, runtime, MemoryStore(), RecordingTracker()).run("test")
    return summarise(state), runtime


def growing(rate=6.0):
    return lambda trained: min(100.0, 10 + rate * math.log(1 + max(trained, 0)))


def test_hands_on_figures():
    summary, _ = run(rules("hands-on"), FakeRuntime(weights={"n9": 40.0}))
    assert summary["initial"] == {
        "clusters": {"n2": ["n4", "n5", "n6"], "n3": ["n7", "n8"]},
        "round_cost": 1320,
        "aggregation_cost": 990,
    }
    (record,) = summary["reconfigurations"]
    assert record["clusters"] == {"n2": ["n4", "n5", "n6"], "n3": ["n7", "n8", "n9"]}
    assert (record["aggregation_cost"], record["change_cost"]) == (1320, 165)
    assert (record["round_cost_before"], record["round_cost_after"], record["post_cost"]) == (1320, 1980, 660)
    assert (record["evaluation_round"], record["budget_left_at_evaluation"]) == (16, 74755)
    assert (record["rounds_left_old"], record["rounds_left_new"], record["revert_cost"]) == (56, 37, 0)
    assert record["decision"] == "kept"
    assert summary["total_cost"] == 100485
    assert summary["rounds"] == 16 + 38


def test_a_hard_budget_is_never_exceeded_and_fully_used():
    summary, _ = run(rules("hands-on", objective__overshoot="forbidden"))
    assert summary["total_cost"] <= 100000
    assert summary["total_cost"] + summary["history"][-1]["cost"] > 100000
    assert (summary["status"], summary["stop_reason"]) == ("finished", "budget")


def test_ledger_adds_up_to_the_total_exactly():
    summary, _ = run(rules("hands-on"), FakeRuntime(weights={"n9": 40.0}))
    entries = summary["ledger"]
    assert sum(Decimal(str(e["cost"])) for e in entries) == Decimal(str(summary["total_cost"]))
    assert [e["kind"] for e in entries if e["kind"] != "round"] == ["change"]
    assert summary["history"][0]["total_cost"] == 0
    assert summary["history"][11]["total_cost"] == 10 * 1320 + 165 + 1980


def test_no_drift_over_many_rounds():
    from aiotwin_nb.orchestration.ledger import Ledger, LedgerEntry

    ledger = Ledger()
    for i in range(5000):
        ledger = ledger.charge(LedgerEntry(i, "round", Decimal("0.1")))
    assert ledger.total == Decimal("500.0")
    assert sum([0.1] * 5000) != 500.0


def test_a_worse_configuration_is_reverted_and_its_node_stays_outside():
    helpful = rules("improvement")
    summary, runtime = run(helpful, FakeRuntime(weights={"n9": -4.5}, accuracy=growing()))
    (record,) = summary["reconfigurations"]
    assert record["decision"] == "reverted"
    assert record["predicted_old"] > record["predicted_new"]
    assert record["revert_cost"] == 0
    assert summary["history"][-1]["clusters"] == {"n2": ["n4", "n5", "n6"], "n3": ["n7", "n8"]}
    assert "n9" in runtime.applied[0].clients
    assert "n9" not in runtime.applied[-1].clients
    assert [e["kind"] for e in summary["ledger"]].count("revert") == 1


def test_a_rejected_node_is_not_taken_in_again_by_a_later_event():
    two = rules("improvement", events=[
        {"after_round": 10, "add": [node("n9", n3=100)]}, {"after_round": 25, "add": [node("n10")]},
    ])  # fmt: skip
    summary, _ = run(two, FakeRuntime(weights={"n9": -4.5, "n10": 3.0}))
    first, second = summary["reconfigurations"]
    assert first["decision"] == "reverted"
    members = [c for clients in second["clusters"].values() for c in clients]
    assert "n10" in members
    assert "n9" not in members


def test_validation_off_keeps_without_a_window():
    summary, _ = run(rules("improvement", validation__policy="off"))
    (record,) = summary["reconfigurations"]
    assert record["decision"] == "not_validated"
    assert record["evaluation_round"] is None


def test_cheaper_change_is_not_armed_unless_asked():
    moved = {
        "validation__arm": "fewer_rounds",
        "events": [{"after_round": 10, "link": {"n4": {"n2": 1}, "n7": {"n2": 1}, "n5": {"n3": 1}}}],
    }
    summary, _ = run(rules("improvement", **moved))
    (record,) = summary["reconfigurations"]
    assert record["decision"] == "not_validated"
    assert record["post_cost"] < 0
    assert record["moved"]
    assert record["trigger"]["links"] == {"n4": {"n2": 1}, "n7": {"n2": 1}, "n5": {"n3": 1}}
    armed, _ = run(rules("improvement", **{**moved, "validation__arm": "always"}))
    assert armed["reconfigurations"][0]["evaluation_round"] == 15


def test_link_change_without_a_new_plan_only_changes_the_price():
    summary, _ = run(rules("improvement", events=[{"after_round": 10, "link": {"n4": {"n2": 21}}}]))
    assert summary["reconfigurations"] == []
    assert summary["history"][10]["cost"] == 1320
    assert summary["history"][11]["cost"] == pytest.approx(1320 + 2 * 3.3)


def test_change_that_does_not_fit_is_refused_for_the_budget():
    summary, runtime = run(rules("improvement", objective__budget=10 * 1320 + 165 + 5 * 1980 + 1319))
    (record,) = summary["reconfigurations"]
    assert record["decision"] == "refused"
    assert "budget" in record["reason"]
    assert [e["kind"] for e in summary["ledger"] if e["kind"] != "round"] == []
    assert all("n9" not in c.clients for c in runtime.applied)
    just_enough, _ = run(rules("improvement", objective__budget=10 * 1320 + 165 + 5 * 1980 + 1320))
    assert just_enough["reconfigurations"][0]["decision"] in ("kept", "reverted")


def test_a_lost_aggregator_forces_and_costs():
    summary, runtime = run(rules("improvement", events=[{"after_round": 10, "remove": ["n3"]}]))
    (record,) = summary["reconfigurations"]
    assert record["decision"] == "forced"
    assert record["change_cost"] == pytest.approx(3.3 * (5 * 120) / 2)  # one LA is left: flat, everybody on the GA
    assert runtime.applied[-1].is_flat
    assert runtime.applied[-1].epochs == 4


def test_a_forced_change_that_cannot_be_paid_ends_the_run():
    summary, _ = run(
        rules("improvement", objective__budget=10 * 1320 + 500, events=[{"after_round": 10, "remove": ["n3"]}])
    )
    assert (summary["status"], summary["stop_reason"]) == ("finished", "budget")
    assert summary["rounds"] == 10


def test_a_client_that_leaves_costs_nothing_and_is_forced():
    summary, _ = run(rules("improvement", events=[{"after_round": 10, "remove": ["n6"]}]))
    (record,) = summary["reconfigurations"]
    assert (record["decision"], record["change_cost"]) == ("forced", 0)
    assert "n6" not in summary["history"][-1]["clusters"]["n2"]


def test_removal_is_validated_when_asked_but_cannot_be_undone():
    useless, _ = run(rules("removal"), FakeRuntime(weights={"n9": -0.5}))
    assert useless["reconfigurations"][0]["decision"] == "kept"
    # only n9 makes the model any better, so without it the accuracy stands still
    only_n9 = FakeRuntime(weights={"n9": 4.0, **dict.fromkeys(["n4", "n5", "n6", "n7", "n8"], 0.0)})
    useful, _ = run(rules("removal"), only_n9)
    record = useful["reconfigurations"][0]
    assert record["predicted_old"] > record["predicted_new"]
    assert record["decision"] == "forced"
    assert "n9 is gone" in record["reason"]
    assert all("n9" not in c for row in useful["history"][11:] for c in row["clusters"].values())


def test_no_way_back_to_a_configuration_with_a_missing_node():
    summary, runtime = run(rules("removal", validation__policy="always_revert"))
    (record,) = summary["reconfigurations"]
    assert record["decision"] == "forced"
    assert "no way back" in record["reason"]
    assert "n9" not in runtime.members


def test_second_event_inside_the_window_returns_to_the_last_validated_configuration():
    two = rules("improvement", validation__policy="always_revert", events=[
        {"after_round": 10, "add": [node("n9", n3=100)]}, {"after_round": 12, "add": [node("n10")]},
    ])  # fmt: skip
    summary, runtime = run(two)
    first, second = summary["reconfigurations"]
    assert first["decision"] == "undecided"
    assert "together" in first["reason"]
    assert (second["decision"], second["evaluation_round"]) == ("reverted", 17)
    assert set(runtime.members) == {"n4", "n5", "n6", "n7", "n8"}


def test_member_of_the_validated_configuration_leaves_inside_the_window():
    two = rules("improvement", validation__policy="always_revert", events=[
        {"after_round": 10, "add": [node("n9", n3=100)]}, {"after_round": 12, "remove": ["n4"]},
    ])  # fmt: skip
    summary, runtime = run(two)
    assert summary["reconfigurations"][1]["decision"] in ("reverted", "forced")
    assert "n4" not in runtime.members
    assert set(runtime.members) <= {"n5", "n6", "n7", "n8", "n9"}


def test_joining_node_leaves_again_inside_the_window():
    two = rules(
        "improvement", events=[{"after_round": 10, "add": [node("n9", n3=100)]}, {"after_round": 12, "remove": ["n9"]}]
    )
    summary, runtime = run(two)
    assert [r["decision"] for r in summary["reconfigurations"]] == ["undecided", "forced"]
    assert set(runtime.members) == {"n4", "n5", "n6", "n7", "n8"}


def test_run_that_ends_inside_the_window_leaves_the_decision_pending():
    summary, _ = run(rules("improvement", training__max_rounds=12))
    assert summary["stop_reason"] == "rounds"
    assert summary["reconfigurations"][0]["decision"] == "pending"


def test_cost_min_stops_at_the_target():
    summary, _ = run(rules("improvement", objective={"type": "cost_min", "target_accuracy": 30, "budget": None}))
    assert (summary["status"], summary["stop_reason"]) == ("finished", "target")
    assert summary["final_accuracy"] >= 30
    assert all(row["accuracy"] < 30 for row in summary["history"][:-1])
    assert summary["budget"] is None


def test_last_client_gone_fails_the_run():
    everyone = ["n4", "n5", "n6", "n7", "n8"]
    the_rules = rules("improvement", events=[])
    from dataclasses import replace

    from aiotwin_nb.continuum import Change

    summary, _ = run(replace(the_rules, changes={5: Change(removed=tuple(everyone))}))
    assert (summary["status"], summary["stop_reason"]) == ("failed", "infeasible")


def test_budget_below_one_round_is_refused():
    with pytest.raises(InvalidInput, match=r"objective\.budget.*1000.*1320"):
        check_budget(rules("improvement", objective__budget=1000))
    check_budget(rules("improvement", objective__budget=1320))


def test_decide_is_pure():
    from aiotwin_nb.orchestration.events import RunStarted
    from aiotwin_nb.orchestration.state import RunState
    from aiotwin_nb.orchestration.step import decide

    before = RunState.before(rules())
    first, second = (decide(before, RunStarted("a", "b", 1, "c")) for _ in range(2))
    assert first == second
    assert before == RunState.before(rules())


# --- objectives -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("target", "reason"), [(30.0, "target"), (99.9, "budget")])
def test_both_stops_at_target_or_budget_whichever_comes_first(target, reason):
    changes = {"objective__type": "both", "objective__target_accuracy": target, "objective__overshoot": "forbidden"}
    summary, _ = run(rules("hands-on", **changes), FakeRuntime(weights={"n9": 40.0}))
    assert summary["stop_reason"] == reason
    assert summary["total_cost"] <= 100000
    assert (summary["final_accuracy"] >= target) == (reason == "target")


def test_a_settled_curve_ends_the_run_only_when_asked():
    flat = FakeRuntime(accuracy=lambda trained: 50.0)
    summary, _ = run(rules("hands-on", events=[], objective__stop_when_converged=True), flat)
    assert (summary["stop_reason"], summary["rounds"]) == ("converged", 7)
    summary, _ = run(rules("hands-on", events=[]), FakeRuntime(accuracy=lambda trained: 50.0))
    assert summary["stop_reason"] == "budget"


def test_a_joining_node_without_what_the_strategy_needs_stays_outside():
    from aiotwin_nb.scenario import load_scenario

    nodes = [n.model_dump(mode="json", exclude_none=True) for n in load_scenario("improvement").nodes]
    bare = [{"after_round": 3, "add": [{"id": "n9", "role": "client", "links": {"n1": 1, "n2": 1, "n3": 1}}]}]
    summary, _ = run(rules("hands-on", nodes=nodes, events=bare, strategy__name="min_kld", training__max_rounds=6))
    assert summary["status"] == "finished"
    assert "n9" not in str(summary["history"][-1]["clusters"])
