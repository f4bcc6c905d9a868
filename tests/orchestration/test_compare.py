"""The road not taken, gone from where it parts: it must end as if gone from the start."""

from dataclasses import replace

import pytest
from fakes import FakeRuntime, RecordingTracker, node, rules

from aiotwin_nb.orchestration import compare
from aiotwin_nb.orchestration.loop import Orchestrator
from aiotwin_nb.orchestration.store import MemoryStore

JOIN = {"after_round": 3, "add": [node("n9", n3=100)]}
USELESS = {"after_round": 5, "add": [node("n10", n3=400)]}
LEAVE = {"after_round": 9, "remove": ["n6"]}
BACK = {"after_round": 12, "add": [node("n6", n2=20)]}
CASES = {
    "join": [JOIN],
    "leave": [{**LEAVE, "after_round": 3}],
    "join then leave": [JOIN, LEAVE],
    "two windows that overlap": [JOIN, USELESS],
    "all": [JOIN, USELESS, LEAVE, BACK],
    "too late to be worth it": [{**JOIN, "after_round": 20}],
}


class Counting(FakeRuntime):
    """Counts the rounds of all runtimes."""

    total = 0

    def run_round(self, number):
        Counting.total += 1
        return super().run_round(number)


def runtime():
    return Counting(weights={"n9": 2.5, "n10": -3.0, "n6": 0.2})


def from_the_start(the_rules, forks):
    branch = replace(the_rules, forks=forks, returning=True)
    return Orchestrator(branch, runtime(), MemoryStore(), RecordingTracker()).run("branch")


@pytest.mark.parametrize("arm", ["fewer_rounds", "always"])
@pytest.mark.parametrize("budget", [20000, 27000, 60000])
@pytest.mark.parametrize("events", CASES.values(), ids=CASES.keys())
def test_branches_end_as_if_run_from_the_start(events, budget, arm):
    the_rules = rules(objective__budget=budget, validation__window=3, validation__arm=arm, events=events)
    taken = Orchestrator(the_rules, runtime(), MemoryStore(), RecordingTracker()).run("taken")
    results = compare.compare_branches(the_rules, runtime, RecordingTracker())
    assert [r["after_round"] for r in results] == [r.after_round for r in taken.reconfigurations]
    for result in results:
        if result["decision"] == "refused":
            assert (result["kept"], result["reverted"]) == (None, compare._outcome(taken))
            continue
        other = "kept" if result["decision"] == "reverted" else "reverted"
        same = "reverted" if other == "kept" else "kept"
        assert result[same] == compare._outcome(taken)
        assert result[other] == compare._outcome(from_the_start(the_rules, {result["after_round"]: other}))


def test_what_branches_have_in_common_is_trained_once():
    the_rules = rules(objective__budget=27000, validation__window=3, events=[JOIN])
    Counting.total = 0
    (result,) = compare.compare_branches(the_rules, runtime, RecordingTracker())
    assert result["decision"] in ("kept", "reverted")
    assert Counting.total == result["kept"]["rounds"] + result["reverted"]["rounds"] - 6  # three, and the window


def test_without_a_snapshot_a_branch_begins_anew(monkeypatch):
    the_rules = rules(objective__budget=27000, validation__window=3, events=[JOIN])
    forked = compare.compare_branches(the_rules, runtime, RecordingTracker())
    monkeypatch.setattr(compare._Snapshots, "checkpoint", lambda *_: ("", ""))
    assert compare.compare_branches(the_rules, runtime, RecordingTracker()) == forked
