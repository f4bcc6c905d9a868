"""Train the default policy on the training half of the population: `python -m aiotwin_nb.bench.learn DIR`.

DIR holds the cases that `aiotwin bench decisions --out DIR` has run (cases-<data set>.jsonl). Only even numbers are
used; odd ones are held out for scoring. Every choice below was made by cross-validation inside the training half.
Writes aiotwin_nb/decision/default_model.json. Needs scikit-learn; the policy itself does not.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from aiotwin_nb.bench.branches import Case, is_held_out, load_cases
from aiotwin_nb.bench.scoring import interpolated
from aiotwin_nb.decision import validate
from aiotwin_nb.decision.features import CEILINGS, CURVE_FEATURES, features
from aiotwin_nb.decision.forest import BEND, TRUST

OUTPUT = Path(__file__).parents[1] / "decision" / "default_model.json"
INTERVAL = 0.8  # share of the folds' errors that an interval holds
LEARNING = 0.08  # share of the error variance that one more round removes: 26.6 → 20.7 in three, across the folds
_FOLDS = 6
_LEAST_ERROR = 0.3  # points; keeps the logarithm of an error finite
_UNKNOWN = -1e3  # below every feature: boosted trees send what is not known to the left


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
        """Make a row of every question of a case: after its window and after each of the extra rounds."""
        rows, old, new, groups, names = [], [], [], [], []
        for group, case in enumerate(cases):
            for extra in range(max(case.reverted) + 1):
                known = features(validate(**{**case.questions[extra], "policy": "always_keep"}).evidence)
                names = list(known)
                rows.append(list(known.values()))
                old.append(interpolated(case, extra) - known["level"])
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
    plain = [i for i, name in enumerate(table.names) if name not in CEILINGS]

    def both() -> Learner:
        return Mean(Randomised(plain), Boosted())

    unseen_difference = BEND * np.sinh(out_of_fold(table, bent, both))
    unseen_mean = trends + out_of_fold(table, mean - trends, both)
    errors = {
        "difference": difference - unseen_difference,
        "old": table.old - (unseen_mean - unseen_difference / 2),
        "new": table.new - (unseen_mean + unseen_difference / 2),
    }
    model: dict[str, Any] = {"features": table.names, "learning": LEARNING}
    model["difference"] = both().fit(table.x, bent).to_json()
    model["mean"] = both().fit(table.x, mean - trends).to_json()
    for name, error in errors.items():
        size = np.log(np.abs(error) + _LEAST_ERROR)
        expected = np.exp(out_of_fold(table, size, _small))
        model[f"spread_{name}"] = _small().fit(table.x, size).to_json()
        model[f"factor_{name}"] = round(float(np.quantile(np.abs(error) / expected, INTERVAL)), 4)
    return model


class Learner(Protocol):
    """Learns a function of the features as a sum of trees."""

    def fit(self, x: np.ndarray, y: np.ndarray) -> Learner:
        """Learn y (n,) from features x (n, k); nan is unknown."""

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Predict y (n,)."""

    def to_json(self, share: float = 1.0) -> dict[str, Any]:
        """Return `share` times the function in the form of `decision.forest`."""


def out_of_fold(table: Table, target: np.ndarray, make: Callable[[], Learner]) -> np.ndarray:
    """Predict every row by a learner that has not seen its case."""
    from sklearn.model_selection import GroupKFold

    found = np.zeros(len(target))
    for seen, unseen in GroupKFold(_FOLDS, shuffle=True, random_state=0).split(table.x, groups=table.groups):
        found[unseen] = make().fit(table.x[seen], target[seen]).predict(table.x[unseen])
    return found


class Randomised:
    """The mean of randomised trees on some of the features: steady where cases are few."""

    def __init__(self, columns: Sequence[int]) -> None:
        from sklearn.ensemble import ExtraTreesRegressor

        self._columns = list(columns)
        self._model = ExtraTreesRegressor(40, max_leaf_nodes=36, min_samples_leaf=3, max_features=0.6, random_state=0)

    def fit(self, x: np.ndarray, y: np.ndarray) -> Randomised:
        """Learn y from x."""
        self._model.fit(x[:, self._columns], y)
        return self

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Predict y."""
        return np.asarray(self._model.predict(x[:, self._columns]))

    def to_json(self, share: float = 1.0) -> dict[str, Any]:
        """Return the mean as a sum of scaled trees."""
        trees = [each.tree_ for each in self._model.estimators_]
        return {"start": 0.0, "scale": 1.0, "trees": [_tree(t, 0, self._columns, share / len(trees)) for t in trees]}


class Boosted:
    """Boosted trees (Friedman, 2001) on all features: each corrects a little of what those before it leave."""

    def __init__(self, trees: int = 100, depth: int = 4, min_samples_leaf: int = 8) -> None:
        from sklearn.ensemble import GradientBoostingRegressor

        self._model = GradientBoostingRegressor(
            n_estimators=trees, max_depth=depth, learning_rate=0.08, subsample=0.5, max_features=0.3,
            min_samples_leaf=min_samples_leaf, random_state=0,
        )  # fmt: skip

    def fit(self, x: np.ndarray, y: np.ndarray) -> Boosted:
        """Learn y from x."""
        self._model.fit(np.nan_to_num(x, nan=_UNKNOWN), y)
        return self

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Predict y."""
        return np.asarray(self._model.predict(np.nan_to_num(x, nan=_UNKNOWN)))

    def to_json(self, share: float = 1.0) -> dict[str, Any]:
        """Return the start and the scaled corrections."""
        columns, step = list(range(self._model.n_features_in_)), share * self._model.learning_rate
        trees = [_tree(each.tree_, 0, columns, step, unknown_left=True) for each in self._model.estimators_[:, 0]]
        return {"start": share * self._model.init_.constant_.item(), "scale": 1.0, "trees": trees}


class Mean:
    """The mean of two learners."""

    def __init__(self, *members: Learner) -> None:
        self._members = members

    def fit(self, x: np.ndarray, y: np.ndarray) -> Mean:
        """Learn y from x."""
        for member in self._members:
            member.fit(x, y)
        return self

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Predict y."""
        return np.asarray(np.mean([member.predict(x) for member in self._members], axis=0))

    def to_json(self, share: float = 1.0) -> dict[str, Any]:
        """Return the sum of both, each with its part of the share."""
        parts = [member.to_json(share / len(self._members)) for member in self._members]
        trees = [tree for part in parts for tree in part["trees"]]
        return {"start": sum(part["start"] for part in parts), "scale": 1.0, "trees": trees}


def _small() -> Boosted:
    """For the size of an error, which is mostly noise."""
    return Boosted(trees=50, depth=3, min_samples_leaf=20)


def _tree(tree: Any, node: int, columns: Sequence[int], scale: float, *, unknown_left: bool = False) -> Any:
    """Return a tree of scikit-learn, its leaves scaled; `columns`: the feature behind each of its columns."""
    if tree.children_left[node] < 0:
        return _short(scale * tree.value[node].item())
    branches = (tree.children_left[node], tree.children_right[node])
    return [
        columns[tree.feature[node]],
        _short(tree.threshold[node].item()),
        int(unknown_left or tree.missing_go_to_left[node]),
        *(_tree(tree, branch, columns, scale, unknown_left=unknown_left) for branch in branches),
    ]


def _short(value: float) -> float:
    """Four significant digits: finer thresholds would only store noise."""
    return value if value == 0 or not math.isfinite(value) else float(f"{value:.4g}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
