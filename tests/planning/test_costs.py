from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from aiotwin_nb.continuum import Change, Infrastructure
from aiotwin_nb.errors import InfeasiblePlan, InvalidInput
from aiotwin_nb.planning import Configuration, cost_model, cost_models, exact_sum, make_plan, post_cost

from .support import node, request_for

MODEL = cost_model("communication", model_size_mb="3.3")


def plan(infrastructure, current=None):
    return make_plan("min_comm_cost", {}, request_for(infrastructure, current))


def test_hands_on_figures_of_the_original(hands_on, n9):
    start = plan(hands_on)
    assert start.as_dict() == {"n2": ["n4", "n5", "n6"], "n3": ["n7", "n8"]}
    assert MODEL.aggregation_cost(hands_on, start) == 990
    assert MODEL.round_cost(hands_on, start) == 1320
    assert MODEL.change_cost(hands_on, None, start) == 0

    larger = hands_on.apply(Change(added=(n9,)))
    joined = plan(larger, start)
    assert joined.as_dict() == {"n2": ["n4", "n5", "n6"], "n3": ["n7", "n8", "n9"]}
    assert MODEL.aggregation_cost(larger, joined) == 1320
    assert MODEL.round_cost(larger, joined) == 1980
    assert MODEL.change_cost(larger, start, joined) == 165
    assert post_cost(MODEL, larger, start, joined) == 660
    assert MODEL.change_cost(larger, joined, start) == 0  # going back only removes n9


def test_the_sum_over_rounds_is_the_logs(hands_on, n9):
    assert exact_sum([Decimal(1320)] * 10 + [Decimal(165)] + [Decimal(1980)] * 6) == 100000 - 74755


def test_a_client_that_moves_pays_half_a_round_trip(hands_on):
    start = plan(hands_on)
    moved = Configuration.of("n1", {"n2": ["n4", "n5"], "n3": ["n6", "n7", "n8"]}, epochs=2, local_rounds=2)
    assert MODEL.change_cost(hands_on, start, moved) == Decimal("3.3") * 60 / 2


def test_flat_has_no_aggregator_term(hands_on):
    flat = make_plan("flat", {}, request_for(hands_on))
    assert MODEL.round_cost(hands_on, flat) == MODEL.aggregation_cost(hands_on, flat) == Decimal("3.3") * 600
    assert MODEL.round_cost(hands_on, replace(flat, local_rounds=0)) == Decimal("3.3") * 600


def test_decimals_stay_exact():
    small, large = Decimal("0.1"), Decimal("12345678901234567890.123456789")
    infrastructure = Infrastructure.of(
        [node("g", "global_aggregator"), node("c1", "client", g=small), node("c2", "client", g=large)]
    )
    flat = Configuration.of("g", {"g": ["c1", "c2"]}, epochs=1, local_rounds=1)
    model = cost_model("communication", model_size_mb=0.1)
    assert model.round_cost(infrastructure, flat) == Decimal("1234567890123456789.0223456789")


def test_parts_add_up_to_the_round(hands_on):
    start, question = plan(hands_on), request_for(hands_on)
    parts = [question.aggregator_cost(la) for la in start.aggregators]
    parts += [question.member_cost(*pair) for pair in start.parents.items()]
    assert sum(parts) == MODEL.round_cost(hands_on, start)


def test_missing_link_names_both_nodes(hands_on):
    lonely = hands_on.apply(Change(added=(node("n9", "client", n3=1),)))
    wrong = Configuration.of("n1", {"n2": ["n9"]}, epochs=1, local_rounds=1)
    with pytest.raises(InfeasiblePlan, match="no link between n9 and n2"):
        MODEL.round_cost(lonely, wrong)
    with pytest.raises(InfeasiblePlan, match="no link between n9 and n2"):
        MODEL.change_cost(lonely, plan(hands_on), wrong)


def test_cost_models_by_name():
    assert cost_models.names()[0] == MODEL.name == "communication"
    assert MODEL.unit
    with pytest.raises(InvalidInput, match="Did you mean 'communication'"):
        cost_model("comunication", model_size_mb=1)


@pytest.mark.parametrize("size", [0, -1, "NaN", "Infinity", "large"])
def test_model_size_must_be_positive(size):
    with pytest.raises(InvalidInput, match="above 0"):
        cost_model("communication", model_size_mb=size)
