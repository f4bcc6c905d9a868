"""The events panel: what is wrong is said at its field, what is confirmed is sent, what happened is listed and exported."""

from __future__ import annotations

import time

import pytest

from aiotwin_nb import api
from aiotwin_nb.orchestration.events import BoundaryReached, CommandApplied, CommandReceived
from aiotwin_nb.orchestration.journal import read_journal
from aiotwin_nb.scenario import load_scenario
from aiotwin_nb.widgets.events import EventsPanel
from aiotwin_nb.widgets.library import ready_nodes
from aiotwin_nb.widgets.session import Session


@pytest.fixture
def panel(tmp_path):
    session = Session("improvement", runs=tmp_path / "runs")
    made = EventsPanel(session)
    yield made
    made.close()
    session.close()


def fill(panel, kind="join", **values):
    panel.kind.value = kind
    for name, value in values.items():
        panel.fields[name].value = value
    panel.settle()


def test_every_ready_node_is_valid_and_differs_in_what_its_name_says():
    infrastructure = api.resolve("improvement", {"events": []}).infrastructure
    clusters = {"n2": ["n4", "n5", "n6"], "n3": ["n7", "n8"]}
    ready = ready_nodes(infrastructure, clusters, taken={"n9"})
    assert {raw["id"] for raw in ready.values()} == {"n10"}
    usual = ready["New classes"]
    assert set(usual["data"]) == {6, 7, 9}, "the labels that the fewest clients have"
    assert usual["links"] == {"n1": 120, "n2": 20, "n3": 60}
    assert set(ready["More of the same"]["data"]) == {0, 1, 2}
    assert ready["Wrong labels"]["label_noise"] == {"kind": "shift", "share": 1.0}
    assert set(ready["Tiny"]["data"].values()) == {4}
    assert ready["Far away and expensive"]["links"] == {"n1": 600, "n2": 100, "n3": 300}
    assert ready["New local aggregator"]["links"] == {"n1": 100, "n4": 10, "n5": 10, "n6": 10, "n7": 60, "n8": 60}


def test_every_ready_node_is_accepted_and_its_cost_foretold(panel):
    for name, _ in panel.fields["ready"].choices[:-1]:
        fill(panel, ready=name)
        assert panel.mistakes == {}
        assert not panel.confirm.disabled
        assert "cost per round 1,320 →" in panel.describe(), name


@pytest.mark.parametrize(
    ("kind", "values", "field", "words"),
    [
        ("join", {"id": ""}, "id", "at least 1 character"),
        ("join", {"id": "n4"}, "id", "there already"),
        ("join", {"id": "n 9"}, "id", "pattern"),
        ("join", {"links": "n1: -5"}, "links", "greater than or equal to 0"),
        ("join", {"links": "n1 150"}, "links", "must look like n1: 150, n2: 120"),
        ("join", {"links": "n77: 5, n2: 1, n3: 1"}, "links", "no such node"),
        ("join", {"links": "n1: 5"}, "links", "no link to any local aggregator"),
        ("join", {"data": "7 40"}, "data", "must look like 7: 40"),
        ("join", {"data": "12: 40"}, "data", "label 12 is not in the data set; allowed: 0 to 9"),
        ("join", {"data": ""}, "data", "no samples"),
        ("join", {"data": "3: -1"}, "data", "greater than or equal to 0"),
        ("join", {"noise": "random", "share": "2"}, "share", "less than or equal to 1"),
        ("join", {"noise": "random", "share": "much"}, "share", "must be a number"),
        ("join", {"round": "100"}, "round", "give at most 99"),
        ("join", {"round": "0"}, "round", "greater than or equal to 1"),
        ("join", {"round": "soon"}, "round", "must be a whole number"),
        ("link", {"cost": "-1"}, "cost", "greater than or equal to 0"),
        ("data", {"label": "11"}, "label", "not in the data set"),
        ("data", {"samples": "x"}, "samples", "must be a whole number"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_at_its_field_and_nothing_is_sent(panel, kind, values, field, words):
    before = panel.session.scenario
    fill(panel, kind, **values)
    assert words in panel.fields[field].error
    assert [name for name, each in panel.fields.items() if each.error] == [field]
    assert panel.confirm.disabled
    panel.confirm.click()
    assert panel.session.scenario is before
    assert "→" not in panel.estimate.value


def test_a_mended_field_is_no_longer_marked(panel):
    fill(panel, id="n4")
    assert panel.fields["id"].error
    fill(panel, id="n44")
    assert not panel.fields["id"].error
    assert not panel.confirm.disabled
    assert "n44 joins" in panel.estimate.value


@pytest.mark.parametrize(
    ("kind", "values", "expected"),
    [
        ("leave", {"node": "n6", "round": "12"}, {"after_round": 12, "remove": ["n6"]}),
        ("fail", {"node": "n3", "round": "12"}, {"after_round": 12, "remove": ["n3"]}),
        ("link", {"node": "n4", "peer": "n2", "cost": "40.5"}, {"after_round": 10, "link": {"n4": {"n2": 40.5}}}),
        ("data", {"node": "n5", "label": "9", "samples": "30"}, {"after_round": 10, "data": {"n5": {"9": 30}}}),
    ],
)
def test_before_a_run_events_go_into_the_draft(panel, kind, values, expected):
    fill(panel, kind, **values)
    assert panel.mistakes == {}
    panel.confirm.click()
    event = panel.session.scenario.resolved()["events"][-1]
    assert {key: event[key] for key in expected} == expected
    panel.settle()
    assert f"after round {expected['after_round']}" in panel.describe()


def test_a_ready_node_can_follow_another(panel):
    for expected in ("n10", "n11"):
        panel.settle()
        assert panel.fields["id"].value == expected
        fill(panel, links="n1: 150, n2: 20, n3: 30")  # as people change it
        panel.confirm.click()
    assert [node.id for event in panel.session.scenario.events for node in event.add] == ["n9", "n10", "n11"]


def test_what_people_type_is_not_overwritten_by_a_new_offer(panel, monkeypatch):
    """Offers take a while to make; meanwhile people go on typing."""
    panel.settle()
    offered = panel._chosen

    def slowly():
        made = offered()
        panel.fields["id"].value = "visitor"
        return made

    monkeypatch.setattr(panel, "_chosen", slowly)
    panel.session.change({"events": []})  # n9 does not come: another name would be offered
    panel.settle()
    assert panel.fields["id"].value == "visitor"


def test_events_can_be_taken_out_of_the_draft_again(panel):
    fill(panel, "leave", node="n9", round="20")
    panel.confirm.click()
    panel.settle()
    panel.fields["event"].value = "0"
    panel.dropping.click()
    assert "n9" in panel.fields["event"].error, "n9 cannot leave if it never joins"
    panel.fields["event"].value = "1"
    panel.dropping.click()
    panel.settle()
    assert len(panel.session.scenario.events) == 1
    assert panel.fields["event"].error == ""


def test_the_selected_node_is_the_one_that_leaves(panel):
    fill(panel, "leave")
    panel.session.selected = "n7"
    assert panel.fields["node"].value == "n7"
    fill(panel, "fail")
    assert panel.fields["node"].value in ("n2", "n3")


def test_parts_take_the_place_of_samples_where_the_task_divides_the_data(panel):
    panel.session.change({"task.partition": {"kind": "iid"}, "events": []})
    panel.settle()
    assert panel.fields["part"] in panel._form.children
    assert panel.fields["data"] not in panel._form.children


def test_export_of_a_draft_never_overwrites(panel, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    panel.fields["file"].value = "mine.yaml"
    panel.export.click()
    assert load_scenario("mine.yaml") == panel.session.scenario
    panel.export.click()
    assert "there already" in panel.fields["file"].error
    panel.fields["file"].value = "no/such/folder.yaml"
    panel.export.click()
    assert "cannot be written" in panel.fields["file"].error


def test_a_closed_panel_leaves_no_thread(panel):
    import threading

    panel.settle()
    panel.close()
    panel.close()
    assert not [t for t in threading.enumerate() if t.name == "aiotwin-events"]


# With a real run.


def wait_for(condition, seconds=60):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it never came about"
        time.sleep(0.02)


@pytest.mark.slow
def test_the_whole_story_with_a_real_run(panel, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    session = panel.session
    session.change(
        {"events": [{"after_round": 4, "remove": ["n8"]}], "objective.budget": 60000, "validation.window": 2}
    )
    session.start(tracking="off")
    wait_for(lambda: session.snapshot is not None and session.snapshot.state.round >= 2)
    panel.settle()
    assert panel.fields["when"].value == "now"

    assert panel.mistakes == {}
    joining = panel.fields["id"].value
    panel.confirm.click()
    assert "Sent" in panel.said.value
    wait_for(lambda: session.snapshot.commands and session.snapshot.commands[0].status == "applied")
    events = [entry.event for entry in read_journal(session.run.path / "journal.jsonl")]
    kinds = [type(event) for event in events]
    waited = events[kinds.index(CommandReceived) : kinds.index(CommandApplied)]
    # One boundary may be under way when the command arrives.
    assert sum(isinstance(event, BoundaryReached) for event in waited) <= 1, "it acts at the next boundary"

    boundary = session.snapshot.state.boundary
    fill(panel, "leave", node="n7", when="later", round=str(boundary + 6))
    assert panel.mistakes == {}
    panel.confirm.click()
    wait_for(lambda: len(session.snapshot.commands) == 2)
    panel.settle()
    assert f"after round {boundary + 6}: n7 leaves (injected, received)" in panel.describe()

    fill(panel, "leave", node="n6", when="later", round="1")
    assert "has passed" in panel.fields["round"].error

    session.wait(120)
    panel.settle()
    text = panel.describe()
    assert "after round 4: n8 leaves (scripted, applied)" in text
    assert f"after round {boundary + 6}: n7 leaves (injected, applied)" in text
    assert f"{joining} joins (injected, applied)" in text

    panel.export.click()
    assert panel.fields["file"].error == ""
    again = api.run("as-it-happened.yaml", tracking="off", out=tmp_path / "again").wait()
    assert again.summary["ledger"] == session.run.summary["ledger"]
    assert [r["accuracy"] for r in again.summary["history"]] == [r["accuracy"] for r in session.run.summary["history"]]


@pytest.mark.slow
def test_a_command_is_in_the_journal_at_once(panel):
    """The times themselves are measured by bench_inject.py; here only that it is received while its round runs."""
    session = panel.session
    session.change({"events": [], "objective.budget": 3000000, "training.max_rounds": 2000})
    session.start(tracking="off")
    wait_for(lambda: session.snapshot is not None and session.snapshot.state.round >= 1)
    session.inject({"remove": ["n6"], "after_round": 1500})
    journal = session.run.path / "journal.jsonl"
    wait_for(lambda: any(isinstance(entry.event, CommandReceived) for entry in read_journal(journal)), 5)
    session.stop()
    session.wait(60)
