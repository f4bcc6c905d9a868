"""Service quality in windows of time: latencies, share within the bound, failures; per client, instance and node."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil, exp, log

RELATIVE_ERROR = 0.01
_BASE = log((1 + RELATIVE_ERROR) / (1 - RELATIVE_ERROR))
_LEAST_MS = 1e-3


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one request.

    Attributes:
        client: who asked; a group of clients counts as one; "" when it was measured on the way to the instance only
        instance: who answered, "" when nobody did
        node: where the instance runs
        latency_ms: from request to answer
        bound_ms: within which the answer was due
        ok: whether it was answered at all, and not with a failure
    """

    client: str
    instance: str
    node: str
    latency_ms: float
    bound_ms: float
    ok: bool = True

    @property
    def within(self) -> bool:
        """Whether it kept its quality of service (QoS)."""
        return self.ok and self.latency_ms <= self.bound_ms


class Latencies:
    """A distribution of latencies with 1 % relative error in little memory, whatever their number.

    Buckets grow geometrically, as in DDSketch (Masson, Rim and Lee, VLDB 2019).
    """

    __slots__ = ("_buckets", "count", "sum_ms")

    def __init__(self) -> None:
        self._buckets: Counter[int] = Counter()
        self.count = 0
        self.sum_ms = 0.0

    def add(self, latency_ms: float) -> None:
        """Take in one latency; what is below a microsecond counts as one."""
        self._buckets[ceil(log(max(latency_ms, _LEAST_MS)) / _BASE)] += 1
        self.count += 1
        self.sum_ms += latency_ms

    def quantile(self, q: float) -> float | None:
        """The latency in ms that a share q, 0 to 1, does not exceed; None when there is none yet."""
        rank = max(1, ceil(q * self.count))
        for bucket in sorted(self._buckets):
            rank -= self._buckets[bucket]
            if rank <= 0:
                return exp(bucket * _BASE) * (1 - RELATIVE_ERROR)
        return None


@dataclass(frozen=True)
class Quality:
    """The answers of one window to one client, or of one instance or node. Latencies in ms are of those with answer."""

    requests: int = 0
    within: int = 0
    failed: int = 0
    mean_ms: float | None = None
    p50_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None

    @property
    def qos_share(self) -> float | None:
        """Share of requests within the bound, 0 to 1; None without requests."""
        return self.within / self.requests if self.requests else None


@dataclass(frozen=True)
class Window:
    """One window of time. `start` in seconds of the monitor's clock; `load`: share of each node in use, 0 to 1."""

    number: int
    start: float
    seconds: float
    total: Quality
    clients: Mapping[str, Quality] = field(default_factory=dict)
    instances: Mapping[str, Quality] = field(default_factory=dict)
    nodes: Mapping[str, Quality] = field(default_factory=dict)
    load: Mapping[str, float] = field(default_factory=dict)


@dataclass
class _Tally:
    requests: int = 0
    within: int = 0
    failed: int = 0
    latencies: Latencies = field(default_factory=Latencies)

    def add(self, answer: Answer) -> None:
        self.requests += 1
        self.within += answer.within
        self.failed += not answer.ok
        if answer.ok:
            self.latencies.add(answer.latency_ms)

    def quality(self) -> Quality:
        some = self.latencies
        quantiles = (some.quantile(q) for q in (0.5, 0.95, 0.99))
        mean = some.sum_ms / some.count if some.count else None
        return Quality(self.requests, self.within, self.failed, mean, *quantiles)


class Windows:
    """Collects answers; `close` ends a window and begins the next. Not for several threads."""

    def __init__(self, now: float = 0.0) -> None:
        self._number = 0
        self._begin(now)

    def add(self, answer: Answer) -> None:
        """Take in one answer; the total is of what clients measured."""
        if answer.client:
            self._total.add(answer)
            self._clients[answer.client].add(answer)
        if answer.instance:
            self._instances[answer.instance].add(answer)
        if answer.node:
            self._nodes[answer.node].add(answer)

    def close(self, now: float, load: Mapping[str, float] | None = None) -> Window:
        """Return the window that ends now."""
        window = Window(
            number=self._number,
            start=self._start,
            seconds=now - self._start,
            total=self._total.quality(),
            clients={i: tally.quality() for i, tally in sorted(self._clients.items())},
            instances={i: tally.quality() for i, tally in sorted(self._instances.items())},
            nodes={i: tally.quality() for i, tally in sorted(self._nodes.items())},
            load=dict(load or {}),
        )
        self._number += 1
        self._begin(now)
        return window

    def _begin(self, now: float) -> None:
        self._start = now
        self._total = _Tally()
        self._clients: defaultdict[str, _Tally] = defaultdict(_Tally)
        self._instances: defaultdict[str, _Tally] = defaultdict(_Tally)
        self._nodes: defaultdict[str, _Tally] = defaultdict(_Tally)
