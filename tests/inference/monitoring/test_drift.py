"""Alarms come soon after a drift and hardly ever without one, and the rule asks for learning in time."""

import numpy as np
import pytest

from aiotwin_nb.errors import InvalidInput
from aiotwin_nb.inference.monitoring import (
    AccuracyWindow,
    ErrorCusum,
    RetrainRule,
    RetrainState,
    ScoreDrift,
    retrain_step,
)


def alarms_at(cusum, errors):
    return [k for k, wrong in enumerate(errors) if cusum.add(bool(wrong))]


@pytest.mark.parametrize("rate", [0.02, 0.1, 0.3])
def test_false_alarms_of_the_errors_are_as_rare_as_promised(rate):
    """200 000 labels without drift, promised at most one alarm in 2000: with a new reference every 10 000 labels."""
    draw = np.random.default_rng(7)
    alarms = sum(
        len(alarms_at(ErrorCusum(100, worse=0.1, false_alarm_every=2000), draw.random(10_000) < rate))
        for _ in range(20)
    )
    assert alarms <= 200_000 / 2000


def test_a_rise_of_errors_is_found_soon():
    draw = np.random.default_rng(3)
    delays = []
    for _ in range(50):
        cusum = ErrorCusum(200, worse=0.15)
        assert not alarms_at(cusum, draw.random(400) < 0.1)
        delays.append(alarms_at(cusum, draw.random(400) < 0.45)[0])
    assert np.median(delays) < 60
    assert max(delays) < 150


def test_false_alarms_of_the_scores_are_as_rare_as_promised():
    draw = np.random.default_rng(5)
    tested, alarms = 0, 0
    for _ in range(100):
        drift = ScoreDrift(200, 50, false_alarms=0.01)
        drift.add(draw.beta(8, 2, 200))
        for _ in range(10):
            alarms += drift.add(draw.beta(8, 2, 50))
            tested += 1
    assert alarms / tested <= 0.01 + 3 * np.sqrt(0.01 / tested)


def test_a_drift_of_the_scores_is_found_without_labels():
    draw = np.random.default_rng(5)
    drift = ScoreDrift(200, 100)
    assert not drift.add(draw.beta(8, 2, 1000))
    assert drift.add(draw.beta(4, 3, 100))
    assert drift.p_value < 0.001
    drift.restart()
    assert not drift.add(draw.beta(4, 3, 600))


@pytest.mark.parametrize(
    "make",
    [
        lambda: ErrorCusum(0),
        lambda: ErrorCusum(worse=1.0),
        lambda: ErrorCusum(false_alarm_every=1),
        lambda: ScoreDrift(1),
        lambda: ScoreDrift(false_alarms=0),
        lambda: RetrainRule(0),
        lambda: RetrainRule(80, windows=0),
    ],
)
def test_wrong_settings(make):
    with pytest.raises(InvalidInput):
        make()


def windows(*accuracies, labelled=100):
    return [AccuracyWindow(k, labelled, round(labelled * a / 100), 1.0, 0.0) for k, a in enumerate(accuracies)]


def wanted_at(rule, some):
    state, found = RetrainState(), []
    for window in some:
        state, action = retrain_step(rule, state, window)
        if action:
            found.append((action.window, action.reason))
    return state, found


def test_the_rule_wants_windows_in_a_row():
    rule = RetrainRule(80, windows=3)
    state, found = wanted_at(rule, windows(90, 79, 79, 80, 79, 78, 77, 20, 20, 20))
    assert found == [(6, "accuracy 77.0 % is below 80 % for 3 windows")]  # then it is being learned: asked once
    assert state.learning
    assert str(rule) == "retrain when accuracy < 80 % for 3 windows"


def test_the_rule_can_want_to_be_sure():
    assert wanted_at(RetrainRule(80, windows=1, sure=True), windows(75))[1] == []
    assert wanted_at(RetrainRule(80, windows=1, sure=True), windows(65))[1] != []


def test_the_rule_rests_after_a_decision():
    rule = RetrainRule(80, windows=1, rest=2)
    state = RetrainState(resting=rule.rest)
    asked = []
    for window in windows(10, 10, 10):
        state, action = retrain_step(rule, state, window)
        asked.append(action is not None)
    assert asked == [False, False, True]
