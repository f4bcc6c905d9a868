"""The labs of the course on one data set or the other."""

from __future__ import annotations

from typing import Any

from aiotwin_nb.errors import InvalidInput, did_you_mean
from aiotwin_nb.scenario import Scenario, lab_names, load_scenario

DATA_SETS = ("digits", "fashion_mnist")


def lab_on(name: str, data_set: str = "digits", *, seed: int | None = None, **overrides: Any) -> Scenario:
    """A lab on a data set: `digits` or `fashion_mnist`; `overrides` as in `aiotwin_nb.plan`.

    On Fashion-MNIST it is the lab `<name>-fashion` where there is one, else the lab recast (`<name>@fashion_mnist`).
    Raises InvalidInput for an unknown lab, data set or value.
    """
    if data_set not in DATA_SETS:
        allowed = ", ".join(DATA_SETS)
        raise InvalidInput(f"dataset: {data_set!r} must be one of {allowed}.{did_you_mean(data_set, DATA_SETS)}")
    chosen = {path.replace("__", "."): value for path, value in overrides.items()}
    if data_set == "digits":
        return load_scenario(name, overrides=chosen, seed=seed)
    tuned = f"{name}-fashion"
    return load_scenario(tuned if tuned in lab_names() else f"{name}@{data_set}", overrides=chosen, seed=seed)
