"""Round robin: every instance in its turn, whatever it takes."""

from __future__ import annotations

from collections.abc import Sequence

from aiotwin_nb.inference.balancing.base import Policy, Setting, policies
from aiotwin_nb.inference.balancing.blind import Count, nth
from aiotwin_nb.inference.services import Instance


class RoundRobin(Policy[Count]):
    """Chooses the instances one after the other, in the order of their ids."""

    def estimates(self, setting: Setting) -> Count:
        """Return a count of zero."""
        return Count(setting.seed)

    def choose(self, instances: Sequence[Instance], estimates: Count, now: float) -> Instance:
        """Return the next one."""
        return nth(instances, estimates.number)


round_robin = policies.register("round_robin")(RoundRobin())
