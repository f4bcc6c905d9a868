"""What a balancing policy is. The proxy and the simulator drive the very same objects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from aiotwin_nb.inference.services import Instance
from aiotwin_nb.registry import Registry

DEFAULT_POLICY = "qos_bandit"


@dataclass(frozen=True, slots=True)
class Setting:
    """Where a policy works: one service at one proxy.

    Attributes:
        bound_ms: a request keeps its quality of service when its answer is there within this time
        node: the node of the proxy, "" when unknown
        seed: whatever is drawn at random is drawn from it; give each proxy its own
    """

    bound_ms: float
    node: str = ""
    seed: int = 0


class Estimates(Protocol):
    """What one proxy has learned of one service's instances. Times are seconds of a monotonic clock.

    All methods but the constructor must take O(1) amortised time: they run once per request.
    """

    def sent(self, instance: str, now: float) -> None:
        """A request went to the instance. Every one is followed by `answered` or `failed`."""

    def answered(self, instance: str, latency_ms: float, now: float) -> None:
        """The instance answered; the latency runs from the request's arrival here to the end of its answer's head.

        That of a request which another instance failed first runs from its sending to this one.
        """

    def failed(self, instance: str, now: float) -> None:
        """The instance refused, broke off, timed out or answered 502, 503 or 504."""

    def pinged(self, instance: str, latency_ms: float, now: float) -> None:
        """A probe of the instance's node took this long (inf: no answer): an approximation of a request's latency."""

    def loaded(self, node: str, share: float, now: float) -> None:
        """A node uses this share, 0 to 1, of its CPU or its memory, whichever is larger."""


E = TypeVar("E", bound=Estimates)


class Policy(Protocol, Generic[E]):
    """A rule that chooses instances. It has no state of its own: what it learned is in its estimates."""

    def estimates(self, setting: Setting) -> E:
        """Return what is known before the first request."""

    def choose(self, instances: Sequence[Instance], estimates: E, now: float) -> Instance:
        """Return the instance for a request that arrives now.

        Changes nothing, and its arguments determine the result. `instances` are ready and not empty; their order does
        not matter.
        """

    def probes(self, instances: Sequence[Instance], estimates: E, now: float) -> Sequence[Instance]:
        """Return the instances whose nodes are to be probed now; each probe's result goes to `pinged`.

        Asked for at requests, while no probe is under way. Changes nothing.
        """
        return ()


policies: Registry[Policy[Any]] = Registry("balancing policy", "aiotwin_nb.balancing")
