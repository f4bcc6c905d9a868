"""What became of requests, per service, client and instance: counts, and latencies in a small histogram."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import OrderedDict
from itertools import accumulate
from typing import Any

BOUNDS_MS = tuple(round(1000 * 2 ** (k / 2) / 1024, 3) for k in range(33))  # 0.98 ms to 64 s, by the square root of 2
OTHERS = "(others)"


class Tally:
    """Requests of one kind. A request counts within the bound when it was answered, in time, and not by a failure.

    The latency of a request runs from its arrival at the proxy to the end of its answer's head.
    """

    __slots__ = ("failed", "histogram", "in_flight", "latency_sum", "requests", "within")

    def __init__(self) -> None:
        self.requests = 0
        self.within = 0
        self.failed = 0
        self.in_flight = 0
        self.latency_sum = 0.0
        self.histogram = [0] * (len(BOUNDS_MS) + 1)

    def answered(self, latency_ms: float, bound_ms: float) -> None:
        """An answer has begun."""
        self.requests += 1
        self.within += latency_ms <= bound_ms
        self.latency_sum += latency_ms
        self.histogram[bisect_left(BOUNDS_MS, latency_ms)] += 1

    def failure(self) -> None:
        """A request was refused, or its answer is 502, 503 or 504."""
        self.requests += 1
        self.failed += 1

    def quantile(self, share: float) -> float | None:
        """Return a latency in ms, interpolated within its bucket; None when nothing was answered."""
        total = sum(self.histogram)
        if not total:
            return None
        rank = share * total
        below = 0
        for index, count in enumerate(self.histogram):
            if count and below + count >= rank:
                low = BOUNDS_MS[index - 1] if index else 0.0
                high = BOUNDS_MS[min(index, len(BOUNDS_MS) - 1)]
                return low + (high - low) * max(0.0, rank - below) / count
            below += count
        return BOUNDS_MS[-1]

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON has it; shares and quantiles are null while there is nothing to divide."""
        return {
            "requests": self.requests,
            "within_bound": self.within,
            "share_within_bound": self.within / self.requests if self.requests else None,
            "failed": self.failed,
            "in_flight": self.in_flight,
            "latency_ms": {
                "mean": self.latency_sum / max(1, sum(self.histogram)) if any(self.histogram) else None,
                "p50": self.quantile(0.5),
                "p90": self.quantile(0.9),
                "p99": self.quantile(0.99),
            },
        }

    def cumulative(self) -> list[tuple[str, int]]:
        """Return the histogram as Prometheus has it: upper bound in seconds, and how many took at most so long."""
        bounds = [f"{bound / 1000:g}" for bound in BOUNDS_MS] + ["+Inf"]
        return list(zip(bounds, accumulate(self.histogram), strict=True))


class Clients:
    """The tallies of the clients seen last; what is forgotten goes on counting among the others."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._tallies: OrderedDict[str, Tally] = OrderedDict()
        self._others = Tally()
        self.forgotten = 0

    def of(self, client: str) -> Tally:
        """Return a client's tally; may forget that of the client not seen for longest."""
        tally = self._tallies.get(client)
        if tally is not None:
            self._tallies.move_to_end(client)
            return tally
        if len(self._tallies) >= self._most:
            self._forget()
        tally = self._tallies[client] = Tally()
        return tally

    def as_dict(self) -> dict[str, Any]:
        """Return all by client; those forgotten are summed up."""
        shown = {client: tally.as_dict() for client, tally in self._tallies.items()}
        return {**shown, OTHERS: self._others.as_dict()} if self.forgotten else shown

    def _forget(self) -> None:
        _, tally = self._tallies.popitem(last=False)
        self.forgotten += 1
        others = self._others
        others.requests += tally.requests
        others.within += tally.within
        others.failed += tally.failed
        others.latency_sum += tally.latency_sum
        others.histogram = [a + b for a, b in zip(others.histogram, tally.histogram, strict=True)]


def prometheus_label(value: str) -> str:
    """Return a label's value as the text format wants it."""
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def number(value: float) -> str:
    """Return a sample's value as the text format wants it."""
    return "+Inf" if value == math.inf else f"{value:.10g}"
