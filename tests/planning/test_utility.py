from __future__ import annotations

import math
from dataclasses import replace
from decimal import Decimal

import pytest

from aiotwin_nb.continuum import Infrastructure
from aiotwin_nb.errors import InfeasiblePlan, InvalidInput
from aiotwin_nb.planning.utility import affordable, dropped_by, most_useful, utilities

from .support import node


@pytest.fixture
def three():
    data = {"c1": {0: 50, 1: 50}, "c2": {0: 50, 1: 50}, "c10": {2: 10}}
    return Infrastructure.of(replace(node(i, "client"), data=d) for i, d in data.items())


def test_dataset_share(three):
    assert utilities.get("dataset_share")(three, None) == {"c1": 100 / 210, "c2": 100 / 210, "c10": 10 / 210}


def test_divergence_rewards_labels_that_nobody_else_has(three):
    values = utilities.get("divergence")(three, None)
    assert most_useful(values, 1) == ("c10",)
    p = 10 / 210
    # with c10 there are labels 0, 1 (100 each) and 2 (10); without it label 2 has the 1e-4 that stands for 0
    assert values["c10"] == pytest.approx(2 * (100 / 210) * math.log((100 / 210) / 0.5) + p * math.log(p / 1e-4))
    assert values["c1"] == pytest.approx(values["c2"])


def test_update_norm_is_the_mean_over_rounds(three):
    norms = {"c1": [1.0, 3.0], "c2": [1.0], "c10": [0.5, 0.5]}
    assert utilities.get("update_norm")(three, norms) == {"c1": 2.0, "c2": 1.0, "c10": 0.5}
    with pytest.raises(InvalidInput, match="but c10 have none"):
        utilities.get("update_norm")(three, {"c1": [1.0], "c2": [1.0]})


def test_ties_go_to_the_naturally_first():
    assert most_useful({"c10": 1.0, "c2": 1.0, "c1": 0.0}, 1) == ("c2",)
    assert most_useful({"c1": 1.0}, 5) == ("c1",)


def test_affordable_drops_the_least_useful_first():
    utility = {"c1": 3.0, "c2": 2.0, "c3": 1.0}
    costs = {"c1": Decimal(5), "c2": Decimal(4), "c3": Decimal(1)}
    assert affordable(utility, costs, Decimal(10)) == ("c1", "c2", "c3")
    assert affordable(utility, costs, Decimal(9)) == ("c1", "c2")
    assert affordable(utility, costs, Decimal(6)) == ("c1",)  # not c1 and the cheap c3
    with pytest.raises(InfeasiblePlan, match="raise it"):
        affordable(utility, costs, Decimal(4))


def test_the_least_useful_leave_at_given_rounds():
    utility = {"c1": 3.0, "c2": 2.0, "c3": 1.0}
    assert dropped_by(utility, {10: 1, 20: 5}, 9) == ()
    assert dropped_by(utility, {10: 1, 20: 5}, 10) == ("c3",)
    assert dropped_by(utility, {10: 1, 20: 5}, 30) == ("c2", "c3")
