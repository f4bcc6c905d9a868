"""Random: any instance, each as likely."""

from __future__ import annotations

from collections.abc import Sequence

from aiotwin_nb.inference.balancing.base import Policy, Setting, policies
from aiotwin_nb.inference.balancing.blind import Count, any_of
from aiotwin_nb.inference.services import Instance


class Uniform(Policy[Count]):
    """Chooses uniformly at random."""

    def estimates(self, setting: Setting) -> Count:
        """Return a count of zero."""
        return Count(setting.seed)

    def choose(self, instances: Sequence[Instance], estimates: Count, now: float) -> Instance:
        """Return any."""
        return any_of(instances, estimates)


uniform = policies.register("random")(Uniform())
