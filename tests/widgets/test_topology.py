"""The topology shows what the draft plans and what a run is, sends only what changed, and says it in words."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from decimal import Decimal

import pytest

from aiotwin_nb import api
from aiotwin_nb.orchestration.events import BoundaryReached, CommandApplied, RoundFinished
from aiotwin_nb.orchestration.inbox import parse_command
from aiotwin_nb.orchestration.ports import RoundResult
from aiotwin_nb.orchestration.state import RunState
from aiotwin_nb.orchestration.step import decide
from aiotwin_nb.widgets.follow import SentCommand, Snapshot
from aiotwin_nb.widgets.nodes import message, of_draft, of_run
from aiotwin_nb.widgets.painter import Painter
from aiotwin_nb.widgets.session import Session
from aiotwin_nb.widgets.topology import Topology, TopologyPanel


def draft(name="improvement", **overrides):
    scenario = api.resolve(name, overrides)
    return of_draft(scenario, api.plan(scenario))


def begun(name="improvement", **overrides):
    from aiotwin_nb.orchestration.foretell import begun

    return begun(RunState.before(api.rules(name, **overrides)))


def rounds(state, upto, problems=None):
    """A run's state after some rounds, at a boundary; accuracies grow."""
    for number in range(state.round + 1, upto + 1):
        result = RoundResult(number, 20.0 + number, 1.0, 0.1, problems=problems or {} if number == upto else {})
        state, _ = decide(state, RoundFinished(result, state.round_cost if number else Decimal(0)))
        if number < upto and state.status == "running":
            state, _ = decide(state, BoundaryReached(number))
    return state


def boundary(state):
    """What the script does at this boundary."""
    return decide(state, BoundaryReached(state.round))[0]


def with_change(state, **raw):
    change = parse_command({"command": "inject", **raw}).to_change()
    return decide(replace(state, commands=(CommandApplied("x", state.round, change),)), BoundaryReached(state.round))[0]


@pytest.fixture
def panels():
    made = []

    def make(session):
        made.append((session, TopologyPanel(session)))
        return made[-1][1]

    yield make
    for session, panel in made:
        panel.close()
        session.close()


def test_a_draft_shows_its_plan_and_who_joins_later():
    shown = draft()
    assert (shown.nodes["n4"].parent, shown.nodes["n4"].cost) == ("n2", 20)
    assert (shown.nodes["n2"].parent, shown.nodes["n2"].cost) == ("n1", 100)
    n9 = shown.nodes["n9"]
    assert (n9.standing, n9.parent, n9.cost, n9.why) == ("later", "n3", 100, "joins after round 10")
    assert shown.labels == tuple(range(10))
    assert n9.data == (0,) * 7 + (40,) * 3


def test_a_draft_that_cannot_be_planned_says_why(panels):
    session = Session("improvement")
    panel = panels(session)
    session.change({"strategy": {"name": "min_comm_cost_open", "args": {"capacity": 1}}})
    text = panel.describe()
    assert "capacity" in text.splitlines()[0]
    assert "capacity" in panel._heading.value
    assert "no place in this configuration" in text


def test_a_run_shows_who_is_on_trial_failed_idle_and_gone():
    state = rounds(begun(), 10)
    trial = boundary(state)
    n9 = of_run(trial, "run").nodes["n9"]
    assert (n9.standing, n9.parent, n9.note) == ("trial", "n3", "on trial")

    failed = of_run(rounds(begun(events=[]), 3, {"n5": "out of memory"}), "run").nodes["n5"]
    assert (failed.standing, failed.why) == ("failed", "no update in round 3: out of memory")

    left = of_run(with_change(rounds(begun(events=[]), 4), remove=["n6"]), "run").nodes["n6"]
    assert (left.standing, left.parent) == ("left", "")

    poor = begun(objective__budget=20000, validation__window=5)
    refused = of_run(boundary(rounds(poor, 10)), "run").nodes["n9"]
    assert (refused.standing, refused.parent, refused.why) == ("idle", "", "stays outside: its joining was refused")


def test_joins_to_come_are_outside_until_they_are_there():
    state = rounds(begun(), 3)
    assert of_run(state, "run").nodes["n9"].why == "joins after round 10"
    asked = parse_command({"command": "inject", "add": [{"id": "n10", "role": "client", "links": {"n2": 1}}]})
    coming = {"n10": (None, asked.to_change().added[0])}
    assert of_run(state, "run", coming).nodes["n10"].why == "joins at the next round boundary"


def test_flat_fl_hangs_clients_on_the_ga_and_leaves_aggregators_outside():
    shown = draft(strategy__name="flat")
    assert shown.nodes["n4"].parent == "n1"
    assert (shown.nodes["n2"].parent, shown.nodes["n2"].note) == ("", "unused")


def test_only_what_changed_is_sent():
    state = rounds(begun(events=[]), 4)
    before = of_run(state, "run")
    assert message(before, of_run(rounds(state, 5), "run")) is None
    after = of_run(with_change(state, remove=["n6"]), "run")
    sent = message(before, after)
    assert (sent["kind"], [node["id"] for node in sent["nodes"]], sent["gone"]) == ("patch", ["n6"], [])
    new = of_run(with_change(state, data={"n4": {"11": 5}}), "run")
    assert message(before, new)["kind"] == "graph", "a new label moves all bars"


def test_the_widget_sends_patches_and_gives_newcomers_the_whole():
    view, sent = Topology(), []
    view.send = sent.append
    shown = draft()
    view.show(shown)
    assert [m["kind"] for m in sent] == ["graph"]
    assert {node["id"] for node in view.get_state("graph")["graph"]["nodes"]} == set(shown.nodes)
    view.show(draft())
    assert len(sent) == 1, "nothing had changed"
    view.show(draft(events=[]))
    assert sent[1] == {"kind": "patch", "nodes": [], "gone": ["n9"]} or sent[1]["kind"] == "graph"


def test_selection_goes_both_ways_and_shows_the_card(panels):
    session = Session("degradation-mislabelled")
    panel = panels(session)
    assert panel.settle()
    panel.view.selected = "n9"
    assert session.selected == "n9"
    card = panel._card.value
    assert "150" in card
    assert "100% wrong (label + 1)" in card
    assert "joins after round 10" in card
    session.selected = "n2"
    assert panel.view.selected == "n2"
    assert "local aggregator" in panel._card.value
    session.selected = ""
    assert panel._card.value == ""


def test_the_card_escapes_what_users_write(panels):
    session = Session("improvement")
    panel = panels(session)
    session.change({"nodes[3].id": "a.b-c", "strategy.name": "flat"})
    panel.settle()
    session.selected = "a.b-c"
    assert "<script" not in panel._card.value
    assert "a.b-c" in panel._card.value


def test_the_words_list_the_tree_with_roles_links_and_data(panels):
    panel = panels(Session("hands-on"))
    lines = panel.describe().splitlines()
    assert lines[0] == "Topology. Draft: hands-on"
    assert lines[1] == "n1: global aggregator"
    assert lines[2] == "  n2: local aggregator, link to n1 costs 100 per MB"
    assert lines[3] == "    n4: client, link to n2 costs 20 per MB, 120 samples of labels 0, 1, 2 (40 each)"
    bundle = panel._repr_mimebundle_()
    assert bundle["text/plain"] == panel.describe()
    assert panel.picture().png.startswith(b"\x89PNG")


def test_a_run_replaces_the_draft_and_one_may_look_back(panels, tmp_path):
    session = Session("improvement")
    panel = panels(session)
    state = boundary(rounds(begun(), 10))
    session.snapshot = Snapshot(tmp_path / "r1", state, "running")
    assert panel.describe().startswith("Topology. r1, after round 10")
    panel._source.value = "draft"
    assert panel.describe().startswith("Topology. Draft: improvement")


def test_commands_of_people_are_shown_before_they_act(panels, tmp_path):
    session = Session(
        "improvement",
    )
    panel = panels(session)
    command = {"command": "inject", "add": [{"id": "n10", "role": "client", "links": {"n2": 1}}], "after_round": 7}
    session.snapshot = Snapshot(
        tmp_path / "r1", rounds(begun(), 3), "running", commands=(SentCommand("c", command, "received"),)
    )
    assert "n10: client, no samples declared, joins after round 7" in panel.describe()


def test_large_infrastructures_have_words_and_no_picture(panels):
    nodes = [{"id": "g", "role": "global_aggregator"}]
    nodes += [{"id": f"a{i}", "role": "local_aggregator", "links": {"g": 10}} for i in range(8)]
    nodes += [
        {"id": f"c{i}", "role": "client", "links": {f"a{j}": 1 + (i * j) % 7 for j in range(8)}, "data": {0: 5}}
        for i in range(200)
    ]
    panel = panels(Session(api.resolve("improvement", {"nodes": nodes, "events": []})))
    assert panel.settle(30)
    assert panel.picture() is None
    assert len(re.findall(r": client", panel.describe())) == 200


def test_a_closed_panel_leaves_no_thread(panels):
    import threading

    session = Session("improvement")
    panel = panels(session)
    panel.settle()
    panel.close()
    panel.close()
    assert not [t for t in threading.enumerate() if t.name == "aiotwin-topology" and t.is_alive()]


def test_settling_waits_for_the_last_change():
    seen, value = [], [0]

    def work():
        time.sleep(0.02)
        seen.append(value[0])

    painter = Painter(work, pause=0.2, name="test")
    for number in range(1, 20):
        value[0] = number
        painter.touch()
        time.sleep(0.003)
    assert painter.settle()
    assert seen[-1] == 19
    painter.close()
    assert painter.settle()
