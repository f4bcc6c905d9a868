"""Configuration strategies, one a module; a package adds its own by an entry point of aiotwin_nb.strategies."""

from aiotwin_nb.planning.strategies.base import PlanningRequest, Strategy, strategies
from aiotwin_nb.planning.strategies.flat import flat
from aiotwin_nb.planning.strategies.manual import manual
from aiotwin_nb.planning.strategies.min_comm_cost import min_comm_cost
from aiotwin_nb.planning.strategies.min_comm_cost_greedy import min_comm_cost_greedy

__all__ = ["PlanningRequest", "Strategy", "flat", "manual", "min_comm_cost", "min_comm_cost_greedy", "strategies"]
