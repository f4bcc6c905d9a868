"""The rules of the original QEdgeProxy (github.com/AIoTwin/qedgeproxy), with its defaults.

Among the instances that are not in cool-down, those count whose latency is estimated below the bound; of these, those
on nodes with too little left of CPU or memory only when there are no others. One of them is chosen at random (the
original's RANDOM_MODE, on by default) or by the lowest estimate. If there is none: one on the proxy's own node; else
any.

Estimates are whole milliseconds, moved towards each answer by a fixed weight, by a larger one when the estimate was a
probe's. Two things differ by necessity: they are kept per instance, not per node, which is the same where a node runs
one instance of a service; and where all are in cool-down, which the original answers with 404, all count.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf

from aiotwin_nb.inference.balancing.base import Policy, Setting, policies
from aiotwin_nb.inference.balancing.blind import Count, any_of
from aiotwin_nb.inference.services import Instance


@dataclass(frozen=True, slots=True)
class Rules:
    """The original's settings; in capitals its environment variables."""

    weight: float = 0.2  # LAT_WEIGHT, of an answer
    probe_weight: float = 0.7  # LAT_APPR_WEIGHT, of an answer after a probe
    cooldown_s: float = 30.0  # COOLDOWN_BASE_DURATION_S, times the failures in a row
    probe_below: float = 0.3  # QOS_PERC: probe again when a smaller share of instances keeps the bound
    probe_every_s: float = 60.0  # QOS_COOLDOWN_S
    probe_valid_s: float = 100.0  # PING_CACHE_TIME_S
    answer_valid_s: float = 360.0  # REAL_DATA_VALID_S: no probe replaces a younger answer
    max_usage: float = 0.95  # MAX_RES_USAGE
    at_random: bool = True  # RANDOM_MODE


@dataclass(slots=True)
class Known:
    """What is known of one instance. One that failed before its first answer has, as in the original, 0 ms."""

    latency_ms: int = 0
    at: float = -inf
    probed: bool = False
    failures: int = 0


@dataclass
class HostData(Count):
    """What the original keeps per node, here per instance."""

    bound_ms: float = inf
    node: str = ""
    rules: Rules = field(default_factory=Rules)
    known: dict[str, Known] = field(default_factory=dict)
    usage: dict[str, float] = field(default_factory=dict)
    probed: dict[str, tuple[float, float]] = field(default_factory=dict)  # latest probe: when, ms
    probed_at: float = -inf

    def answered(self, instance: str, latency_ms: float, now: float) -> None:
        """Move the estimate; the instance is healthy."""
        known = self.known.get(instance)
        if known is None:
            self.known[instance] = Known(int(latency_ms), now)
            return
        weight = self.rules.probe_weight if known.probed else self.rules.weight
        known.latency_ms = int((1 - weight) * known.latency_ms + weight * int(latency_ms))
        known.at, known.probed, known.failures = now, False, 0

    def failed(self, instance: str, now: float) -> None:
        """Begin a cool-down, longer with each failure in a row."""
        known = self.known.setdefault(instance, Known())
        known.at, known.failures = now, known.failures + 1

    def pinged(self, instance: str, latency_ms: float, now: float) -> None:
        """Take a probe's result where no answer is recent; a cached one while it is valid, the bound if none came."""
        self.probed_at = now
        at, cached = self.probed.get(instance, (-inf, inf))
        if now - at < self.rules.probe_valid_s:
            latency_ms = cached
        elif latency_ms < inf:
            self.probed[instance] = now, latency_ms
        latency = int(min(latency_ms, self.bound_ms))
        known = self.known.get(instance)
        if known is None:
            self.known[instance] = Known(latency, now, probed=True)
        elif known.probed or now - known.at > self.rules.answer_valid_s:
            known.latency_ms, known.probed = latency, True

    def loaded(self, node: str, share: float, now: float) -> None:
        """Keep the newest."""
        self.usage[node] = share

    def healthy(self, instances: Sequence[Instance], now: float) -> Sequence[Instance]:
        """Those not in cool-down, or all when there are none."""
        return [i for i in instances if not self.cooling(i.id, now)] or instances

    def cooling(self, instance: str, now: float) -> bool:
        """Whether its last failure is too recent."""
        known = self.known.get(instance)
        return known is not None and now - known.at < self.rules.cooldown_s * known.failures

    def keeping(self, instances: Sequence[Instance]) -> list[Instance]:
        """Those whose latency is estimated below the bound."""
        known, bound = self.known, self.bound_ms
        return [i for i in instances if i.id in known and known[i.id].latency_ms < bound]


class QEdgeProxy(Policy[HostData]):
    """The original's choice."""

    def __init__(self, rules: Rules | None = None) -> None:
        self.rules = rules or Rules()

    def estimates(self, setting: Setting) -> HostData:
        """Return that nothing is known."""
        return HostData(setting.seed, bound_ms=setting.bound_ms, node=setting.node, rules=self.rules)

    def choose(self, instances: Sequence[Instance], estimates: HostData, now: float) -> Instance:
        """Return one that keeps the bound, else a near one, else any."""
        healthy = estimates.healthy(instances, now)
        keeping = estimates.keeping(healthy)
        usage, limit = estimates.usage, self.rules.max_usage
        best = [i for i in keeping if usage.get(i.node, 0.0) <= limit] or keeping
        if best and not self.rules.at_random:
            return min(best, key=lambda i: (estimates.known[i.id].latency_ms, i.id))
        near = [] if best else [i for i in healthy if estimates.node and i.node == estimates.node]
        return min(near, key=lambda i: i.id) if near else any_of(best or healthy, estimates)

    def probes(self, instances: Sequence[Instance], estimates: HostData, now: float) -> Sequence[Instance]:
        """Return all before the first request, and later when too few keep the bound."""
        if now - estimates.probed_at <= self.rules.probe_every_s:
            return ()
        healthy = estimates.healthy(instances, now)
        few = len(estimates.keeping(healthy)) < self.rules.probe_below * len(healthy)
        return instances if few or estimates.probed_at == -inf else ()


qedgeproxy = policies.register("qedgeproxy")(QEdgeProxy())
qedgeproxy_fastest = policies.register("qedgeproxy_fastest")(QEdgeProxy(Rules(at_random=False)))
