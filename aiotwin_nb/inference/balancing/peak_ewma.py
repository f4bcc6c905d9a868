"""Peak EWMA: what service meshes use (Finagle, Linkerd), for comparison; it minimises latency and knows no bound.

Each instance costs its moving average latency, which jumps up at once to a higher latency and comes down slowly, times
the requests under way. Of two instances drawn at random the cheaper one is chosen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import exp, inf

from aiotwin_nb.inference.balancing.base import Policy, Setting, policies
from aiotwin_nb.inference.balancing.blind import Count, nth
from aiotwin_nb.inference.balancing.draws import draw
from aiotwin_nb.inference.services import Instance

DECAY_S = 10.0
FAILED = 10.0  # a failure counts as this many bounds


@dataclass(slots=True)
class Peak:
    """Average latency in ms, when it was last moved, and the requests under way."""

    latency_ms: float = 0.0
    at: float = -inf
    under_way: int = 0


@dataclass
class Peaks(Count):
    """What is known of all instances."""

    bound_ms: float = inf
    of: dict[str, Peak] = field(default_factory=dict)

    def sent(self, instance: str, now: float) -> None:
        """One more is under way."""
        self.number += 1
        self.of.setdefault(instance, Peak()).under_way += 1

    def answered(self, instance: str, latency_ms: float, now: float) -> None:
        """Jump up, or come down by how long ago the last answer was."""
        peak = self.of.setdefault(instance, Peak())
        peak.under_way = max(peak.under_way - 1, 0)
        kept = 0.0 if latency_ms > peak.latency_ms else exp((peak.at - now) / DECAY_S)
        peak.latency_ms, peak.at = kept * peak.latency_ms + (1 - kept) * latency_ms, now

    def failed(self, instance: str, now: float) -> None:
        """Count it as a very late answer."""
        self.answered(instance, FAILED * self.bound_ms, now)

    def cost(self, instance: Instance, now: float) -> tuple[float, str]:
        """What instances are ordered by; an average that is not moved comes down too."""
        peak = self.of.get(instance.id)
        if peak is None:
            return 0.0, instance.id
        return (peak.latency_ms * exp((peak.at - now) / DECAY_S) + 1e-3) * (peak.under_way + 1), instance.id


class PeakEwma(Policy[Peaks]):
    """Chooses the cheaper of two."""

    def estimates(self, setting: Setting) -> Peaks:
        """Return that nothing is known."""
        return Peaks(setting.seed, bound_ms=setting.bound_ms)

    def choose(self, instances: Sequence[Instance], estimates: Peaks, now: float) -> Instance:
        """Return the cheaper of two drawn at random."""
        if len(instances) == 1:
            return instances[0]
        seed, number = estimates.seed, 2 * estimates.number
        first = int(draw(seed, number) * len(instances))
        other = first + 1 + int(draw(seed, number + 1) * (len(instances) - 1))
        return min(nth(instances, first), nth(instances, other), key=lambda i: estimates.cost(i, now))


peak_ewma = policies.register("peak_ewma")(PeakEwma())
