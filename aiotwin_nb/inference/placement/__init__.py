"""Where replicas of a service run: cheapest placements that keep bounds, and when to change one. Pure."""

from aiotwin_nb.inference.placement.adapting import Observation, Placed, PlacementState, Refused, Rules, step
from aiotwin_nb.inference.placement.problem import Group, Host, Missed, Placement, Question
from aiotwin_nb.inference.placement.solving import place
from aiotwin_nb.inference.placement.terms import Terms, round_trips

__all__ = [
    "Group",
    "Host",
    "Missed",
    "Observation",
    "Placed",
    "Placement",
    "PlacementState",
    "Question",
    "Refused",
    "Rules",
    "Terms",
    "place",
    "round_trips",
    "step",
]
