"""Least latency: the instance whose answers have been the fastest on average."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from aiotwin_nb.inference.balancing.base import Policy, Setting, policies
from aiotwin_nb.inference.balancing.blind import Blind
from aiotwin_nb.inference.services import Instance

WEIGHT = 0.2  # of the newest answer
FAILED = 10.0  # a failure counts as this many bounds


@dataclass
class Averages(Blind):
    """Moving averages of the latencies, in ms; an instance without an answer has 0, so that each is tried."""

    bound_ms: float
    latency_ms: dict[str, float] = field(default_factory=dict)

    def answered(self, instance: str, latency_ms: float, now: float) -> None:
        """Move the average towards the newest answer."""
        before = self.latency_ms.get(instance, latency_ms)
        self.latency_ms[instance] = before + WEIGHT * (latency_ms - before)

    def failed(self, instance: str, now: float) -> None:
        """Count it as a very late answer."""
        self.answered(instance, FAILED * self.bound_ms, now)

    def of(self, instance: Instance) -> tuple[float, str]:
        """What instances are ordered by."""
        return self.latency_ms.get(instance.id, 0.0), instance.id


class LeastLatency(Policy[Averages]):
    """Chooses by the average latency alone, and does not look again at what was once slow."""

    def estimates(self, setting: Setting) -> Averages:
        """Return no averages."""
        return Averages(setting.bound_ms)

    def choose(self, instances: Sequence[Instance], estimates: Averages, now: float) -> Instance:
        """Return the one with the lowest average."""
        return min(instances, key=estimates.of)


least_latency = policies.register("least_latency")(LeastLatency())
