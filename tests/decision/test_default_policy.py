import json
import math

import pytest

from aiotwin_nb.decision import Evidence, policies, validate
from aiotwin_nb.decision.features import CURVE_FEATURES, features
from aiotwin_nb.decision.forest import Forest, load_model

BEFORE = [(r, min(10 + 22 * math.log(r + 1), 100), 2.3 - 0.5 * math.log(r + 1)) for r in range(11)]
LEVEL = BEFORE[-1][1]
RISING = [(r, LEVEL + 4 * (r - 10), 1.0 - 0.05 * (r - 10)) for r in range(11, 16)]
FALLING = [(r, LEVEL - 4 * (r - 10), 1.1 + 0.1 * (r - 10)) for r in range(11, 16)]
MONEY = {"round_cost_before": 1320, "round_cost_after": 1980, "spent": 23265, "budget": 100000, "policy": "default"}
OLD = {"n4": {0: 40, 1: 40, 2: 40}, "n5": {3: 40, 4: 40, 5: 40}}


def context(joining, loss=1.0, extra=0):
    """What the orchestrator knows when n9 joins with some labels and trains with `loss` times the others' loss."""
    held = {label for counts in OLD.values() for label in counts}
    labels = {**OLD, "n9": dict.fromkeys(joining, 40)}
    known = held | set(joining)

    def classes(r):
        seen = known if r > 10 else held
        return {label: (LEVEL if label in held else 60.0) if label in seen else 0.0 for label in range(10)}

    clients = {c: [[r, 120, 0.5, 1.0] for r in range(1, 16)] for c in OLD}
    clients["n9"] = [[r, 120, 0.5 * loss, 1.0 * loss] for r in range(11, 16)]
    return {
        "labels": labels,
        "labels_before": OLD,
        "per_class": [[r, classes(r)] for r in range(16)],
        "clients": clients,
        "training": {"epochs": 2, "local_rounds": 2, "learning_rate": 0.004, "batch_size": 32},
        "extra_rounds_left": extra,
    }


def test_it_is_registered_and_forecasts_both_futures_with_intervals():
    assert "default" in policies.names()
    verdict = validate(BEFORE, RISING, **MONEY)
    for value, interval in (
        (verdict.predicted_old, verdict.interval_old),
        (verdict.predicted_new, verdict.interval_new),
    ):
        assert 0 <= interval[0] <= value <= interval[1] <= 100
    assert verdict.interval_new[0] < verdict.interval_new[1]


def test_the_decision_is_the_sign_of_the_predicted_difference():
    for window in (RISING, FALLING):
        verdict = validate(BEFORE, window, **MONEY)
        better = verdict.predicted_new >= verdict.predicted_old
        assert verdict.decision == ("kept" if better else "reverted")


def test_clear_cases():
    unseen = context([6, 7, 8, 9])
    assert validate(BEFORE, RISING, **MONEY, context=unseen).decision == "kept"
    wrong_labels = context([0, 1, 2], loss=2.5)
    assert validate(BEFORE, FALLING, **MONEY, context=wrong_labels).decision == "reverted"


def test_the_same_question_has_the_same_answer_and_json_may_lie_between():
    known = context([6, 7, 8])
    first = validate(BEFORE, RISING, **MONEY, context=known)
    again = validate(BEFORE, RISING, **MONEY, context=json.loads(json.dumps(known)))
    assert (first.decision, first.predicted_old, first.interval_new) == (
        again.decision,
        again.predicted_old,
        again.interval_new,
    )


@pytest.mark.parametrize(("before", "window"), [(BEFORE, RISING[:1]), (BEFORE[:2], RISING), ([], RISING)])
def test_too_few_rounds_are_undecided_and_no_number(before, window):
    verdict = validate(before, window, **MONEY)
    assert verdict.decision == "undecided"
    assert "trained rounds" in verdict.reason
    assert not verdict.evidence.extend


def test_it_extends_only_while_rounds_are_left():
    """Near a tie, one more round is worth something; with none left, it decides."""
    asked = [
        validate(
            BEFORE, [(r, LEVEL + gain * (r - 10), 0.9) for r in range(11, 16)], **MONEY, context=context([0], extra=k)
        )
        for gain in (-1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5)
        for k in (0, 3)
    ]
    without, with_rounds = asked[::2], asked[1::2]
    assert all(decision.decision in ("kept", "reverted") for decision in without)
    for decision in with_rounds:
        assert (decision.decision == "undecided") == decision.evidence.extend
        if decision.evidence.extend:
            assert "one more round is worth" in decision.reason


@pytest.mark.parametrize(
    "partial", [{}, {"labels": OLD}, {"labels": OLD, "labels_before": {}}, {"clients": {}, "per_class": []}]
)
def test_it_makes_do_with_a_part_of_the_context(partial):
    assert validate(BEFORE, RISING, **MONEY, context=partial).decision in ("kept", "reverted")


def test_features_have_the_same_names_whatever_is_known():
    names = set()
    for window in (RISING, RISING[:2]):
        for known in (None, context([6])):
            evidence: Evidence = validate(BEFORE, window, **{**MONEY, "policy": "always_keep"}, context=known).evidence
            names.add(tuple(features(evidence)))
    (only,) = names
    assert only[: len(CURVE_FEATURES)] == CURVE_FEATURES


def test_features_of_the_context():
    evidence = validate(
        BEFORE, RISING, **{**MONEY, "policy": "always_keep"}, context=context([6, 7], loss=2.0)
    ).evidence
    known = features(evidence)
    assert (known["coverage_old"], known["coverage_new"]) == (0.6, 0.8)
    assert known["loss_ratio"] == pytest.approx(math.log(2))
    assert known["at_stake"] == pytest.approx(12), "two classes of ten at 60 % would be forgotten"
    assert known["sign"] == 1


def test_futures_are_capped_by_the_labels_that_are_there():
    evidence = validate(BEFORE, RISING, **{**MONEY, "policy": "always_keep"}, context=context([6, 7])).evidence
    known = features(evidence)
    assert known["room_old"] == pytest.approx(60 - known["level"])
    assert known["capped_old"] == min(known["trend_old"], known["room_old"])
    assert known["capped_gap"] == pytest.approx(known["capped_new"] - known["capped_old"])
    assert known["untaught"] == pytest.approx(20 - known["at_stake"])
    nothing = features(validate(BEFORE, RISING, **{**MONEY, "policy": "always_keep"}).evidence)
    assert nothing["capped_old"] == nothing["trend_old"]
    assert math.isnan(nothing["room_old"])
    assert math.isnan(nothing["untaught"])


def test_a_forest_is_read_from_json():
    tree = [0, 1.5, 1, -2.0, [1, 0.0, 0, 3.0, 5.0]]
    forest = Forest(("a", "b"), 10.0, 0.5, (tree, 4.0))
    assert forest.predict({"a": 1.0, "b": 0.0}) == 10 + 0.5 * (-2 + 4)
    assert forest.predict({"a": 2.0, "b": 1.0}) == 10 + 0.5 * (5 + 4)
    assert forest.predict({"a": math.nan, "b": 0.0}) == 10 + 0.5 * (-2 + 4), "unknown goes left here"


def test_the_shipped_model_is_small_and_knows_its_features():
    from importlib.resources import files

    assert len(files("aiotwin_nb.decision").joinpath("default_model.json").read_bytes()) < 500_000
    models = load_model()
    assert models["rows"].difference.features == CURVE_FEATURES
    assert set(CURVE_FEATURES) < set(models["context"].difference.features)
