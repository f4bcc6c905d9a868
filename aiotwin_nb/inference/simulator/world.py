"""What a scenario becomes before its first event: requests, ways and servers.

Everything random is drawn here, by request: the same request meets the same noise under every policy, so that policies
can be compared pair by pair, and the same seed gives the same result bit for bit.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from heapq import heapreplace
from math import inf

import numpy as np
from numpy.typing import NDArray

from aiotwin_nb.inference.simulator.scenario import Curve, Link, Scenario

STEP_S = 0.1  # curves are constant for this time


@dataclass(frozen=True, slots=True)
class Requests:
    """All requests in the order of their arrival.

    Attributes:
        time: of arrival at the proxy, in seconds
        client: index of the one that sent it
        work, there, back: standard normal noise of the work and of the two ways
    """

    time: NDArray[np.float64]
    client: NDArray[np.int64]
    work: list[float]
    there: list[float]
    back: list[float]


def draw_requests(scenario: Scenario) -> Requests:
    """Draw each client's Poisson process, by inversion of its rate's integral, and every request's noise."""
    times = [_arrivals(scenario, number) for number in range(len(scenario.clients))]
    time = np.concatenate(times)
    client = np.repeat(np.arange(len(times)), [len(t) for t in times])
    order = np.argsort(time, kind="stable")
    work, there, back = np.random.default_rng([scenario.seed, 2]).standard_normal((3, len(time))).tolist()
    return Requests(time[order], client[order], work, there, back)


def _arrivals(scenario: Scenario, number: int) -> NDArray[np.float64]:
    rng = np.random.default_rng([scenario.seed, 1, number])
    grown = np.concatenate([[0.0], np.cumsum(samples(scenario.clients[number].rate, scenario.seconds)) * STEP_S])
    drawn = np.sort(rng.random(rng.poisson(grown[-1]))) * grown[-1]
    at: NDArray[np.float64] = np.interp(drawn, grown, np.arange(len(grown)) * STEP_S)
    return at[at < scenario.seconds]


def samples(curve: Curve, seconds: float) -> NDArray[np.float64]:
    """A curve's values at the middles of the steps."""
    middles = np.arange(0.0, seconds, STEP_S) + STEP_S / 2
    if not isinstance(curve, tuple):
        return np.full(len(middles), float(curve))
    at, values = np.array(curve, dtype=float).T
    between: NDArray[np.float64] = np.interp(middles, at, values)
    return between


@dataclass(frozen=True, slots=True)
class Way:
    """From a proxy to an instance: seconds one way by step, and the noise of a message's time."""

    seconds: list[float]
    noise: float


def way(scenario: Scenario, links: dict[frozenset[str], Link], one: str, other: str) -> Way:
    """Return the way between two nodes."""
    link = Link((one, other), scenario.local_ms) if one == other else links[frozenset((one, other))]
    return Way((samples(link.rtt_ms, scenario.seconds) / 2000).tolist(), link.noise)


class Server:
    """A replica at work. Its queue is the times at which its workers will be free.

    Attributes:
        node: index of its node
        work_s: median work by step, in seconds
        free: heap of the times at which the workers are free
        waiting: starts of what waits
        down, up: the outage that is on or comes next
        busy_s: work begun since the last report
        coming: requests on their way to it
    """

    __slots__ = ("busy_s", "coming", "down", "free", "noise", "outages", "places", "silent", "up", "waiting", "work_s")

    def __init__(self, scenario: Scenario, number: int) -> None:
        replica = scenario.instances[number]
        node = next(n for n in scenario.nodes if n.id == replica.node)
        left = 1 - samples(node.background, scenario.seconds)
        self.work_s: list[float] = (replica.work_ms / 1000 / node.speed / left).tolist()
        self.noise = replica.noise
        self.free = [0.0] * replica.workers
        self.waiting: deque[float] = deque()
        self.places = replica.queue
        self.busy_s = 0.0
        self.coming = 0
        self.outages = deque(sorted((o.start, o.end, o.silent) for o in scenario.outages if o.instance == replica.id))
        self._look_ahead()

    def _look_ahead(self) -> None:
        self.down, self.up, self.silent = self.outages[0] if self.outages else (inf, inf, False)

    def is_down(self, now: float) -> bool:
        """Whether an outage is on; one that is over has emptied the queue."""
        while now >= self.up:
            self.outages.popleft()
            self._look_ahead()
            self.free = [0.0] * len(self.free)
            self.waiting.clear()
        return now >= self.down

    def is_full(self, now: float) -> bool:
        """Whether a request must be refused."""
        waiting = self.waiting
        while waiting and waiting[0] <= now:
            waiting.popleft()
        return len(waiting) >= self.places

    def take(self, now: float, factor: float) -> float:
        """Queue a request that needs `factor` times the median work; return when it will be done."""
        start = self.free[0]
        if start > now:
            self.waiting.append(start)
        else:
            start = now
        work = self.work_at(start) * factor
        self.busy_s += work
        heapreplace(self.free, start + work)
        return start + work

    def work_at(self, now: float) -> float:
        """Median work of a request that is begun now, in seconds."""
        step = int(now / STEP_S)
        return self.work_s[step] if step < len(self.work_s) else self.work_s[-1]
