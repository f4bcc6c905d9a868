"""What to run: configurations, their costs, and the strategies that choose them (pure)."""

from aiotwin_nb.planning.configuration import Configuration, ConfigurationDiff, diff
from aiotwin_nb.planning.costs import CommunicationCost, CostModel, cost_model, cost_models, exact_sum, post_cost
from aiotwin_nb.planning.plan import check_strategy_args, make_plan
from aiotwin_nb.planning.strategies import PlanningRequest, Strategy, strategies

__all__ = [
    "CommunicationCost",
    "Configuration",
    "ConfigurationDiff",
    "CostModel",
    "PlanningRequest",
    "Strategy",
    "check_strategy_args",
    "cost_model",
    "cost_models",
    "diff",
    "exact_sum",
    "make_plan",
    "post_cost",
    "strategies",
]
