"""What came out of a simulation."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aiotwin_nb.inference.simulator.scenario import Scenario


@dataclass(frozen=True)
class Result:
    """One scenario under one policy. The arrays have one entry a request, in the order of arrival.

    Attributes:
        time: of arrival at the proxy, in seconds
        client: index into the scenario's clients
        instance: index into its instances of the one that answered or failed last; -1: none was ready
        latency_ms: from arrival at the proxy to the answer; inf: failed
        attempts: how often an instance was sent a request, by instance
    """

    scenario: Scenario
    policy: str
    time: NDArray[np.float64]
    client: NDArray[np.int64]
    instance: NDArray[np.int64]
    latency_ms: NDArray[np.float64]
    attempts: NDArray[np.int64]

    @property
    def kept(self) -> NDArray[np.bool_]:
        """Which requests were answered within the bound."""
        return self.latency_ms <= self.scenario.bound_ms

    @property
    def qos(self) -> float:
        """Share of the requests answered within the bound."""
        return float(self.kept.mean()) if len(self.time) else 1.0

    def qos_by_client(self) -> dict[str, float]:
        """The same by client; a client that sent nothing is left out."""
        return {
            c.id: float(self.kept[self.client == n].mean())
            for n, c in enumerate(self.scenario.clients)
            if (self.client == n).any()
        }

    def load(self) -> dict[str, int]:
        """Requests sent to each instance, retries included."""
        return {i.id: int(n) for i, n in zip(self.scenario.instances, self.attempts, strict=True)}

    def quantiles(self, *shares: float) -> tuple[float, ...]:
        """Latencies in ms under which these shares of all requests stay; inf where that many failed."""
        return tuple(map(float, np.quantile(self.latency_ms, shares, method="inverted_cdf"))) if len(self.time) else ()

    def series(self, window_s: float = 1.0) -> dict[str, NDArray[np.float64]]:
        """Per window: its start (s), requests, share within the bound and median latency (ms); nan without requests."""
        edges = np.arange(0.0, self.scenario.seconds + window_s, window_s)
        at = np.searchsorted(self.time, edges)
        pairs = list(pairwise(at))
        some = [(a, b) if b > a else None for a, b in pairs]
        return {
            "start": edges[:-1],
            "requests": np.array([b - a for a, b in pairs], dtype=float),
            "qos": np.array([self.kept[slice(*s)].mean() if s else np.nan for s in some]),
            "median_ms": np.array([np.median(self.latency_ms[slice(*s)]) if s else np.nan for s in some]),
        }

    def summary(self) -> dict[str, Any]:
        """What `aiotwin simulate --json` prints."""
        p50, p95, p99 = self.quantiles(0.5, 0.95, 0.99) or (None, None, None)
        quantiles = {"p50": p50, "p95": p95, "p99": p99}
        return {
            "policy": self.policy,
            "requests": len(self.time),
            "qos": self.qos,
            "failed": int(np.isinf(self.latency_ms).sum()),
            "latency_ms": {name: None if q == np.inf else q for name, q in quantiles.items()},
            "clients": self.qos_by_client(),
            "load": self.load(),
        }
