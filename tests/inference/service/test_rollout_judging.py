import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from aiotwin_nb.errors import InvalidInput
from aiotwin_nb.inference.rollout import Counts, Rules, Window, judge
from aiotwin_nb.inference.rollout.judging import difference, wilson


@st.composite
def counts(draw):
    requests, labelled = draw(st.integers(0, 500)), draw(st.integers(0, 200))
    return Counts(requests, draw(st.integers(0, requests)), labelled, draw(st.integers(0, labelled)))


WINDOWS = st.lists(st.builds(Window, counts(), counts()), max_size=12)


def window(old_right=80, new_right=80, labelled=100, old_within=95, new_within=95, requests=100):
    return Window(Counts(requests, old_within, labelled, old_right), Counts(requests, new_within, labelled, new_right))


@given(st.integers(1, 3000), st.data(), st.floats(0.001, 0.4))
def test_the_interval_of_a_share_solves_its_score_equation(count, data, error):
    hits = data.draw(st.integers(0, count))
    low, high = wilson(hits, count, error)
    z = norm.ppf(1 - error / 2)
    rounding = 1e-12
    assert 0 <= low <= hits / count + rounding
    assert hits / count - rounding <= high <= 1
    for bound in (low, high):
        if 0 < bound < 1:
            assert abs(hits / count - bound) == pytest.approx(z * (bound * (1 - bound) / count) ** 0.5, abs=1e-6)


def test_the_interval_of_a_difference_is_newcombes():
    # The example of the cited article's table II, row 56/70 − 48/80, method 10: 0.0524 to 0.3339.
    found = difference(56, 70, 48, 80, 0.05)
    assert (found.points, found.low, found.high) == pytest.approx((20, 5.24, 33.39), abs=0.01)


@given(WINDOWS)
def test_it_is_decided_in_the_end_and_always_said_why(windows):
    rules = Rules(windows=3, extra_windows=4)
    judged = judge(windows, rules)
    assert judged.reason.count("\n") == 0
    assert judged.reason
    if len(windows) >= rules.most:
        assert judged.verdict != "undecided"
    if len(windows) < rules.windows:
        assert judged.verdict != "kept"


@given(WINDOWS, st.integers(1, 50))
def test_more_right_answers_of_the_new_model_never_turn_keep_into_revert(windows, more):
    rules, order = Rules(windows=2, extra_windows=3), {"reverted": 0, "undecided": 1, "kept": 2}
    better = [
        Window(w.old, Counts(w.new.requests, w.new.within, w.new.labelled, min(w.new.right + more, w.new.labelled)))
        for w in windows
    ]
    assert order[judge(better, rules).verdict] >= order[judge(windows, rules).verdict]


def test_a_clearly_worse_model_goes_at_once():
    judged = judge([window(new_right=40)])
    assert judged.verdict == "reverted"
    assert "accuracy is worse" in judged.reason
    assert judge([window(new_within=50)]).verdict == "reverted"


def test_a_clearly_better_model_is_kept_after_the_windows_and_not_before():
    windows = [window(old_right=50, new_right=90, old_within=80, new_within=95)] * 5
    assert [judge(windows[:n]).verdict for n in range(1, 6)] == ["undecided"] * 4 + ["kept"]


def test_a_tie_keeps_in_the_end():
    windows = [window()] * 10
    assert [judge(windows[:n]).verdict for n in range(1, 11)] == ["undecided"] * 9 + ["kept"]
    assert "tie" in judge(windows).reason


def test_a_probable_loss_reverts_in_the_end():
    judged = judge([window(new_right=77)] * 10)
    assert (judged.verdict, "probably worse" in judged.reason) == ("reverted", True)


def test_what_cannot_be_judged_is_reverted_in_the_end():
    unlabelled = [window(0, 0, labelled=0)] * 10
    assert judge(unlabelled[:9]).verdict == "undecided"
    judged = judge(unlabelled)
    assert (judged.verdict, "labelled answers" in judged.reason) == ("reverted", True)
    assert judge(unlabelled, Rules(labels=0)).verdict == "kept"
    nothing = [Window(Counts(9, 9), Counts())] * 10
    assert "no request" in judge(nothing, Rules(labels=0)).reason
    assert judge([]).verdict == "undecided"


def rolled_out(draw, accuracy, qos=0.95):
    """Verdict on a model of this accuracy beside one of 80 %, windows of 60 requests, half of them labelled."""
    windows = []
    while (judged := judge(windows)).verdict == "undecided":
        sides = []
        for right in (0.8, accuracy):
            within = sum(draw.random() < qos for _ in range(60))
            sides.append(Counts(60, within, 30, sum(draw.random() < right for _ in range(30))))
        windows.append(Window(*sides))
    return judged


def test_chance_alone_seldom_makes_a_clear_loss_and_real_ones_are_found():
    draw = random.Random(1)
    clear = [rolled_out(draw, 0.8) for _ in range(200)]
    assert sum("is worse" in judged.reason for judged in clear) <= 0.05 * 200
    assert sum(rolled_out(draw, 0.5).verdict == "reverted" for _ in range(100)) >= 99
    assert sum(rolled_out(draw, 0.95).verdict == "kept" for _ in range(100)) >= 80


@pytest.mark.parametrize("wrong", [{"windows": 0}, {"extra_windows": -1}, {"confidence": 1}, {"qos_margin": -1}])
def test_rules_that_make_no_sense_are_refused(wrong):
    with pytest.raises(InvalidInput):
        Rules(**wrong)
    with pytest.raises(InvalidInput):
        Counts(1, 2)
