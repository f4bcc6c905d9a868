"""The proxy as a whole: what it is made of, how it starts, how it ends."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any, Self
from zlib import crc32

from aiohttp import web

from aiotwin_nb.errors import InvalidInput
from aiotwin_nb.inference.balancing import DEFAULT_POLICY, policies
from aiotwin_nb.inference.proxy.admin import application
from aiotwin_nb.inference.proxy.door import Doors
from aiotwin_nb.inference.proxy.health import Health
from aiotwin_nb.inference.proxy.limits import Limits
from aiotwin_nb.inference.proxy.relay import Relay
from aiotwin_nb.inference.proxy.routing import Routes
from aiotwin_nb.inference.proxy.sources import Directory, ServiceSource

Address = tuple[str, int]

log = logging.getLogger(__name__)


class Proxy:
    """A reverse proxy that keeps the services' latency bounds by the choice of the instance.

    >>> async def example():
    ...     service = Service("counting", (Instance("a", "http://127.0.0.1:8000", "n1"),), max_latency_ms=300)
    ...     async with Proxy(FixedSource(service), policy="round_robin") as proxy:
    ...         print(proxy.url, proxy.stats()["services"]["counting"]["requests"])

    Attributes:
        routes: its services
        limits: what bounds it
    """

    def __init__(
        self,
        source: ServiceSource,
        policy: str = DEFAULT_POLICY,
        *,
        node: str = "",
        listen: Address = ("127.0.0.1", 0),
        admin: Address | None = None,
        limits: Limits | None = None,
        seed: int | None = None,
    ) -> None:
        """Prepare one; nothing is opened before it is entered.

        Args:
            source: which services there are
            policy: the name of a balancing policy
            node: the id of the node that it runs on, "" when unknown
            listen: host and port for clients; port 0 takes a free one
            admin: the same for the proxy's own paths; None: none
            limits: what bounds it
            seed: of what the policy draws at random; None: the node's own

        Raises:
            InvalidInput: there is no such policy
        """
        self.limits = limits or Limits()
        self.policy = policy
        self.node = node
        self.routes = Routes(policies.get(policy), node, crc32(node.encode()) if seed is None else seed, self.limits)
        self._source = source
        self._listen = listen
        self._admin = admin
        self._name = f"aiotwin-{_token(node)}" if node else "aiotwin"
        self._started = time.monotonic()
        self._running = False

    async def __aenter__(self) -> Self:
        """Start it."""
        return await self.start()

    async def __aexit__(self, *_: object) -> None:
        """Drain, then end."""
        await self.close()

    async def start(self) -> Self:
        """Probe the instances, then listen; raises InvalidInput when the services or an address cannot be used."""
        directory = await self._source.current()
        self._health = Health(self.limits)
        self._relay = Relay(self.routes, self._health, self.limits, self._name)
        self._doors = Doors(self._relay, self.limits)
        self._take_over(directory)
        await self._probed_once()
        try:
            await self._open()
        except BaseException:
            await self._health.close()
            raise
        self._following = asyncio.create_task(self._follow())
        self._running = True
        return self

    @property
    def address(self) -> Address:
        """Host and port for clients."""
        host, port = self._server.sockets[0].getsockname()[:2]
        return host, port

    @property
    def url(self) -> str:
        """Where clients reach it."""
        return _url(*self.address)

    @property
    def admin_url(self) -> str:
        """Where its own paths are, "" when nowhere."""
        return _url(*self._runner.addresses[0][:2]) if self._admin and self._runner.addresses else ""

    @property
    def ready(self) -> bool:
        """Whether it takes requests."""
        return self._running and not self._doors.draining

    @property
    def connections(self) -> int:
        """How many client connections are open."""
        return len(self._doors.connections_open)

    def stats(self) -> dict[str, Any]:
        """Return what became of requests so far, per service, instance and client, as JSON has it."""
        return {
            "node": self.node,
            "policy": self.policy,
            "ready": self.ready,
            "uptime_s": time.monotonic() - self._started,
            "connections": self.connections,
            "in_flight": self._relay.in_flight,
            "source_problem": self.routes.problem,
            "services": {name: route.as_dict() for name, route in self.routes.by_name.items()},
        }

    async def close(self, drain: float | None = None) -> int:
        """Take no more connections, let requests in flight end, then end.

        Args:
            drain: seconds for them; None: as the limits say

        Returns:
            how many connections had to be cut off
        """
        if not self._running:
            return 0
        self._server.close()
        cut = await self._doors.drain(self.limits.drain if drain is None else drain)
        self._running = False
        self._following.cancel()
        await asyncio.gather(self._following, return_exceptions=True)
        await self._health.close()
        for route in self.routes.by_name.values():
            for upstream in route.upstreams.values():
                upstream.pool.close()
        if self._admin is not None:
            await self._runner.cleanup()
        return cut

    def hurry(self) -> None:
        """Cut off what is still in flight while closing."""
        self._doors.hurry()

    async def _open(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(self._doors, *self._listen, backlog=4096)
        except OSError as error:
            raise _cannot_listen(self._listen, error) from None
        if self._admin is None:
            return
        self._runner = web.AppRunner(application(self), access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, *self._admin).start()
        except OSError as error:
            self._server.close()
            await self._runner.cleanup()
            raise _cannot_listen(self._admin, error) from None

    def _take_over(self, directory: Directory) -> None:
        came, went = self.routes.update(directory)
        for upstream in went:
            self._health.forget(upstream)
        for route, upstream in came:
            self._health.watch(route, upstream)

    async def _probed_once(self) -> None:
        """Wait until every instance has been looked at, so that the first request meets those that are ready."""
        upstreams = [each for route in self.routes.by_name.values() for each in route.upstreams.values()]
        end = time.monotonic() + self.limits.probe
        while time.monotonic() < end and any(each.state == "not probed yet" for each in upstreams):
            await asyncio.sleep(0.005)

    async def _follow(self) -> None:
        try:
            async for directory in self._source.changes():
                if directory.problem and directory.problem != self.routes.problem:
                    log.error("%s", directory.problem)
                self._take_over(directory)
        except Exception as error:
            self.routes.problem = f"services are followed no longer: {error or type(error).__name__}"
            log.exception("services are followed no longer; what is in force stays in force")


def _cannot_listen(address: Address, error: OSError) -> InvalidInput:
    return InvalidInput(f"cannot listen at {address[0]}:{address[1]}: {error.strerror or error}; choose another")


def _url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _token(text: str) -> str:
    """Text as a token of HTTP."""
    return "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in text)
