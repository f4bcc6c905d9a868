"""What is foretold of a change is what a run with that change then journals."""

from dataclasses import replace
from decimal import Decimal

import pytest
from fakes import FakeRuntime, RecordingTracker, node, rules

from aiotwin_nb.continuum import Change
from aiotwin_nb.errors import InvalidInput
from aiotwin_nb.orchestration.events import BoundaryReached, RoundStarted
from aiotwin_nb.orchestration.foretell import foretell
from aiotwin_nb.orchestration.inbox import parse_command
from aiotwin_nb.orchestration.loop import Orchestrator
from aiotwin_nb.orchestration.state import RunState, fold
from aiotwin_nb.orchestration.store import MemoryStore

JOIN = {"add": [node("n9", n3=100)]}
CASES = {
    "a validated join": (JOIN, 10, {}),
    "refused: the way back is not covered": (JOIN, 19, {"objective__budget": 30000}),
    "a client leaves, validated": ({"remove": ["n6"]}, 10, {}),
    "an aggregator is lost": ({"remove": ["n3"]}, 10, {}),
    "an aggregator is lost and the money is gone": ({"remove": ["n3"]}, 10, {"objective__budget": 13700}),
    "a link, nobody moves": ({"link": {"n4": {"n2": 21}}}, 10, {}),
    "a link, clients move": ({"link": {"n4": {"n2": 1}, "n7": {"n2": 1}, "n5": {"n3": 1}}}, 10, {}),
    "data": ({"data": {"n4": {"9": 40}}}, 10, {}),
    "validation is off": (JOIN, 10, {"validation__policy": "off"}),
    "decided beforehand": (JOIN, 10, {"validation__policy": "proactive"}),
    "an aggregator joins": ({"add": [{"id": "n0", "role": "local_aggregator", "links": {"n1": 5}}]}, 10, {}),
    "overshoot is allowed": (JOIN, 10, {"objective__overshoot": "allowed"}),
}


def command(**raw):
    return parse_command({"command": "inject", **raw})


def a_run(the_rules):
    """The events of a run to its end."""
    store = MemoryStore()
    Orchestrator(the_rules, FakeRuntime(), store, RecordingTracker()).run("run")
    return store.events


def at_boundary(the_rules, events, after_round):
    """The state just before a boundary, and the one just after what acts there."""
    cut = next(i for i, e in enumerate(events) if isinstance(e, BoundaryReached) and e.after_round == after_round)
    end = next((i for i, e in enumerate(events) if i > cut and isinstance(e, RoundStarted)), len(events))
    return fold(the_rules, events[:cut]), fold(the_rules, events[: end + 1])


@pytest.mark.parametrize("case", CASES)
def test_what_is_foretold_is_what_a_run_with_the_change_journals(case):
    raw, after_round, overrides = CASES[case]
    injected = command(**raw)
    quiet = rules("improvement", **{"objective__budget": 60000, "events": [], **overrides})
    scripted = rules(
        "improvement",
        **{"objective__budget": 60000, "events": [{"after_round": after_round, **raw}], **overrides},
    )
    before, after = at_boundary(scripted, a_run(scripted), after_round)
    told = foretell(replace(before, rules=quiet), injected.to_change())
    assert told.after_round == after_round
    assert (told.record,) == (after.reconfigurations or (None,))
    assert told.change_cost == sum(e.cost for e in after.ledger.entries if e.kind == "change")
    assert told.after.configuration == after.current
    assert told.after.round_cost == after.round_cost
    assert bool(told.ended) == (after.status != "running")
    if after.status != "running":
        assert after.message in told.ended


@pytest.mark.parametrize("case", sorted(CASES.keys() - {"decided beforehand"}))
def test_it_is_the_same_from_the_draft_and_from_the_middle_of_an_earlier_round(case):
    raw, after_round, overrides = CASES[case]
    quiet = rules("improvement", **{"objective__budget": 60000, "events": [], **overrides})
    events = a_run(quiet)
    cut = next(i for i, e in enumerate(events) if isinstance(e, RoundStarted) and e.round == 4)
    change = command(**raw).to_change()
    told = foretell(fold(quiet, events[: cut + 1]), change, after_round)
    assert told == foretell(RunState.before(quiet), change, after_round)
    before, _ = at_boundary(quiet, events, after_round)
    assert told == foretell(before, change)


def test_rounds_left_are_those_that_a_run_then_has():
    for overshoot in ("forbidden", "allowed"):
        quiet = rules(
            "improvement", events=[], objective__budget=40000, objective__overshoot=overshoot, validation__policy="off"
        )
        scripted = rules(
            "improvement", events=[{"after_round": 10, **JOIN}], objective__budget=40000, objective__overshoot=overshoot, validation__policy="off"
        )  # fmt: skip
        told = foretell(RunState.before(quiet), command(**JOIN).to_change(), 10)
        assert 10 + told.after.rounds_left == fold(scripted, a_run(scripted)).round
        assert 10 + told.before.rounds_left == fold(quiet, a_run(quiet)).round


def test_what_comes_before_is_taken_in_and_an_open_window_is_assumed_to_keep():
    scripted = rules("improvement", objective__budget=60000, events=[{"after_round": 3, **JOIN}])
    told = foretell(RunState.before(scripted), Change(removed=("n9",)), 20)
    assert told.assuming == ("the change after round 3 is kept",)
    assert "n9" in told.before.configuration.clients
    assert told.record.left == ("n9",)
    still_open = foretell(RunState.before(scripted), Change(removed=("n9",)), 5)
    assert still_open.assuming == ()


def test_commands_that_wait_act_first():
    quiet = rules("improvement", objective__budget=60000, events=[])
    waiting = [command(**JOIN, after_round=4), command(remove=["n8"])]
    told = foretell(RunState.before(quiet), Change(removed=("n9",)), 6, waiting=waiting)
    assert {"n9"} <= set(told.before.configuration.clients)
    assert "n8" not in told.before.configuration.clients
    assert foretell(RunState.before(quiet), Change(removed=("n9",)), 3, waiting=waiting).skipped


def test_a_run_that_ends_before_is_said_to():
    quiet = rules("improvement", objective__budget=13200, events=[])
    told = foretell(RunState.before(quiet), Change(removed=("n6",)), 20)
    assert told.after_round == 10
    assert "ends after round 10" in told.ended
    assert told.record is None
    assert told.change_cost == Decimal(0)
    stops = foretell(RunState.before(quiet), Change(removed=("n6",)), 5, waiting=[parse_command({"command": "stop"})])
    assert "stopped" in stops.ended


def test_the_past_cannot_be_foretold():
    quiet = rules("improvement", objective__budget=30000, events=[])
    events = a_run(quiet)
    with pytest.raises(InvalidInput, match="ended"):
        foretell(fold(quiet, events), Change(removed=("n6",)))
    before, _ = at_boundary(quiet, events, 9)
    with pytest.raises(InvalidInput, match="round 4 has passed; give 9 or more"):
        foretell(before, Change(removed=("n6",)), 4)
