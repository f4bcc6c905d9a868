"""Predictions are sealed before a decision, kept beside the run, and scored after it."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from moments import ROUNDS, branch, moment

from aiotwin_nb.errors import InvalidInput
from aiotwin_nb.widgets.predict import PredictPanel, parse_accuracy, tally_words
from aiotwin_nb.widgets.predictions import Prediction, Score, Tally, read_predictions, score, seal
from aiotwin_nb.widgets.truth import Truth


def made(decision="kept", after_round=10, **fields):
    return Prediction(after_round=after_round, decision=decision, **fields)


@pytest.fixture
def panel(session):
    panel = PredictPanel(session)
    yield panel
    panel.close()


def record(tmp_path):
    return moment(tmp_path, 15, **ROUNDS).state.reconfigurations[0]


# Kept beside the run.


def test_a_prediction_is_kept_and_sealed(tmp_path):
    state = moment(tmp_path, 12, **ROUNDS).state
    seal(tmp_path, made("reverted", final_accuracy=80, why="dear"), state)
    assert read_predictions(tmp_path)[10] == made("reverted", final_accuracy=80, why="dear")
    with pytest.raises(InvalidInput, match="sealed already"):
        seal(tmp_path, made("kept"), state)
    assert sorted(json.loads((tmp_path / "predictions.json").read_text())[0]) == [
        "after_round", "decision", "final_accuracy", "sealed_after_round", "why",
    ]  # fmt: skip


def test_it_is_too_late_when_the_decision_has_fallen(tmp_path):
    with pytest.raises(InvalidInput, match="too late"):
        seal(tmp_path, made(), moment(tmp_path, 15, **ROUNDS).state)
    assert not (tmp_path / "predictions.json").exists()


def test_several_notebooks_do_not_lose_each_others_predictions(tmp_path):
    state = moment(tmp_path, 9, **ROUNDS).state
    with ThreadPoolExecutor(8) as notebooks:
        list(notebooks.map(lambda at: seal(tmp_path, made(after_round=at), state), range(20, 60)))
    assert sorted(read_predictions(tmp_path)) == list(range(20, 60))


@pytest.mark.parametrize("content", ["", "{}", '[{"after_round": 1}]', '[{"after_round": 1, "decision": "both"}]'])
def test_a_damaged_file_is_told_and_left_alone(tmp_path, content):
    (tmp_path / "predictions.json").write_text(content)
    with pytest.raises(InvalidInput, match=r"predictions\.json: is damaged"):
        seal(tmp_path, made(), moment(tmp_path, 12, **ROUNDS).state)
    assert (tmp_path / "predictions.json").read_text() == content


# Scored.


@pytest.mark.parametrize(
    ("decision", "outcome", "expected"),
    [
        ("kept", None, Score(True, None, None, None)),
        ("reverted", branch(90, 80, "kept"), Score(False, False, True, None)),
        ("reverted", branch(80, 90, "reverted"), Score(False, True, False, None)),
        ("kept", branch(80, 90, "reverted"), Score(True, False, False, None)),
        ("reverted", branch(80, 80.1, "tie"), Score(False, True, True, None)),
        ("kept", branch(80, None, "kept"), Score(True, None, None, None)),
    ],
)
def test_scores(tmp_path, decision, outcome, expected):
    assert score(made(decision), record(tmp_path), outcome, None) == expected


def test_a_number_is_scored_when_the_run_has_finished(tmp_path):
    assert score(made(final_accuracy=90), record(tmp_path), None, 84.5).off == pytest.approx(5.5)
    assert score(made(), record(tmp_path), None, 84.5).off is None


@pytest.mark.parametrize("decision", ["forced", "refused", "undecided", "not_validated", "pending"])
def test_where_nothing_was_decided_nothing_is_scored(tmp_path, decision):
    assert score(made(), replace(record(tmp_path), decision=decision), branch(90, 80, "kept"), 90.0) == Score()


def test_the_tally_counts_what_is_known():
    count = Tally.of([Score(True, True, True), Score(False, True, False), Score(True), Score()])
    assert count == Tally(predictions=4, compared=3, agrees=2, known=2, right=2, orchestrator_right=1)
    assert tally_words(count) == "So far: 2 of 3 as the orchestrator decided; right 2 of 2, the orchestrator 1 of 2."
    assert tally_words(Tally()) == ""


# The panel.


def test_before_the_run_scripted_changes_can_be_predicted(panel):
    (question,) = panel.questions()
    assert question.open
    assert question.title == "After round 10: n9 joins"
    assert question.facts.startswith("n9 brings 120 samples of labels")
    assert "The change costs 165 (Ψ_rc); a round 1,320 → 1,980 (Ψ_pr +660)" in question.facts
    panel.commit(10, "reverted", final_accuracy=80, why="dear")
    assert "You predicted: revert, ending at 80 % (dear); sealed before the run." in panel.describe()
    with pytest.raises(InvalidInput, match="nothing to predict"):
        panel.commit(10, "kept")


def test_what_was_sealed_before_goes_with_the_run_that_is_started(session, panel, tmp_path):
    panel.commit(10, "reverted")
    session.phase = "starting"
    session.snapshot = moment(tmp_path, 0, **ROUNDS)
    session.phase = "attached"
    assert read_predictions(tmp_path)[10].decision == "reverted"
    assert "sealed before the run" in panel.describe()


def test_what_was_sealed_before_goes_with_no_other_run(session, panel, tmp_path):
    panel.commit(10, "reverted")
    session.snapshot = moment(tmp_path, 0, **ROUNDS)
    session.phase = "attached"
    assert read_predictions(tmp_path) == {}


def test_a_form_while_the_window_is_open(session, panel, tmp_path):
    session.snapshot = moment(tmp_path, 12, **ROUNDS)
    panel._paint()
    (view,) = panel._questions.children
    assert view.button.disabled
    view.choice.value = "kept"
    view.accuracy.value = "many"
    view.button.click()
    assert "must be a number from 0 to 100" in view._problem.value
    assert read_predictions(tmp_path) == {}
    view.accuracy.value, view.why.value = "91,5 %", "more labels"
    view.button.click()
    assert read_predictions(tmp_path)[10] == made(final_accuracy=91.5, why="more labels", sealed_after_round=12)
    panel._paint()
    assert view._form.layout.display == "none"
    assert "sealed after round 12" in view._below.value


def test_the_form_closes_when_the_decision_falls(session, panel, tmp_path):
    session.snapshot = moment(tmp_path, 12, **ROUNDS)
    panel._paint()
    session.snapshot = moment(tmp_path, 15, **ROUNDS)
    panel._paint()
    (view,) = panel._questions.children
    assert view._form.layout.display == "none"
    assert "No prediction was sealed in time." in panel.describe()


def test_scores_and_tally_are_shown(session, panel, tmp_path):
    seal(tmp_path, made("reverted", final_accuracy=50), moment(tmp_path, 12, **ROUNDS).state)
    session.snapshot = moment(tmp_path, -1, **ROUNDS)
    session.truth = Truth("done", {10: branch(90, 80, "kept")})
    words = panel.describe()
    assert "The orchestrator kept, ≠ unlike you." in words
    assert "✘ You were wrong, the orchestrator was right" in words
    assert "points above the accuracy that you named" in words


def test_required_hides_the_futures_until_one_has_predicted(session, panel, tmp_path):
    panel.required = True
    session.snapshot = moment(tmp_path, 12, **ROUNDS)
    panel._paint()
    assert session.reveal is False
    panel.commit(10, "kept")
    panel._paint()
    assert session.reveal is True


def test_required_hides_nothing_that_has_been_decided(session, panel, tmp_path):
    panel.required = True
    for number, shown in ((12, False), (15, True)):
        session.snapshot = moment(tmp_path, number, **ROUNDS)
        panel._paint()
        assert session.reveal is shown


def test_a_damaged_file_is_shown(session, panel, tmp_path):
    (tmp_path / "predictions.json").write_text("?")
    session.snapshot = moment(tmp_path, 12, **ROUNDS)
    panel._paint()
    assert "is damaged" in panel._heading.value


@pytest.mark.parametrize(("typed", "value"), [("", None), (" ", None), ("91.5", 91.5), ("91,5 %", 91.5), ("0", 0.0)])
def test_accuracies_as_people_type_them(typed, value):
    assert parse_accuracy(typed) == value


@pytest.mark.parametrize("typed", ["x", "-1", "101", "nan", "inf", "9 0"])
def test_what_is_no_accuracy_is_refused(typed):
    with pytest.raises(InvalidInput, match="from 0 to 100"):
        parse_accuracy(typed)
