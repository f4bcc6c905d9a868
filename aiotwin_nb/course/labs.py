"""The labs of the course on one data set or the other."""

from __future__ import annotations

from typing import Any

from aiotwin_nb.errors import InvalidInput, did_you_mean
from aiotwin_nb.scenario import NodeSpec, Scenario, lab_names, load_scenario

DATA_SETS = ("digits", "fashion_mnist")
# What differs where a lab is not shipped for Fashion-MNIST: as in improvement-fashion, more images and fewer rounds.
_FASHION = {"task.name": "fashion_mnist", "task.learning_rate": 0.002, "task.test_samples": 2000}
_SAMPLES, _BUDGET = 2.5, 0.6


def lab_on(name: str, data_set: str = "digits", *, seed: int | None = None, **overrides: Any) -> Scenario:
    """A lab on a data set: `digits` or `fashion_mnist`; `overrides` as in `aiotwin_nb.plan`.

    On Fashion-MNIST it is the lab `<name>-fashion` where there is one, else the lab with 2.5 times the images and 0.6
    times the budget. Raises InvalidInput for an unknown lab, data set or value.
    """
    if data_set not in DATA_SETS:
        allowed = ", ".join(DATA_SETS)
        raise InvalidInput(f"dataset: {data_set!r} must be one of {allowed}.{did_you_mean(data_set, DATA_SETS)}")
    chosen = {path.replace("__", "."): value for path, value in overrides.items()}
    if data_set == "digits":
        return load_scenario(name, overrides=chosen, seed=seed)
    if f"{name}-fashion" in lab_names():
        return load_scenario(f"{name}-fashion", overrides=chosen, seed=seed)
    return load_scenario(name, overrides={**_on_fashion(load_scenario(name)), **chosen}, seed=seed)


def _on_fashion(lab: Scenario) -> dict[str, Any]:
    """What makes a lab on digits one on Fashion-MNIST, by path."""
    changes: dict[str, Any] = dict(_FASHION)
    if lab.objective.budget is not None:
        changes["objective.budget"] = float(lab.objective.budget) * _BUDGET
    for i, node in enumerate(lab.nodes):
        changes |= _more_data(f"nodes[{i}]", node)
    for i, event in enumerate(lab.events):
        for j, node in enumerate(event.add):
            changes |= _more_data(f"events[{i}].add[{j}]", node)
    return changes


def _more_data(path: str, node: NodeSpec) -> dict[str, Any]:
    scaled = {label: int(samples * _SAMPLES) for label, samples in node.data.items()}
    return {f"{path}.data": scaled} if scaled else {}
