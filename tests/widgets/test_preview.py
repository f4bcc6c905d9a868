"""What a scenario would do: figures of the plan, worked out by hand."""

from __future__ import annotations

from decimal import Decimal

import pytest

from aiotwin_nb import api
from aiotwin_nb.errors import InvalidInput
from aiotwin_nb.widgets.preview import PlannedChange, preview, rounds_bought


def test_the_plan_of_improvement():
    plan = preview(api.resolve("improvement", {}))
    assert plan.clusters == {"n2": ["n4", "n5", "n6"], "n3": ["n7", "n8"]}
    assert (plan.round_cost, plan.client_cost, plan.uplink_cost) == (1320, 660, 660)  # 3.3 · (2 · 100 + 2 · 5 · 20)
    assert plan.rounds == 75  # 100 000 // 1320
    assert plan.rounds_with_changes == 53  # what the real run of README ends at
    (change,) = plan.changes
    assert (change.describe(), change.change_cost, change.round_cost) == ("n9 joins", 165, 1980)


def test_flat_has_one_tier():
    plan = preview(api.resolve("improvement", {"strategy.name": "flat"}))
    assert (plan.round_cost, plan.client_cost, plan.uplink_cost) == (1980, None, None)


def change(after_round, price, cost=100):
    return PlannedChange(after_round, ("x",), (), {}, price, cost)


@pytest.mark.parametrize(
    ("changes", "budget", "limit", "expected"),
    [
        ((), 1050, 100, 10),
        ((), 10_000, 30, 30),
        ((), None, 30, 30),
        ((change(4, 50, 200),), 1050, 100, 7),  # 4 · 100 + 50 + 3 · 200
        ((change(4, 50, 200),), 400, 100, 4),
        ((change(4, 601, 200),), 1000, 100, 4),  # the change itself does not fit
        ((change(4, 0, 50), change(6, 0, 100)), 1000, 100, 11),  # 400 + 100 + 500
        ((change(40, 0),), 1000, 8, 8),
    ],
)
def test_rounds_that_a_budget_buys(changes, budget, limit, expected):
    assert rounds_bought(100, changes, None if budget is None else Decimal(budget), limit) == expected


def test_a_budget_below_one_round_is_refused():
    with pytest.raises(InvalidInput, match=r"objective\.budget: is 1,000, below the cost of one round, 1,320"):
        preview(api.resolve("improvement", {"objective.budget": 1000}))
