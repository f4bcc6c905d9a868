"""Round robin: every instance in its turn, whatever it takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from aiotwin_nb.inference.balancing.base import Policy, Setting, policies
from aiotwin_nb.inference.services import Instance


@dataclass
class Count:
    """How many requests have been sent."""

    number: int = 0

    def sent(self, instance: str, now: float) -> None:
        """One more."""
        self.number += 1

    def answered(self, instance: str, latency_ms: float, now: float) -> None:
        """Nothing is learned from answers."""

    def failed(self, instance: str, now: float) -> None:
        """Nothing is learned from failures."""

    def pinged(self, instance: str, latency_ms: float, now: float) -> None:
        """Nothing is learned from probes."""

    def loaded(self, node: str, share: float, now: float) -> None:
        """Nothing is learned from load."""


class RoundRobin(Policy[Count]):
    """Chooses the instances one after the other, in the order of their ids."""

    def estimates(self, setting: Setting) -> Count:
        """Return a count of zero."""
        return Count()

    def choose(self, instances: Sequence[Instance], estimates: Count, now: float) -> Instance:
        """Return the next one."""
        return sorted(instances, key=lambda i: i.id)[estimates.number % len(instances)]


round_robin = policies.register("round_robin")(RoundRobin())
