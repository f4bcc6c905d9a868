import csv
import math
from decimal import Decimal

import pytest

from aiotwin_nb.decision import is_armed, rounds_left, validate
from aiotwin_nb.errors import InvalidInput

BEFORE = [(r, 10 + 8 * math.log(r + 1), 2.0) for r in range(11)]
BETTER = [(r, 45 + 12 * math.log(r / 10), 1.5) for r in range(11, 16)]
WORSE = [(r, 20 + 1 * math.log(r / 10), 2.5) for r in range(11, 16)]
MONEY = {"round_cost_before": 1320, "round_cost_after": 1980, "spent": 23265, "budget": 100000}


@pytest.mark.parametrize(
    ("run", "decision", "old", "new"), [("1a", "reverted", 50.92, 44.72), ("1b", "kept", 50.61, 103.97)]
)
def test_golden_decisions_of_the_recorded_runs(shared, run, decision, old, new):
    with (shared / "reference" / "icmlcn" / run / "rva.csv").open() as file:
        rows = [(int(r), float(a), float(loss)) for r, a, loss, _ in csv.reader(file)]
    verdict = validate(
        rows[:11],
        rows[11:16],
        round_cost_before=1716,
        round_cost_after=1980,
        spent=27126,
        budget=100000,
        trend="log_original",
    )
    assert verdict.decision == decision
    assert verdict.predicted_old == pytest.approx(old, abs=0.01)
    assert verdict.predicted_new == pytest.approx(new, abs=0.01)
    assert (verdict.rounds_left_old, verdict.rounds_left_new) == (42, 36)


def test_keeps_the_better_and_reverts_the_worse_future():
    assert validate(BEFORE, BETTER, **MONEY).decision == "kept"
    assert validate(BEFORE, WORSE, **MONEY).decision == "reverted"


def test_a_tie_keeps():
    same = [(r, 100.0, 0.1) for r in range(1, 6)]
    after = [(r, 100.0, 0.1) for r in range(6, 11)]
    verdict = validate(same, after, **MONEY)
    assert verdict.predicted_old == verdict.predicted_new == 100
    assert verdict.decision == "kept"


def test_the_revert_costs_rounds():
    free = validate(BEFORE, BETTER, **MONEY)
    dear = validate(BEFORE, BETTER, **MONEY, revert_cost=13200)
    assert dear.rounds_left_old == free.rounds_left_old - 10
    assert dear.rounds_left_new == free.rounds_left_new


def test_evidence_carries_both_sides():
    evidence = validate(BEFORE, BETTER, **MONEY, revert_cost=66).evidence
    for future in (evidence.old, evidence.new):
        assert future.fit is not None
        assert future.final_round == evidence.evaluation_round + future.rounds_left
        assert future.interval[0] <= future.predicted <= future.interval[1]
    assert evidence.revert_cost == 66
    assert evidence.budget_left == 100000 - 23265


@pytest.mark.parametrize(
    ("policy", "decision"), [("always_keep", "kept"), ("always_revert", "reverted"), ("off", "kept")]
)
def test_other_policies_do_not_look(policy, decision):
    for window in (BETTER, WORSE):
        assert validate(BEFORE, window, **MONEY, policy=policy).decision == decision


def test_too_few_rounds_are_undecided_and_no_number():
    verdict = validate(BEFORE, BETTER[:1], **MONEY)
    assert verdict.decision == "undecided"
    assert verdict.predicted_new is None
    assert verdict.interval_new is None


def test_cost_min_reverts_to_the_cheaper_way_to_the_target():
    before = [(r, 20 * math.log(r + 1), 1.0) for r in range(11)]
    faster = [(r, 30 * math.log(r + 1), 1.0) for r in range(11, 16)]
    money = {"spent": 0, "budget": None, "objective": "cost_min", "target": 85.0, "trend": "log"}
    cheap = validate(before, faster, round_cost_before=100, round_cost_after=110, **money)
    assert cheap.decision == "kept"
    assert cheap.rounds_left_new == max(math.ceil(math.exp(85 / 30) - 1) - 15, 0)
    assert cheap.rounds_left_old == math.ceil(math.exp(85 / 20) - 1) - 15
    original = validate(
        before, faster, round_cost_before=100, round_cost_after=110, **{**money, "trend": "log_original"}
    )
    assert original.rounds_left_new == max(math.ceil(math.exp(85 / 30) - 1) - 16, 0)  # one round less, as the original
    assert cheap.evidence.old.cost == cheap.rounds_left_old * 100
    dear = validate(before, faster, round_cost_before=1, round_cost_after=5000, **money)
    assert dear.decision == "reverted"


def test_cost_min_with_a_target_that_is_never_reached():
    flat = [(r, 30.0, 1.0) for r in range(1, 11)]
    flat_after = [(r, 30.0, 1.0) for r in range(11, 16)]
    rising = [(r, 30 * math.log(r + 1), 1.0) for r in range(11, 16)]
    money = {
        "round_cost_before": 1,
        "round_cost_after": 2,
        "spent": 0,
        "budget": None,
        "objective": "cost_min",
        "target": 85,
    }
    assert validate(flat, rising, **money).decision == "kept"
    assert "never reaches" in validate(flat, flat_after, **money).reason


def test_rounds_left_is_exact_and_never_negative():
    assert rounds_left(Decimal("0.3"), Decimal("0.1")) == 3
    assert rounds_left(Decimal(-5), Decimal(1)) == 0
    assert rounds_left(Decimal("74755"), Decimal("1320")) == 56


def test_armed_when_the_budget_buys_fewer_rounds():
    facts = {"policy": "rva", "spent": Decimal(13200), "budget": Decimal(100000), "change_cost": Decimal(165)}
    dearer = {"round_cost_before": Decimal(1320), "round_cost_after": Decimal(1980)}
    cheaper = {"round_cost_before": Decimal(1320), "round_cost_after": Decimal(990)}
    assert is_armed(arm="fewer_rounds", **facts, **dearer)
    assert not is_armed(arm="fewer_rounds", **facts, **cheaper)
    assert is_armed(arm="always", **facts, **cheaper)
    assert not is_armed(arm="always", **{**facts, "policy": "off"}, **dearer)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"policy": "rav"}, ["'rav'", "rva", "always_keep", "Did you mean"]),
        ({"trend": "log_orignal"}, ["log_orignal", "Did you mean 'log_original'"]),
        ({"objective": "total"}, ["total_budget", "cost_min"]),
        ({"budget": None}, ["total_budget needs a budget"]),
        ({"objective": "cost_min"}, ["target"]),
        ({"round_cost_after": 0}, ["must be above 0"]),
    ],
)
def test_bad_questions_are_refused(change, words):
    with pytest.raises(InvalidInput) as error:
        validate(BEFORE, BETTER, **{**MONEY, **change})
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize(
    ("before", "window", "word"),
    [
        (BEFORE, [], "no row"),
        (BEFORE, [(11, 120.0, 1.0)], "percentage"),
        ([(2, 10.0, 1.0), (1, 12.0, 1.0)], BETTER, "ascend"),
        ([(1, "x", 1.0)], BETTER, "round, accuracy, loss"),
        ([(1, float("nan"), 1.0)], BETTER, "percentage"),
    ],
)
def test_rows_that_make_no_sense_are_refused(before, window, word):
    with pytest.raises(InvalidInput, match=word):
        validate(before, window, **MONEY)
