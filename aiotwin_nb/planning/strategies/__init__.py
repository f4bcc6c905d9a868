"""Configuration strategies, one a module; a package adds its own by an entry point of aiotwin_nb.strategies."""

from aiotwin_nb.planning.strategies.base import (
    Plan,
    PlanningRequest,
    PlanReport,
    Strategy,
    learns_from_training,
    plans_with_updates,
    strategies,
    wants_updates,
)
from aiotwin_nb.planning.strategies.cent_hier import cent_hier
from aiotwin_nb.planning.strategies.flat import flat
from aiotwin_nb.planning.strategies.manual import manual
from aiotwin_nb.planning.strategies.min_comm_cost import min_comm_cost
from aiotwin_nb.planning.strategies.min_comm_cost_greedy import min_comm_cost_greedy
from aiotwin_nb.planning.strategies.min_comm_cost_open import min_comm_cost_open
from aiotwin_nb.planning.strategies.min_kld import min_kld
from aiotwin_nb.planning.strategies.random import random
from aiotwin_nb.planning.strategies.select import select
from aiotwin_nb.planning.strategies.shape import shape
from aiotwin_nb.planning.strategies.share import share

__all__ = [
    "Plan",
    "PlanReport",
    "PlanningRequest",
    "Strategy",
    "cent_hier",
    "flat",
    "learns_from_training",
    "manual",
    "min_comm_cost",
    "min_comm_cost_greedy",
    "min_comm_cost_open",
    "min_kld",
    "plans_with_updates",
    "random",
    "select",
    "shape",
    "share",
    "strategies",
    "wants_updates",
]
