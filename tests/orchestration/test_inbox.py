import threading
import time

import pytest
from fakes import FakeRuntime, RecordingTracker, node, rules

from aiotwin_nb.errors import InvalidInput
from aiotwin_nb.orchestration.events import CommandApplied, CommandReceived, CommandRejected, RoundFinished
from aiotwin_nb.orchestration.inbox import find_mistakes, parse_command, submit
from aiotwin_nb.orchestration.loop import Orchestrator
from aiotwin_nb.orchestration.metrics import JournalSource
from aiotwin_nb.orchestration.rundir import RunDirectory
from aiotwin_nb.orchestration.state import RunState
from aiotwin_nb.orchestration.store import DirectoryStore
from aiotwin_nb.orchestration.summary import summarise

QUIET = {"events": [], "objective__budget": 30000}


class GuidedRuntime(FakeRuntime):
    """Calls a function at the beginning of given rounds."""

    def __init__(self, at, **more):
        super().__init__(**more)
        self.at = at

    def run_round(self, number):
        if number in self.at:
            self.at[number]()
        return super().run_round(number)


def guided(tmp_path, at, **overrides):
    the_rules = rules("improvement", **{**QUIET, **overrides})
    directory = RunDirectory.create(tmp_path / "run", the_rules.scenario)
    actions = {number: (lambda a=action: a(directory)) for number, action in at.items()}
    tracker = RecordingTracker()
    state = Orchestrator(the_rules, GuidedRuntime(actions), DirectoryStore(directory), tracker).run("run")
    return state, directory, tracker


def inject(**what):
    return lambda directory: submit(directory.inbox, parse_command({"command": "inject", **what}))


def test_injected_nodes_act_at_the_next_boundary(tmp_path):
    state, directory, _ = guided(tmp_path, {4: inject(add=[node("n9", n3=100)]), 12: inject(remove=["n6"])})
    first, second = summarise(state)["reconfigurations"]
    assert first["after_round"] == 4
    assert first["trigger"]["added"] == ["n9"]
    assert second["after_round"] == 12
    assert second["trigger"]["removed"] == ["n6"]
    events = directory.events()
    received = [e for e in events if isinstance(e, CommandReceived)]
    applied = [e for e in events if isinstance(e, CommandApplied)]
    assert [e.id for e in received] == [e.id for e in applied]
    assert [e.after_round for e in applied] == [4, 12]
    assert not list(directory.inbox.glob("*.json"))


def test_commands_are_journalled_while_a_round_is_running(tmp_path):
    seen = []

    def slow(directory):
        inject(remove=["n6"])(directory)
        for _ in range(50):
            time.sleep(0.05)
            if any(isinstance(e, CommandReceived) for e in directory.events()):
                seen.append(True)
                return

    guided(tmp_path, {4: slow})
    assert seen == [True]


def test_stop_rests_at_the_boundary_and_can_go_on(tmp_path):
    stop = lambda directory: submit(directory.inbox, parse_command({"command": "stop"}))  # noqa: E731
    state, directory, _ = guided(tmp_path, {5: stop})
    assert (state.status, state.stop_reason, state.round) == ("stopped", "stopped", 5)
    directory.own()
    store = DirectoryStore(directory)
    resumed = Orchestrator(rules("improvement", **QUIET), FakeRuntime(), store, RecordingTracker()).resume()
    whole, _, _ = guided(tmp_path / "whole", {})
    assert resumed.status == "finished"
    assert summarise(resumed)["history"] == summarise(whole)["history"]
    assert resumed.repeated_rounds == 0


def test_events_of_the_boundary_at_which_a_run_rests_act_once(tmp_path):
    stop = lambda directory: submit(directory.inbox, parse_command({"command": "stop"}))  # noqa: E731
    joins = {"events": [{"after_round": 5, "add": [node("n9", n3=100)]}]}
    state, directory, _ = guided(tmp_path, {5: stop}, **joins)
    assert state.status == "stopped"
    directory.own()
    store = DirectoryStore(directory)
    the_rules = rules("improvement", **{**QUIET, **joins})
    resumed = Orchestrator(the_rules, FakeRuntime(), store, RecordingTracker()).resume()
    assert len(resumed.reconfigurations) == 1
    assert [e.kind for e in resumed.ledger.entries].count("change") == 1


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"{", "not JSON"),
        (b"[]", "JSON object"),
        (b'{"command": "explode"}', "command"),
        (b'{"command": "inject"}', "injects nothing"),
        (b'{"command": "inject", "remove": ["n77"]}', "n77"),
        (b'{"command": "inject", "remove": ["n1"]}', "global aggregator"),
        (b'{"command": "inject", "add": [{"id": "n9", "role": "client"}]}', "n9"),
        (b'{"command": "inject", "add": [{"id": "n4", "role": "client", "links": {"n2": 1}}]}', "n4"),
        (
            b'{"command": "inject", "add": [{"id": "n9", "role": "client", "links": {"n2": -1}}]}',
            "greater than or equal",
        ),
    ],
)
def test_bad_commands_are_rejected_with_the_reason_and_the_run_goes_on(tmp_path, content, words):
    def put(directory):
        (directory.inbox / "000-bad.json").write_bytes(content)

    state, directory, _ = guided(tmp_path, {3: put})
    assert state.status == "finished"
    (rejected,) = [e for e in directory.events() if isinstance(e, CommandRejected)]
    assert words in rejected.reason
    assert state.reconfigurations == ()


def test_a_command_that_no_longer_makes_sense_at_the_boundary_is_rejected(tmp_path):
    def twice(directory):
        inject(remove=["n6"])(directory)
        inject(remove=["n6"])(directory)

    state, directory, _ = guided(tmp_path, {3: twice})
    assert state.status == "finished"
    assert len([e for e in directory.events() if isinstance(e, CommandApplied)]) == 1
    assert len([e for e in directory.events() if isinstance(e, CommandRejected)]) == 1


def test_parse_command_names_what_is_wrong():
    with pytest.raises(InvalidInput, match=r"ad: unknown field.*Did you mean 'add'"):
        parse_command({"command": "inject", "ad": []})


def test_journal_rows_are_the_tracked_rows(tmp_path):
    state, directory, tracker = guided(tmp_path, {4: inject(add=[node("n9", n3=100)])})
    last = {row["round"]: row for row in tracker.rows}
    assert JournalSource(directory.journal_file, rules("improvement", **QUIET)).rows() == [
        last[r] for r in sorted(last)
    ]
    assert len(last) == state.round + 1
    row = last[5]
    assert row["cost/budget_left"] == 30000 - row["cost/total"]
    assert row["client/n9/samples"] == 10


def test_watchers_end_with_the_run(tmp_path):
    before = {t.name for t in threading.enumerate()}
    guided(tmp_path, {})
    assert {t.name for t in threading.enumerate()} == before


def test_nodes_that_cannot_train_are_rejected_at_the_boundary(tmp_path):
    def no_sevens(infrastructure):
        if any(7 in n.data for n in infrastructure.nodes.values()):
            raise InvalidInput("label 7 is not in the data set")

    the_rules = rules("improvement", **{**QUIET, "nodes[5].data": {6: 40}})
    directory = RunDirectory.create(tmp_path / "run", the_rules.scenario)
    at = {4: lambda: inject(add=[node("n9", n3=100)])(directory)}
    store = DirectoryStore(directory, no_sevens)
    state = Orchestrator(the_rules, GuidedRuntime(at), store, RecordingTracker()).run("run")
    assert state.status == "finished"
    assert state.reconfigurations == ()
    assert [e.reason for e in directory.events() if isinstance(e, CommandRejected)] == [
        "label 7 is not in the data set"
    ]


def test_junk_in_the_inbox_is_left_alone_or_rejected(tmp_path):
    import os

    def junk(directory):
        (directory.inbox / "folder.json").mkdir()
        with open(os.fsencode(directory.inbox) + b"/\xff.json", "wb") as file:  # noqa: PTH123 - a name that is no text
            file.write(b"[" * 100000)

    state, directory, _ = guided(tmp_path, {3: junk})
    assert state.status == "finished"
    assert [e.id for e in directory.events() if isinstance(e, CommandRejected)] == ["\\udcff"]
    assert [path.name for path in directory.inbox.iterdir()] == ["folder.json"]


# Commands that act later.


def rejections(directory):
    return [e.reason for e in directory.events() if isinstance(e, CommandRejected)]


def test_a_delayed_command_is_received_at_once_and_acts_after_its_round(tmp_path):
    state, directory, _ = guided(tmp_path, {3: inject(remove=["n6"], after_round=9)})
    events = directory.events()
    (record,) = state.reconfigurations
    assert (record.after_round, record.trigger.removed) == (9, ("n6",))
    received = next(i for i, e in enumerate(events) if isinstance(e, CommandReceived))
    finished = [e.result.round for e in events[:received] if isinstance(e, RoundFinished)]
    assert finished[-1] in (2, 3), "it was journalled only later"
    assert events[received].command["after_round"] == 9


def test_what_a_delayed_command_needs_may_come_later_too(tmp_path):
    later = {"events": [{"after_round": 5, "add": [node("n9", n3=100)]}]}
    both = lambda directory: [inject(remove=["n9"], after_round=8)(directory), inject(remove=["n6"])(directory)]  # noqa: E731
    state, directory, _ = guided(tmp_path, {3: both}, **later)
    assert [(r.after_round, r.trigger.removed) for r in state.reconfigurations] == [(3, ("n6",)), (5, ()), (8, ("n9",))]
    assert rejections(directory) == []


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ({"remove": ["n6"], "after_round": 2}, "round 2 has passed; give 4 or more"),
        ({"remove": ["n6"], "after_round": 100}, "give at most 99"),
        ({"remove": ["n9"], "after_round": 8}, "n9"),
        ({"add": [node("n10")], "after_round": 30}, "cannot add node 'n10'"),
    ],
)
def test_a_command_for_a_moment_that_makes_no_sense_is_rejected(tmp_path, command, words):
    script = {"events": [{"after_round": 20, "add": [node("n10")]}]}
    _, directory, _ = guided(tmp_path, {4: inject(**command)}, **script)
    (reason,) = rejections(directory)
    assert words in reason


@pytest.mark.parametrize(
    "raw", [{"command": "inject", "remove": ["n6"], "after_round": 0}, {"command": "stop", "after_round": 5}]
)
def test_a_moment_is_a_round_and_a_stop_never_waits(raw):
    with pytest.raises(InvalidInput, match="after_round"):
        parse_command(raw)


def test_delayed_commands_survive_a_stop_and_the_death_of_the_process(tmp_path):
    def put(directory):
        inject(remove=["n6"], after_round=9)(directory)
        submit(directory.inbox, parse_command({"command": "stop"}))

    state, directory, _ = guided(tmp_path, {3: put})
    assert (state.status, state.round) == ("stopped", 3)

    directory.own()
    with pytest.raises(SystemExit):
        Orchestrator(
            rules("improvement", **QUIET), FakeRuntime(crash_in=6), DirectoryStore(directory), RecordingTracker()
        ).resume()

    directory.own()
    again = Orchestrator(
        rules("improvement", **QUIET), FakeRuntime(), DirectoryStore(directory), RecordingTracker()
    ).resume()
    assert [(r.after_round, r.trigger.removed) for r in again.reconfigurations] == [(9, ("n6",))]
    assert again.repeated_rounds == 1


def test_mistakes_are_found_at_their_fields():
    state = RunState.before(rules("improvement", **QUIET))
    good = node("n9")
    found = {
        mistake.path: mistake.text
        for raw in (
            {"add": [{**good, "links": {"n2": -1}}]},
            {"add": [{**good, "id": "n 9"}]},
            {"add": [{**good, "id": "n4"}]},
            {"add": [{**good, "role": "global_aggregator"}]},
            {"add": [{**good, "links": {"n77": 5}}]},
            {"add": [{**good, "label_noise": {"kind": "shift", "share": 2}}]},
            {"remove": ["n77"]},
            {"remove": ["n6"], "after_round": 100},
        )
        for mistake in find_mistakes({"command": "inject", **raw}, state)
    }
    assert found.keys() == {
        ("add", 0, "links", "n2"), ("add", 0, "id"), ("add", 0, "role"), ("add", 0, "links", "n77"), ("add", 0, "links"),
        ("add", 0, "label_noise", "share"), ("remove", 0), ("after_round",),
    }  # fmt: skip
    assert find_mistakes({"command": "inject", "add": [good]}, state) == []
