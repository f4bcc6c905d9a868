"""Train the default policy on the training half of the population: `python -m aiotwin_nb.bench.learn DIR`.

DIR holds the cases that `aiotwin bench decisions --out DIR` has run (cases-<data set>.jsonl). Only even numbers are
used; odd ones are held out for scoring. Every choice below was made by cross-validation inside the training half.
Writes aiotwin_nb/decision/default_model.json. Needs scikit-learn; the policy itself does not.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from aiotwin_nb.bench.branches import Case, is_held_out, load_cases
from aiotwin_nb.decision import validate
from aiotwin_nb.decision.features import CURVE_FEATURES, features
from aiotwin_nb.decision.forest import BEND, TRUST

OUTPUT = Path(__file__).parents[1] / "decision" / "default_model.json"
INTERVAL = 0.8  # share of the folds' errors that an interval holds
LEARNING = 0.08  # share of the error variance that one more round removes: 26.6 → 20.7 in three, across the folds
_FOLDS = 6
_LEAST_ERROR = 0.3  # points; keeps the logarithm of an error finite


def main(arguments: Sequence[str]) -> int:
    """Train both models from the cases of a folder and write them."""
    cases = [case for case in load_cases(Path(arguments[0])) if not is_held_out(case.seed)]
    table = Table.of(cases)
    models = {"rows": train(table.without_context()), "context": train(table)}
    OUTPUT.write_text(json.dumps(models, separators=(",", ":")) + "\n", encoding="utf-8")
    print(f"{len(cases)} cases, {len(table.groups)} rows; {OUTPUT.stat().st_size / 1000:.0f} kB")
    return 0


class Table:
    """The training table: features, both outcomes relative to the present level, and the case each row is of."""

    def __init__(self, names: list[str], x: np.ndarray, old: np.ndarray, new: np.ndarray, groups: np.ndarray) -> None:
        self.names, self.x, self.old, self.new, self.groups = names, x, old, new, groups

    @classmethod
    def of(cls, cases: Sequence[Case]) -> Table:
        """Make a row of every question of a case whose both outcomes are known."""
        rows, old, new, groups, names = [], [], [], [], []
        for group, case in enumerate(cases):
            for extra, reverted in case.reverted.items():
                known = features(validate(**{**case.questions[extra], "policy": "always_keep"}).evidence)
                names = list(known)
                rows.append(list(known.values()))
                old.append(reverted - known["level"])
                new.append(case.kept - known["level"])
                groups.append(group)
        return cls(names, np.array(rows), np.array(old), np.array(new), np.array(groups))

    def without_context(self) -> Table:
        """Return the table with the features of the curves alone."""
        names = [name for name in self.names if name in CURVE_FEATURES]
        return Table(names, self.x[:, [self.names.index(n) for n in names]], self.old, self.new, self.groups)


def train(table: Table) -> dict[str, Any]:
    """Fit forecasts, and their errors as cross-validation shows them; returns the model's JSON form."""
    trends = TRUST * table.x[:, table.names.index("trends")]
    difference, mean = table.new - table.old, (table.new + table.old) / 2
    bent = np.arcsinh(difference / BEND)
    unseen_difference, unseen_mean = (
        BEND * np.sinh(out_of_fold(table, bent)),
        trends + out_of_fold(table, mean - trends),
    )
    errors = {
        "difference": difference - unseen_difference,
        "old": table.old - (unseen_mean - unseen_difference / 2),
        "new": table.new - (unseen_mean + unseen_difference / 2),
    }
    model: dict[str, Any] = {"features": table.names, "learning": LEARNING}
    for name, target in (("difference", bent), ("mean", mean - trends)):
        model[name] = forest_json(_forest().fit(table.x, target))
    for name, error in errors.items():
        size = np.log(np.abs(error) + _LEAST_ERROR)
        expected = np.exp(out_of_fold(table, size, small=True))
        model[f"spread_{name}"] = forest_json(_forest(small=True).fit(table.x, size))
        model[f"factor_{name}"] = round(float(np.quantile(np.abs(error) / expected, INTERVAL)), 4)
    return model


def out_of_fold(table: Table, target: np.ndarray, *, small: bool = False) -> np.ndarray:
    """Predict every row by a forest that has not seen its case."""
    from sklearn.model_selection import GroupKFold

    found = np.zeros(len(target))
    for seen, unseen in GroupKFold(_FOLDS).split(table.x, groups=table.groups):
        found[unseen] = _forest(small=small).fit(table.x[seen], target[seen]).predict(table.x[unseen])
    return found


def _forest(*, small: bool = False) -> Any:
    from sklearn.ensemble import ExtraTreesRegressor

    trees, leaves = (30, 14) if small else (50, 36)
    return ExtraTreesRegressor(trees, max_leaf_nodes=leaves, min_samples_leaf=3, max_features=0.6, random_state=0)


def forest_json(forest: Any) -> dict[str, Any]:
    """Return an averaging forest of scikit-learn in the form of `decision.forest`."""
    trees = [_tree_json(estimator.tree_, 0) for estimator in forest.estimators_]
    return {"start": 0.0, "scale": 1 / len(trees), "trees": trees}


def _tree_json(tree: Any, node: int) -> Any:
    if tree.children_left[node] < 0:
        return _short(tree.value[node].item())
    return [
        int(tree.feature[node]),
        _short(tree.threshold[node].item()),
        int(tree.missing_go_to_left[node]),
        _tree_json(tree, tree.children_left[node]),
        _tree_json(tree, tree.children_right[node]),
    ]


def _short(value: float) -> float:
    """Four significant digits: finer thresholds would only store noise."""
    return value if value == 0 or not math.isfinite(value) else float(f"{value:.4g}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
