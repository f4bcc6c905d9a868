"""Rolling out a new model: some instances try it, are watched, and then all have it or none."""

from aiotwin_nb.inference.rollout.events import ROLLOUT, RolloutEnded, RolloutJudged, RolloutStarted
from aiotwin_nb.inference.rollout.judging import Counts, Judged, Rules, Window, judge
from aiotwin_nb.inference.rollout.performing import Target, finish, roll_out

__all__ = [
    "ROLLOUT",
    "Counts",
    "Judged",
    "RolloutEnded",
    "RolloutJudged",
    "RolloutStarted",
    "Rules",
    "Target",
    "Window",
    "finish",
    "judge",
    "roll_out",
]
