"""Regression forests in plain Python: small ones, read from JSON, so that a trained policy needs no scikit-learn.

A tree is a number (leaf) or [feature, threshold, unknown_goes_left, left, right]: left when value ≤ threshold.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

Tree = Any  # float | [int, float, int, Tree, Tree]; a recursive alias would only tell the type checker what JSON is


@dataclass(frozen=True)
class Forest:
    """Predicts start + scale · Σ trees, from features by name: an averaging forest, boosted trees, or both in one."""

    features: tuple[str, ...]
    start: float
    scale: float
    trees: tuple[Tree, ...]

    def predict(self, values: Mapping[str, float]) -> float:
        """Return the prediction for a set of features; nan means unknown."""
        row = [values[name] for name in self.features]
        return self.start + self.scale * sum(_leaf(tree, row) for tree in self.trees)


def _leaf(tree: Tree, row: Sequence[float]) -> float:
    while isinstance(tree, list):
        feature, threshold, unknown_left, left, right = tree
        value = row[feature]
        goes_left = bool(unknown_left) if value != value else value <= threshold
        tree = left if goes_left else right
    return float(tree)


@dataclass(frozen=True)
class Model:
    """What the default policy has learned.

    `difference`: asinh(d / 3) of d = final accuracy kept − reverted: large differences are compressed, so that small
    ones, on which decisions turn, count. `mean`: the mean of both accuracies less what the trends say of it (features
    level + TRUST · trends), so that it carries over to data sets that learn slower. All in points.
    `spread_*`: ln of the expected absolute error. `factor_*`: half of an 80 % interval / that expected error.
    `learning`: share of the difference's error variance that one more round in the window removes.
    """

    difference: Forest
    mean: Forest
    spread_difference: Forest
    spread_old: Forest
    spread_new: Forest
    factor_difference: float
    factor_old: float
    factor_new: float
    learning: float


BEND = 3.0  # points; differences well below it are not compressed
TRUST = 0.7  # share of the gain that the trends foresee; they foresee too much where runs slow down
FORESTS = ("difference", "mean", "spread_difference", "spread_old", "spread_new")

NUMBERS = ("factor_difference", "factor_old", "factor_new", "learning")


@cache
def load_model() -> Mapping[str, Model]:
    """Return the shipped models: `rows` knows the curves only, `context` all that the orchestrator knows."""
    raw = json.loads(files("aiotwin_nb.decision").joinpath("default_model.json").read_text(encoding="utf-8"))
    return {name: model_from_json(raw[name]) for name in ("rows", "context")}


def model_from_json(raw: Mapping[str, Any]) -> Model:
    """Build a model from its JSON form."""
    names = tuple(raw["features"])
    grown: dict[str, Any] = {
        name: Forest(names, raw[name]["start"], raw[name]["scale"], tuple(raw[name]["trees"])) for name in FORESTS
    }
    return Model(**grown, **{name: raw[name] for name in NUMBERS})
