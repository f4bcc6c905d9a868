"""A policy may ask for more rounds in the window; the orchestrator grants them while the budget covers the way back."""

import pytest
from fakes import FakeRuntime, RecordingTracker, rules

from aiotwin_nb.decision import Judgement, policies
from aiotwin_nb.orchestration.events import WindowExtended, decode, encode
from aiotwin_nb.orchestration.loop import Orchestrator
from aiotwin_nb.orchestration.state import fold
from aiotwin_nb.orchestration.store import MemoryStore
from aiotwin_nb.orchestration.summary import summarise

ASKED = []


@policies.register("hesitant_for_tests")
def hesitant(evidence):
    """Undecided as long as it may be, then reverts."""
    ASKED.append((evidence.evaluation_round, evidence.context["extra_rounds_left"]))
    if evidence.context["extra_rounds_left"]:
        return Judgement("undecided", "not sure yet", extend=True)
    return Judgement("reverted", "sure now")


@policies.register("never_sure_for_tests")
def never_sure(evidence):
    return Judgement("undecided", "never sure", extend=True)


@pytest.fixture(autouse=True)
def _forget():
    ASKED.clear()


def run(**overrides):
    the_rules = rules("improvement", **overrides)
    store = MemoryStore()
    state = Orchestrator(the_rules, FakeRuntime(), store, RecordingTracker()).run("test")
    return summarise(state), store.events, the_rules


def test_the_window_grows_to_twice_its_length_and_then_the_policy_decides():
    summary, events, _ = run(validation__policy="hesitant_for_tests", validation__window=3)
    assert ASKED == [(13, 3), (14, 2), (15, 1), (16, 0)]
    (record,) = summary["reconfigurations"]
    assert (record["decision"], record["evaluation_round"], record["reason"]) == ("reverted", 16, "sure now")
    assert [e.evaluation_round for e in events if isinstance(e, WindowExtended)] == [14, 15, 16]


def test_what_is_never_resolved_stays():
    summary, _, _ = run(validation__policy="never_sure_for_tests", validation__window=3)
    (record,) = summary["reconfigurations"]
    assert record["decision"] == "undecided"
    assert record["evaluation_round"] == 16
    assert "n9" in summary["history"][-1]["clusters"]["n3"]


def test_the_way_back_stays_covered_by_the_budget():
    needed = 10 * 1320 + 165 + 3 * 1980 + 1320  # the window and one round after the revert
    run(validation__policy="hesitant_for_tests", validation__window=3, objective__budget=needed + 1980)
    assert ASKED == [(13, 1), (14, 0)]
    ASKED.clear()
    summary, _, _ = run(validation__policy="hesitant_for_tests", validation__window=3, objective__budget=needed)
    assert ASKED == [(13, 0)]
    assert summary["total_cost"] <= needed


def test_policies_that_do_not_ask_are_never_extended():
    for policy in ("rva", "always_keep", "always_revert"):
        summary, events, _ = run(validation__policy=policy)
        assert not any(isinstance(event, WindowExtended) for event in events)
        assert summary["reconfigurations"][0]["evaluation_round"] == 15


def test_the_journal_holds_extensions():
    summary, events, the_rules = run(validation__policy="hesitant_for_tests", validation__window=3)
    again = fold(the_rules, [decode(*encode(event)) for event in events])
    assert summarise(again) == summary


def test_context_is_plain_data_about_both_configurations():
    import json

    seen = []

    @policies.register("curious_for_tests")
    def curious(evidence):
        seen.append(evidence.context)
        return "kept", "saw it"

    run(validation__policy="curious_for_tests")
    (context,) = seen
    assert json.loads(json.dumps(context))
    assert "n9" in context["labels"]
    assert "n9" not in context["labels_before"]
    assert [row[0] for row in context["clients"]["n9"]] == [11, 12, 13, 14, 15]
    assert "noise" not in json.dumps(context), "whether labels are wrong is the node's secret"
