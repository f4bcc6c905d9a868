"""Adaptive orchestration of hierarchical federated learning under a communication budget, in a notebook.

>>> import aiotwin_nb as at
>>> at.plan("hands-on")["initial"]["round_cost"]
1320
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["AIoTwinError", "Lab", "Run", "Scenario", "attach", "compare", "load_scenario", "plan", "replay", "run"]

if TYPE_CHECKING:
    from aiotwin_nb.api import Run, attach, compare, plan, replay, run
    from aiotwin_nb.errors import AIoTwinError
    from aiotwin_nb.scenario import Scenario, load_scenario
    from aiotwin_nb.widgets.lab import Lab

_HOMES = {
    "AIoTwinError": "aiotwin_nb.errors",
    "Lab": "aiotwin_nb.widgets.lab",
    "Scenario": "aiotwin_nb.scenario",
    "load_scenario": "aiotwin_nb.scenario",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: `import aiotwin_nb` alone stays fast."""
    if name not in __all__:
        raise AttributeError(f"module 'aiotwin_nb' has no attribute {name!r}")
    return getattr(import_module(_HOMES.get(name, "aiotwin_nb.api")), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
