"""Launch and lab without a training run: what buttons allow, what a list of runs says, what text says."""

from __future__ import annotations

import json
import os
import re
import time
from dataclasses import replace
from html import unescape

import pytest
from widgets_support import until

from aiotwin_nb import Lab, api
from aiotwin_nb.errors import InvalidInput
from aiotwin_nb.orchestration.events import Observation, RoundFinished, RunStarted
from aiotwin_nb.orchestration.ports import RoundResult
from aiotwin_nb.orchestration.rundir import RunDirectory
from aiotwin_nb.orchestration.state import RunState
from aiotwin_nb.orchestration.step import decide
from aiotwin_nb.widgets.follow import SentCommand, Snapshot
from aiotwin_nb.widgets.launch import LaunchPanel, duration, progress_of
from aiotwin_nb.widgets.runs import ago, list_runs
from aiotwin_nb.widgets.session import Session


def observed(state: RunState, observation: Observation) -> RunState:
    return decide(state, observation)[0]


def state_after(rounds, **overrides):
    scenario = api.resolve("improvement", {"events": [], **overrides})
    state = observed(RunState.before(api.rules(scenario)), RunStarted("r", scenario.name, 1, "embedded"))
    for number in range(rounds + 1):
        cost = state.round_cost if number else 0
        state = observed(state, RoundFinished(RoundResult(number, 50.0 + number, 1.0, 0.5), cost))
    return state


def snapshot(path, status="running", rounds=10, **more):
    return Snapshot(path=path, state=state_after(rounds), status=status, elapsed=65.0, **more)


@pytest.fixture
def panel(tmp_path):
    session = Session("improvement", runs=tmp_path)
    made = LaunchPanel(session)
    yield made
    made.close()
    session.close()


def text(widget):
    return unescape(re.sub(r"<[^>]*>", " ", widget.value))


def enabled(panel):
    buttons = {"start": panel._start, "stop": panel._stop, "resume": panel._resume, "runtime": panel._runtime}
    return {name for name, button in buttons.items() if not button.disabled}


def show(panel, shown):
    panel.session.set_trait("snapshot", shown)
    panel.session.phase = "attached"


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("running", {"stop"}),
        ("finished", {"start", "runtime"}),
        ("stopped", {"start", "runtime", "resume"}),
        ("interrupted", {"start", "runtime", "resume"}),
        ("failed", {"start", "runtime", "resume"}),
    ],
)
def test_buttons_allow_what_makes_sense(panel, tmp_path, status, expected):
    assert enabled(panel) == {"start", "runtime"}
    show(panel, snapshot(tmp_path / "r", status))
    until(lambda: enabled(panel) == expected)
    panel.session.phase = "starting"
    until(lambda: enabled(panel) == set())


def test_progress_of_a_running_run(panel, tmp_path):
    shown = snapshot(tmp_path / "r")
    progress = progress_of(shown)
    assert progress.share == pytest.approx(13_200 / 100_000)
    assert progress.rounds_left == 65  # (100 000 − 13 200) // 1320
    assert progress.remaining == pytest.approx(65 * 0.5)
    show(panel, shown)
    until(lambda: "training round 11" in text(panel._status))
    for words in ("accuracy 60.0 %", "spent 13,200 of 100,000", "≈ 65 rounds left", "1:05 min at work", "≈ 32 s to go"):
        assert words in text(panel._status)
    assert "aria-valuenow='13'" in panel._status.value


def test_a_run_without_a_budget_counts_rounds(tmp_path):
    objective = {"type": "cost_min", "budget": None, "target_accuracy": 99.0}
    state = state_after(20, objective=objective)
    progress = progress_of(Snapshot(path=tmp_path, state=state, status="running"))
    assert (progress.share, progress.rounds_left) == (0.2, 80)


def test_an_interrupted_run_shows_its_last_words_and_offers_to_resume(panel, tmp_path):
    show(panel, snapshot(tmp_path / "r", "interrupted", last_words=("Traceback", "MemoryError: <big>")))
    until(lambda: "its process has died" in text(panel._status))
    assert "MemoryError: <big>" in text(panel._problem)
    assert "<big>" not in panel._problem.value
    assert panel._resume.button_style == "warning"


def test_the_clock_goes_on_between_two_rounds(panel, tmp_path):
    show(panel, snapshot(tmp_path / "r"))
    until(lambda: "1:05 min at work" in text(panel._status))
    until(lambda: "1:06 min at work" in text(panel._status), 5)


def test_a_refusal_is_shown_and_not_raised(panel):
    panel._stop.disabled = False
    panel._stop.click()
    assert "no run yet" in text(panel._problem)
    with pytest.raises(InvalidInput, match="no run yet"):
        panel.stop()


def test_what_cannot_start_says_why_at_the_button(panel):
    panel.session.change({"objective.budget": 1000})
    panel._start.click()
    until(lambda: "below the cost of one round" in text(panel._problem), 30)
    assert enabled(panel) == {"start", "runtime"}
    assert not list(panel.session.runs.glob("*"))


def make_run(folder, name, *, status=None, age=0.0):
    directory = RunDirectory.create(folder / name, api.resolve("degradation", {}))
    directory.journal_file.write_bytes(b"")
    if status:
        directory.write_summary({"scenario": "degradation", "status": status, "rounds": 7, "final_accuracy": 81.5})
    began = time.time() - age
    os.utime(directory.scenario_file, (began, began))
    return directory


def test_runs_are_listed_with_status_and_age(tmp_path):
    alive = make_run(tmp_path, "alive")
    make_run(tmp_path, "ended", status="finished", age=7200).release()
    make_run(tmp_path, "died", age=300).release()
    (tmp_path / "none").mkdir()
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "scenario.yaml").write_text("[")
    listed = [(run.path.name, run.scenario, run.status, run.age, run.accuracy) for run in list_runs(tmp_path)]
    assert listed == [
        ("alive", "degradation", "running", "just now", None),
        ("died", "degradation", "interrupted", "5 min ago", None),
        ("ended", "degradation", "finished", "2 h ago", 81.5),
    ]
    table = Lab.runs(tmp_path)
    assert list(table["run"]) == ["alive", "died", "ended"]
    assert table["rounds"].tolist()[2] == 7
    alive.release()


def test_a_stopped_run_whose_next_life_died_is_interrupted(tmp_path):
    directory = make_run(tmp_path, "twice", status="stopped")
    directory.release()
    later = time.time() + 60
    os.utime(directory.journal_file, (later, later))
    assert [run.status for run in list_runs(tmp_path)] == ["interrupted"]


def test_the_list_of_runs_is_offered(tmp_path):
    make_run(tmp_path, "ended", status="finished").release()
    panel = LaunchPanel(Session("improvement", runs=tmp_path))
    assert panel._runs.options == (("ended · finished · just now", str(tmp_path / "ended")),)
    make_run(tmp_path, "second", status="finished", age=-5).release()
    panel._refresh.click()
    assert [words.split(" · ")[0] for words, _ in panel._runs.options] == ["second", "ended"]
    assert panel._runs.value == str(tmp_path / "ended")  # what was chosen stays chosen
    panel.close()


def test_words():
    assert [duration(s) for s in (3.4, 65, 3723)] == ["3 s", "1:05 min", "1:02 h"]
    assert [ago(s) for s in (3, 90, 7200, 3 * 86400)] == ["just now", "2 min ago", "2 h ago", "3 days ago"]


class TestLab:
    def test_a_lab_without_a_front_end_is_readable_text(self, tmp_path):
        lab = Lab("improvement", runs=tmp_path, seed=4, validation__window=3)
        words = repr(lab)
        for part in ("improvement", "seed 4", "W = 3", "n2 ← n4 n5 n6", "no run yet", "lab.finish()"):
            assert part in words
        data = lab._repr_mimebundle_()
        assert data["text/plain"] == words
        assert "application/vnd.jupyter.widget-view+json" in data
        json.dumps(data)
        lab.close()
        lab.close()

    def test_every_panel_can_be_had_alone(self, tmp_path):
        lab = Lab(runs=tmp_path)
        for name in ("cluster", "strategy", "run", "metrics", "topology", "events", "decisions", "predict"):
            assert getattr(lab, name) in lab.panels
        lab.close()

    def test_closing_leaves_no_thread(self, tmp_path):
        import threading

        before = set(threading.enumerate())
        lab = Lab(runs=tmp_path)
        lab.session.change({"seed": 2})
        lab.close()
        until(lambda: not [t for t in threading.enumerate() if t not in before and t.name.startswith("aiotwin")])

    def test_attaching_where_there_is_nothing(self, tmp_path):
        with pytest.raises(InvalidInput, match="there are no runs under"):
            Lab.attach(runs=tmp_path)

    def test_bad_input_is_refused_before_anything_is_shown(self):
        with pytest.raises(InvalidInput, match=r"validation\.windw: unknown field"):
            Lab("improvement", validation__windw=3)


def test_a_stop_on_its_way_is_told_and_not_sent_twice(panel, tmp_path):
    stop = SentCommand("1", {"command": "stop"}, "received")
    show(panel, snapshot(tmp_path / "r", commands=(stop,)))
    until(lambda: "training round 11, then it stops" in text(panel._status))
    assert enabled(panel) == set()
    show(panel, snapshot(tmp_path / "r", commands=(replace(stop, status="applied"),)))
    until(lambda: enabled(panel) == {"stop"})


def test_nothing_starts_while_a_value_in_the_plan_makes_no_sense(panel):
    panel.session.mistake = "Window W: is 0; it must be greater than or equal to 1"
    panel._start.click()
    assert panel.session.phase == "none"
    assert "Window W: is 0" in text(panel._problem)
    with pytest.raises(InvalidInput, match="Window W"):
        panel.start()
    panel.session.mistake = ""
    until(lambda: text(panel._problem) == "")
