"""Which instances take requests: every one is asked again and again, sooner when there is reason for doubt."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence
from contextlib import suppress

from aiotwin_nb.inference.proxy.limits import Limits
from aiotwin_nb.inference.proxy.routing import Route, Upstream
from aiotwin_nb.inference.proxy.upstream import InstanceError, TooLate, probe

READY = b"/ready"
SHORTEST_PAUSE = 0.05  # seconds between two probes, however great the doubt


class Health:
    """Probes instances with GET /ready: an answer below 500 puts one in rotation, anything else takes it out."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._tasks: dict[Upstream, asyncio.Task[None]] = {}
        self._pings: set[asyncio.Task[None]] = set()

    def watch(self, route: Route, upstream: Upstream) -> None:
        """Begin with an instance."""
        self._tasks[upstream] = asyncio.create_task(self._watch(route, upstream))

    def forget(self, upstream: Upstream) -> None:
        """An instance is gone."""
        if task := self._tasks.pop(upstream, None):
            task.cancel()

    def ping(self, route: Route, upstreams: Sequence[Upstream]) -> None:
        """Measure the ways to the nodes of some instances, and tell the service's estimates."""
        route.pinging = True
        task = asyncio.create_task(self._ping(route, upstreams))
        self._pings.add(task)
        task.add_done_callback(self._pings.discard)

    async def close(self) -> None:
        """End all probing."""
        tasks = [*self._tasks.values(), *self._pings]
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _ping(self, route: Route, upstreams: Sequence[Upstream]) -> None:
        try:
            for upstream, latency_ms in zip(upstreams, await asyncio.gather(*map(ping, upstreams)), strict=True):
                route.estimates.pinged(upstream.instance.id, latency_ms, time.monotonic())
        finally:
            route.pinging = False

    async def _watch(self, route: Route, upstream: Upstream) -> None:
        while True:
            upstream.doubted.clear()
            await look(route, upstream, self._limits)
            upstream.pool.sweep(time.monotonic())
            pause = self._limits.probe_again if upstream.state else self._limits.probe_every
            await asyncio.sleep(SHORTEST_PAUSE)
            with suppress(TimeoutError):
                async with asyncio.timeout(pause - SHORTEST_PAUSE):
                    await upstream.doubted.wait()


async def look(route: Route, upstream: Upstream, limits: Limits) -> None:
    """Probe an instance once, and draw the consequence."""
    try:
        status = await probe(upstream.pool, READY, limits)
    except TooLate as error:
        upstream.late_in_a_row += 1
        if upstream.late_in_a_row > 1 or upstream.state:
            route.take_out(upstream, f"probe: {error}")
        return
    except InstanceError as error:
        route.take_out(upstream, f"probe: {error}")
        return
    if status >= 500:
        route.take_out(upstream, f"not ready: it answers {status} to {READY.decode()}")
        return
    route.put_in(upstream)


async def ping(upstream: Upstream) -> float:
    """Return how long a connection takes to open, in ms, inf when it does not: the system answers, no service does."""
    start = time.monotonic()
    try:
        connection = await upstream.pool.take(fresh=True)
    except InstanceError:
        return math.inf
    upstream.pool.give_back(connection)
    return (time.monotonic() - start) * 1000
