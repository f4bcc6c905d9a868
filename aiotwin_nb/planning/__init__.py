"""What to run: configurations, their costs, and the strategies that choose them (pure)."""

from aiotwin_nb.planning.configuration import Configuration, ConfigurationDiff, diff
from aiotwin_nb.planning.costs import CommunicationCost, CostModel, cost_model, cost_models, exact_sum, post_cost
from aiotwin_nb.planning.energy import EnergyCost
from aiotwin_nb.planning.plan import check_strategy_args, make_plan, make_reported_plan
from aiotwin_nb.planning.strategies import Plan, PlanningRequest, PlanReport, Strategy, strategies
from aiotwin_nb.planning.times import ComputationTime, WallTime
from aiotwin_nb.planning.weighted import WeightedCost

__all__ = [
    "CommunicationCost",
    "ComputationTime",
    "Configuration",
    "ConfigurationDiff",
    "CostModel",
    "EnergyCost",
    "Plan",
    "PlanReport",
    "PlanningRequest",
    "Strategy",
    "WallTime",
    "WeightedCost",
    "check_strategy_args",
    "cost_model",
    "cost_models",
    "diff",
    "exact_sum",
    "make_plan",
    "make_reported_plan",
    "post_cost",
    "strategies",
]
