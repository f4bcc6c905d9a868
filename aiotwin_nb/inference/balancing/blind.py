"""What the policies share that learn nothing from answers, and the order that makes a choice independent of lists."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter

from aiotwin_nb.inference.balancing.base import Estimates
from aiotwin_nb.inference.balancing.draws import draw
from aiotwin_nb.inference.services import Instance

_by_id = attrgetter("id")


class Blind(Estimates):
    """Learns nothing; for estimates that learn from some things only."""

    def sent(self, instance: str, now: float) -> None:
        """Nothing is learned."""

    def answered(self, instance: str, latency_ms: float, now: float) -> None:
        """Nothing is learned."""

    def failed(self, instance: str, now: float) -> None:
        """Nothing is learned."""

    def pinged(self, instance: str, latency_ms: float, now: float) -> None:
        """Nothing is learned."""

    def loaded(self, node: str, share: float, now: float) -> None:
        """Nothing is learned."""


@dataclass
class Count(Blind):
    """How many requests have been sent, and the seed of what is drawn with that number."""

    seed: int = 0
    number: int = 0

    def sent(self, instance: str, now: float) -> None:
        """One more."""
        self.number += 1


def nth(instances: Sequence[Instance], number: int) -> Instance:
    """Return the number-th in the order of the ids, beginning again after the last."""
    return sorted(instances, key=_by_id)[number % len(instances)]


def any_of(instances: Sequence[Instance], count: Count) -> Instance:
    """Return one at random; the same until the next request is sent."""
    return nth(instances, int(draw(count.seed, count.number) * len(instances)))
