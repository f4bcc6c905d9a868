"""Strategy and budget: controls change the draft, the plan follows, mistakes stand at their control."""

from __future__ import annotations

import re
import threading
import time
from types import SimpleNamespace

import pytest
from widgets_support import until

from aiotwin_nb import api
from aiotwin_nb.decision import policies, trends
from aiotwin_nb.errors import InvalidInput
from aiotwin_nb.planning.strategies import strategies
from aiotwin_nb.widgets.session import Session
from aiotwin_nb.widgets.strategy import StrategyPanel, _fit, _nice, _plan_html


@pytest.fixture
def panel(tmp_path):
    session = Session("improvement", runs=tmp_path)
    made = StrategyPanel(session)
    until(lambda: made.plan)
    yield made
    made.close()
    session.close()


def control(panel, name):
    return panel._controls[name]


def line(panel, name):
    """What stands under a control, without the tags."""
    return re.sub(r"<[^>]*>", "", panel._controls._lines[name].value)


def test_every_strategy_policy_and_trend_can_be_chosen_and_is_described(panel):
    assert list(control(panel, "strategy").options) == strategies.names()
    assert list(control(panel, "policy").options) == policies.names()
    assert list(control(panel, "trend").options) == trends.names()
    control(panel, "strategy").value = "flat"
    assert line(panel, "strategy") == "Put every client on the GA; local aggregators are not used"
    for name in policies.names():
        control(panel, "policy").value = name
        assert len(line(panel, "policy")) > 10


@pytest.mark.parametrize(
    ("name", "value", "path", "expected"),
    [
        ("seed", 7, "seed", 7),
        ("strategy", "share", "strategy.name", "share"),
        ("epochs", 3, "training.epochs", 3),
        ("local_rounds", 1, "training.local_rounds", 1),
        ("budget", 50_000.0, "objective.budget", 50_000),
        ("policy", "default", "validation.policy", "default"),
        ("window", 8, "validation.window", 8),
        ("trend", "power", "validation.trend", "power"),
        ("scenario", "degradation", "name", "degradation"),
    ],
)
def test_a_control_changes_the_draft(panel, name, value, path, expected):
    control(panel, name).value = value
    place = panel.session.scenario
    for part in path.split("."):
        place = getattr(place, part)
    assert place == expected


def test_the_plan_follows_the_budget(panel):
    control(panel, "budget").value = 50_000.0
    until(lambda: panel.plan.rounds == 37)
    assert "buys 37 rounds; 28 if all scripted changes are made and kept" in line(panel, "budget")
    until(lambda: "<strong>37</strong>" in panel._result.value)


def test_the_plan_follows_the_strategy(panel):
    control(panel, "strategy").value = "flat"
    until(lambda: list(panel.plan.clusters) == ["n1"])
    assert "a round costs 1,980" in panel.describe()


def test_an_objective_takes_along_what_it_needs(panel):
    control(panel, "objective").value = "cost_min"
    assert panel.session.scenario.objective.target_accuracy == 90
    assert control(panel, "target").layout.display is None
    control(panel, "limited").value = False
    assert panel.session.scenario.objective.budget is None
    assert control(panel, "budget").layout.display == "none"
    control(panel, "objective").value = "both"
    assert panel.session.scenario.objective.budget == 100_000


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("window", 0, "is 0; it must be greater than or equal to 1"),
        ("epochs", -2, "is -2; it must be greater than or equal to 1"),
        ("seed", -1, "is -1; it must be greater than or equal to 0"),
        ("args", "{", "must look like name: value"),
        ("args", "keep: [", "must look like"),
        ("file", "nowhere.yaml", "there is no such file"),
        ("budget", 0.0, "is 0; it must be greater than 0"),
    ],
)
def test_a_mistake_is_told_at_its_control_and_changes_nothing(panel, name, value, words):
    before = panel.session.scenario
    control(panel, name).value = value
    assert words in line(panel, name).replace("0.0", "0")
    assert "\n" not in line(panel, name)
    assert panel.session.scenario == before
    assert words in panel.session.mistake.replace("0.0", "0")  # and nothing starts
    assert "aiotwin-dim" in panel._result._dom_classes  # the plan on show is the last one that worked out


def test_a_mistake_that_is_mended_is_forgotten(panel):
    control(panel, "window").value = 0
    control(panel, "window").value = 4
    assert line(panel, "window") == panel.session.mistake == ""
    until(lambda: "aiotwin-dim" not in panel._result._dom_classes)


def test_a_draft_without_a_plan_says_why_and_keeps_the_last_plan_dimmed(panel):
    control(panel, "strategy").value = "manual"
    until(lambda: panel.trouble)
    assert "needs the argument 'clusters'" in line(panel, "args").replace("&#x27;", "'")
    assert "no plan" in panel.describe()
    assert panel.plan.round_cost == 1320
    assert "aiotwin-dim" in panel._result._dom_classes
    control(panel, "args").value = "clusters: {n2: [n4, n5], n3: [n6, n7, n8]}"
    until(lambda: panel.plan.clusters == {"n2": ["n4", "n5"], "n3": ["n6", "n7", "n8"]})
    until(lambda: "aiotwin-dim" not in panel._result._dom_classes)
    assert line(panel, "args") == ""


def test_a_budget_below_one_round_is_told_at_the_budget(panel):
    control(panel, "budget").value = 1000.0
    until(lambda: "below the cost of one round" in line(panel, "budget"))


def test_all_strategies_are_compared_and_drawn(panel):
    until(lambda: panel.comparison)
    until(lambda: panel._picture.value)
    assert {row["name"] for row in panel.comparison["strategies"]} == set(strategies.names())
    shown = panel._table.value
    for name in strategies.names():
        assert name in shown
    assert "▸ min_comm_cost<" in shown
    assert "<img alt=" in panel._picture.value
    assert "Pareto" in panel.picture().alt


def test_a_slow_comparison_holds_nobody_up_and_the_latest_wins(panel, monkeypatch):
    until(lambda: panel.comparison)
    asked, gate = [], threading.Event()

    def slow(scenario):
        asked.append(scenario.seed)
        gate.wait(5)
        return {"strategies": [], "unit": f"seed {scenario.seed}"}

    monkeypatch.setattr("aiotwin_nb.widgets.strategy.api.compare_plans", slow)
    control(panel, "seed").value = 2
    until(lambda: asked == [2])
    began = time.monotonic()
    for seed in (3, 4, 5):
        control(panel, "seed").value = seed
    assert time.monotonic() - began < 1
    gate.set()
    until(lambda: panel.comparison["unit"] == "seed 5")
    assert asked == [2, 5]


def test_a_strategy_that_breaks_is_told_and_the_lab_lives_on(panel, monkeypatch):
    def broken(request):
        """Break."""
        raise ZeroDivisionError("division by zero")

    monkeypatch.setitem(strategies._items, "broken", broken)
    panel.session.change({"strategy": {"name": "flat", "args": {}}})
    monkeypatch.setitem(strategies._items, "flat", broken)
    control(panel, "seed").value = 3
    until(lambda: "ZeroDivisionError" in line(panel, "strategy"))
    monkeypatch.undo()
    control(panel, "seed").value = 4
    until(lambda: not panel.trouble)


def test_user_text_is_escaped(panel):
    panel.session.change({"nodes.3.id": "n4", "name": "a-b"})
    control(panel, "args").value = "<script>: 1"
    until(lambda: panel.trouble)
    assert "<script>" not in panel._controls._lines["args"].value


def test_a_scenario_file_can_be_chosen(panel, tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text(
        "name: mine\nnodes:\n- {id: a, role: global_aggregator}\n- {id: b, role: client, links: {a: 10}, data: {1: 5}}\n"
    )
    control(panel, "scenario").value = "a YAML file …"
    assert control(panel, "file").layout.display is None
    control(panel, "file").value = str(file)
    assert panel.session.scenario.name == "mine"
    assert control(panel, "scenario").value == "mine"


def test_controls_are_read_only_while_a_run_is_live(panel):
    live = SimpleNamespace(live=True)
    panel.session.set_trait("phase", "starting")
    assert control(panel, "budget").disabled
    panel.session._trait_values["snapshot"] = live
    panel.session.phase = "attached"
    assert control(panel, "budget").disabled
    assert panel._again.layout.display is None
    panel._again.click()
    assert panel.session.phase == "none"
    assert panel.session.snapshot is None
    assert not control(panel, "budget").disabled


def test_the_slider_has_a_sensible_range(panel):
    slider = control(panel, "budget")
    for value in (100_000, 3, 7_777_777, 0.25, 123_456, 99.99, 8_000, 98_505):
        _fit(slider, value)
        assert slider.value == value
        assert slider.min < value < slider.max
        assert 50 <= slider.max / slider.step <= 2000
        steps = (value - slider.min) / slider.step  # the browser moves a value between two steps, and sends it back
        assert steps == pytest.approx(round(steps), abs=1e-6)
    assert [_nice(x) for x in (1000, 4999, 0.3)] == [1000, 2000, pytest.approx(0.2)]


def test_the_slider_keeps_its_range_while_it_is_moved(panel):
    slider = control(panel, "budget")
    for value in (399_000.0, 20_000.0, 4_000.0):
        slider.value = value
        assert (slider.min, slider.max, slider.value) == (0, 400_000, value)
        assert panel.session.scenario.objective.budget == value


def test_large_clusters_are_told_by_their_number(panel):
    panel.session.scenario = api.resolve("cluster-24", {})
    until(lambda: len(panel.plan.clusters) == 5)
    assert "<details" not in _plan_html(panel.plan)
    panel.session.change({"strategy.name": "flat"})
    until(lambda: len(panel.plan.clusters) == 1)
    assert "<summary><b>n1</b> ← 24 clients </summary><i>n7</i>" in _plan_html(panel.plan)


def test_an_impossible_scenario_is_refused_at_once():
    with pytest.raises(InvalidInput, match="no lab of that name"):
        Session("improvment")
