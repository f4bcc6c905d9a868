"""What is learned is what is shipped: the trees as JSON predict what scikit-learn does."""

import json

import numpy as np
import pytest

from aiotwin_nb.bench.branches import Case
from aiotwin_nb.bench.learn import Boosted, Mean, Randomised, Table, train
from aiotwin_nb.decision.features import CURVE_FEATURES
from aiotwin_nb.decision.forest import Forest, model_from_json


@pytest.fixture(scope="module")
def data():
    draw = np.random.default_rng(1)
    x = draw.normal(size=(300, 4))
    x[draw.random(x.shape) < 0.1] = np.nan
    return x, np.where(x[:, 0] > 0, 3.0, -1.0) + draw.normal(size=300)


@pytest.mark.parametrize(
    "learner",
    [Boosted(trees=20), Randomised([0, 2]), Mean(Randomised([1, 3]), Boosted(trees=20))],
    ids=["boosted", "randomised", "mean"],
)
def test_json_predicts_what_the_learner_does(data, learner):
    x, y = data
    learner.fit(x, y)
    raw = json.loads(json.dumps(learner.to_json()))
    forest = Forest(tuple("abcd"), raw["start"], raw["scale"], tuple(raw["trees"]))
    shipped = np.array([forest.predict(dict(zip("abcd", row, strict=True))) for row in x])
    close = np.abs(shipped - learner.predict(x)) < 0.01 * np.ptp(y)
    assert close.mean() > 0.97  # a threshold of four digits sends a few rows the other way


def test_training_needs_cases_only_and_gives_a_model():
    draw = np.random.default_rng(2)
    cases = []
    for seed in range(40):
        gain = float(draw.normal())
        rows = [(r, 10 + 3.0 * r + float(draw.normal()), 2.0) for r in range(11)]
        question = {
            "before": rows, "round_cost_before": 100, "round_cost_after": 120, "spent": 1500, "budget": 5000,
            "revert_cost": 0, "objective": "total_budget", "target": None, "policy": "default", "trend": "log",
            "context": {},
        }  # fmt: skip
        windows = {e: [(r, 40 + gain * (r - 10), 1.0) for r in range(11, 15 + e)] for e in range(4)}
        asked = {e: {**question, "window": window} for e, window in windows.items()}
        cases.append(Case("digits", f"made-up-{seed}", 2 * seed, 4, asked, 60 + 5 * gain, {0: 60.0, 3: 59.0}))
    table = Table.of(cases)
    assert len(table.groups) == 4 * len(cases)
    assert table.old[1] + table.x[1, table.names.index("level")] == pytest.approx(60 - 1 / 3)
    model = model_from_json(train(table.without_context()))
    assert model.difference.features == CURVE_FEATURES
    rising, falling = (dict(zip(CURVE_FEATURES, table.without_context().x[i], strict=True)) for i in _extremes(cases))
    assert model.difference.predict(rising) > 0 > model.difference.predict(falling)


def _extremes(cases):
    ends = [case.kept for case in cases]
    return 4 * int(np.argmax(ends)), 4 * int(np.argmin(ends))
