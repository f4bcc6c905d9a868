"""Clients: requests that arrive as a seeded Poisson process, measured where they are sent."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import aiohttp

from aiotwin_nb.inference.placement import Group

OUTSTANDING = 500  # requests of a group that wait at a time; one more fails at once
PATIENCE = 5.0  # bounds after which a client gives up, at least a second


@dataclass(frozen=True, slots=True)
class Sample:
    """What a client asks about. `label`: what it really is."""

    input: Any
    label: int


class Stream(Protocol):
    """Where samples come from."""

    def __call__(self, draw: random.Random) -> Sample:
        """Draw one."""


def numbers(draw: random.Random) -> Sample:
    """Samples that are their label: a digit; the synthetic service answers with it."""
    label = draw.randrange(10)
    return Sample([float(label)], label)


@dataclass(frozen=True, slots=True)
class Result:
    """One request, as its client sees it. `answer`: the service's, None when there was none."""

    group: str
    latency_ms: float
    bound_ms: float
    sample: Sample
    status: int
    answer: dict[str, Any] | None


class ClientGroup:
    """Sends one group's requests to the proxy that `door` names, and reports every result."""

    def __init__(
        self,
        group: Group,
        service: str,
        *,
        seed: int,
        door: Callable[[str], str | None],
        stream: Callable[[], Stream],
        report: Callable[[Result], None],
    ) -> None:
        self.group, self.service = group, service
        self.factor = 1.0
        self._door, self._stream, self._report = door, stream, report
        self._arrivals = random.Random(f"{seed} arrivals {group.id}")
        self._samples = random.Random(f"{seed} samples {group.id}")
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def rate(self) -> float:
        """Requests per second now."""
        return self.group.rate * self.factor

    async def run(self) -> None:
        """Send requests until cancelled."""
        limit = aiohttp.ClientTimeout(total=max(1.0, PATIENCE * self.group.bound_ms / 1000))
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=30)
        async with aiohttp.ClientSession(connector=connector, timeout=limit) as session:
            try:
                await self._arrive(session)
            finally:
                for task in list(self._tasks):
                    task.cancel()
                await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _arrive(self, session: aiohttp.ClientSession) -> None:
        due = time.monotonic()
        while True:
            if self.rate <= 0:
                await asyncio.sleep(0.05)
                due = time.monotonic()
                continue
            due += self._arrivals.expovariate(self.rate)
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            due = max(due, time.monotonic() - 1.0)  # after a stop of the process, no flood
            sample = self._stream()(self._samples)
            if len(self._tasks) >= OUTSTANDING:
                self._report(Result(self.group.id, 0.0, self.group.bound_ms, sample, 0, None))
                continue
            task = asyncio.create_task(self._ask(session, sample))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _ask(self, session: aiohttp.ClientSession, sample: Sample) -> None:
        start = time.monotonic()
        status, answer = 0, None
        door = self._door(self.group.node)
        if door is not None:
            try:
                headers = {"Host": self.service}
                async with session.post(f"{door}/predict", json={"inputs": [sample.input]}, headers=headers) as reply:
                    status = reply.status
                    answer = await reply.json(content_type=None) if status == 200 else None
            except (aiohttp.ClientError, TimeoutError, ValueError):
                status = 0
        latency = 1000 * (time.monotonic() - start)
        self._report(Result(self.group.id, latency, self.group.bound_ms, sample, status, answer))
