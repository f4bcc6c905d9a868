"""Nearest: the instance on the proxy's own node, else the one with the shortest way, however busy it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from aiotwin_nb.inference.balancing.base import Policy, Setting, policies
from aiotwin_nb.inference.balancing.blind import Blind
from aiotwin_nb.inference.services import Instance

PERIOD_S = 10.0  # between rounds of probes


@dataclass
class Ways(Blind):
    """How long the ways are, in ms: the latest probe's time, else the fastest answer's, else 0.

    Failures change nothing.

    Attributes:
        node: the proxy's
    """

    node: str
    probed: dict[str, float] = field(default_factory=dict)
    fastest: dict[str, float] = field(default_factory=dict)
    probed_at: float = -float("inf")

    def answered(self, instance: str, latency_ms: float, now: float) -> None:
        """Keep the fastest."""
        self.fastest[instance] = min(latency_ms, self.fastest.get(instance, latency_ms))

    def pinged(self, instance: str, latency_ms: float, now: float) -> None:
        """Keep the latest."""
        self.probed[instance], self.probed_at = latency_ms, now

    def to(self, instance: Instance) -> tuple[bool, float, str]:
        """What instances are ordered by."""
        way = self.probed.get(instance.id, self.fastest.get(instance.id, 0.0))
        return (not self.node or instance.node != self.node, way, instance.id)


class Nearest(Policy[Ways]):
    """Chooses by the way alone."""

    def estimates(self, setting: Setting) -> Ways:
        """Return that only the own node is known."""
        return Ways(setting.node)

    def choose(self, instances: Sequence[Instance], estimates: Ways, now: float) -> Instance:
        """Return the nearest."""
        return min(instances, key=estimates.to)

    def probes(self, instances: Sequence[Instance], estimates: Ways, now: float) -> Sequence[Instance]:
        """Return all of them from time to time."""
        return instances if now - estimates.probed_at >= PERIOD_S else ()


nearest = policies.register("nearest")(Nearest())
