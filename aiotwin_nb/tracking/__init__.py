"""W&B: one writer in the orchestrator, live readers in notebooks.

`make_tracker` gives the run its tracker; `WandbLogSource` reads a local run back, live or later; `WandbApiSource` reads
a run from a W&B server.
"""

from aiotwin_nb.tracking.api_source import WandbApiSource
from aiotwin_nb.tracking.pace import Pace
from aiotwin_nb.tracking.wandb_log import WandbLogSource
from aiotwin_nb.tracking.wandb_tracker import NullTracker, WandbTracker, make_tracker

__all__ = ["NullTracker", "Pace", "WandbApiSource", "WandbLogSource", "WandbTracker", "make_tracker"]
