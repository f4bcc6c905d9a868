"""Which instance gets a request: balancing policies, one a module; own ones by an entry point."""

from aiotwin_nb.inference.balancing.base import Estimates, Policy, Setting, policies
from aiotwin_nb.inference.balancing.round_robin import round_robin

__all__ = ["Estimates", "Policy", "Setting", "policies", "round_robin"]
