"""Which instance gets a request: services by host, their instances by the balancing policy."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from aiotwin_nb.errors import did_you_mean
from aiotwin_nb.inference.balancing import Estimates, Policy, Setting
from aiotwin_nb.inference.proxy.accounts import Clients, Tally
from aiotwin_nb.inference.proxy.limits import Limits
from aiotwin_nb.inference.proxy.sources import Directory
from aiotwin_nb.inference.proxy.upstream import Pool
from aiotwin_nb.inference.services import Instance, Service

LONGEST_HOST = 255
FAILING = frozenset({502, 503, 504})  # answers that say that the instance cannot serve the request now


class Refused(Exception):
    """A request that goes to no instance.

    Attributes:
        status: of the answer
        retry_after: seconds after which it may be otherwise, or None
        more: what else the answer says
    """

    def __init__(self, status: int, why: str, retry_after: int | None = None, **more: Any) -> None:
        super().__init__(why)
        self.status = status
        self.retry_after = retry_after
        self.more = more


class Upstream:
    """One instance as this proxy sees it.

    Attributes:
        state: why it takes no requests, or "" when it does
        doubted: set when a probe should not wait its turn
    """

    def __init__(self, instance: Instance, limits: Limits) -> None:
        self.instance = instance
        self.pool = Pool(instance.url, limits)
        self.tally = Tally()
        self.in_flight = 0
        self.late_in_a_row = 0
        self.state = "not probed yet"
        self.doubted = asyncio.Event()

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {
            "url": self.instance.url,
            "node": self.instance.node,
            "in_rotation": not self.state,
            "state": self.state or "ready",
            **self.tally.as_dict(),
            "in_flight": self.in_flight,
        }


class Route:
    """One service as this proxy sees it: its instances, what is known of them, and what became of its requests."""

    def __init__(self, service: Service, policy: Policy[Any], node: str, seed: int, limits: Limits) -> None:
        self.service = service
        self.upstreams: dict[str, Upstream] = {}
        self.tally = Tally()
        self.clients = Clients(limits.clients)
        self.retries = 0
        self.pinging = False
        self._policy = policy
        self._place = (node, seed)
        self._limits = limits
        self.estimates: Estimates = self._fresh_estimates(service)
        self._candidates: tuple[Instance, ...] = ()

    def update(self, service: Service) -> tuple[list[Upstream], list[Upstream]]:
        """Take over what has changed; returns the instances that came and those that went."""
        if service.max_latency_ms != self.service.max_latency_ms:
            self.estimates = self._fresh_estimates(service)
        self.service = service
        wanted = {instance.id: instance for instance in service.instances if instance.ready}
        gone = [each for key, each in self.upstreams.items() if wanted.get(key) != each.instance]
        for upstream in gone:
            del self.upstreams[upstream.instance.id]
            upstream.pool.close()
        new = [Upstream(each, self._limits) for key, each in wanted.items() if key not in self.upstreams]
        self.upstreams.update({upstream.instance.id: upstream for upstream in new})
        self._refresh()
        return new, gone

    def choose(self, now: float, other_than: Upstream | None = None) -> Upstream:
        """Return the instance for a request; raises Refused when none can take it."""
        candidates = self._candidates
        if other_than is not None:
            candidates = tuple(each for each in candidates if each.id != other_than.instance.id)
        if not candidates:
            raise Refused(503, self._why_none(), retry_after=1)
        most = self._limits.in_flight_per_instance
        upstreams = self.upstreams
        if any(upstreams[each.id].in_flight >= most for each in candidates):
            candidates = tuple(each for each in candidates if upstreams[each.id].in_flight < most)
            if not candidates:
                raise Refused(
                    503, f"every instance of {self.service.name} has {most} requests in flight", retry_after=1
                )
        return upstreams[self._policy.choose(candidates, self.estimates, now).id]

    def to_ping(self, now: float) -> list[Upstream]:
        """Return the instances whose nodes the policy wants to be pinged before it chooses."""
        if self.pinging or not self._candidates:
            return []
        return [self.upstreams[each.id] for each in self._policy.probes(self._candidates, self.estimates, now)]

    def put_in(self, upstream: Upstream) -> None:
        """Let an instance take requests."""
        upstream.late_in_a_row = 0
        if upstream.state:
            upstream.state = ""
            self._refresh()

    def take_out(self, upstream: Upstream, why: str) -> None:
        """Let an instance take no more requests, until a probe finds it ready."""
        if not upstream.state:
            upstream.pool.drop_idle()
        upstream.state = why
        self._refresh()

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {
            "max_latency_ms": self.service.max_latency_ms,
            **self.tally.as_dict(),
            "retries": self.retries,
            "instances": {key: upstream.as_dict() for key, upstream in self.upstreams.items()},
            "clients": self.clients.as_dict(),
        }

    def _fresh_estimates(self, service: Service) -> Estimates:
        node, seed = self._place
        estimates: Estimates = self._policy.estimates(Setting(service.max_latency_ms, node, seed))
        return estimates

    def _refresh(self) -> None:
        self._candidates = tuple(each.instance for each in self.upstreams.values() if not each.state)

    def _why_none(self) -> str:
        name = self.service.name
        if not self.service.instances:
            return f"{name} has no instance"
        if not self.upstreams:
            return f"no instance of {name} is ready"
        states = "; ".join(f"{key}: {each.state}" for key, each in list(self.upstreams.items())[:5] if each.state)
        return f"no instance of {name} takes requests ({states})" if states else f"{name} has no other instance"


class Attempt:
    """One request at one instance: tells the policy's estimates and the instance's tally what becomes of it."""

    __slots__ = ("_estimates", "_open", "route", "start", "upstream")

    def __init__(self, route: Route, upstream: Upstream) -> None:
        self.route = route
        self.upstream = upstream
        self.start = time.monotonic()
        self._estimates = route.estimates  # the ones to be told, also when new ones are begun meanwhile
        self._open = True
        upstream.in_flight += 1
        self._estimates.sent(upstream.instance.id, self.start)

    def answered(self, status: int) -> None:
        """The head of its answer is here."""
        if status in FAILING:
            self.upstream.doubted.set()
            self.failed()
            return
        now = time.monotonic()
        latency_ms = (now - self.start) * 1000
        self._open = False
        self.upstream.late_in_a_row = 0
        self.upstream.tally.answered(latency_ms, self.route.service.max_latency_ms)
        self._estimates.answered(self.upstream.instance.id, latency_ms, now)

    def failed(self) -> None:
        """There is no answer, or one that says that the instance cannot serve it."""
        self._open = False
        self.upstream.tally.failure()
        self._estimates.failed(self.upstream.instance.id, time.monotonic())

    def ended(self) -> None:
        """Nothing more comes of it.

        A client that went away before the answer leaves its waiting time as the latency: it would have been at least
        that, and clients who wait for long are the ones who go.
        """
        self.upstream.in_flight -= 1
        if self._open:
            now = time.monotonic()
            self._estimates.answered(self.upstream.instance.id, (now - self.start) * 1000, now)


class Routes:
    """All services, by the host that clients ask for: NAME, NAME:PORT or NAME.ANYTHING."""

    def __init__(self, policy: Policy[Any], node: str, seed: int, limits: Limits) -> None:
        self._make: Callable[[Service], Route] = lambda service: Route(service, policy, node, seed, limits)
        self.by_name: dict[str, Route] = {}
        self._by_host: dict[str, Route] = {}
        self.problem = ""

    def update(self, directory: Directory) -> tuple[list[tuple[Route, Upstream]], list[Upstream]]:
        """Take over what has changed; returns the instances that came, with their services, and those that went."""
        self.problem = directory.problem
        came: list[tuple[Route, Upstream]] = []
        went: list[Upstream] = []
        wanted = {service.name: service for service in directory.services}
        for name in set(self.by_name) - set(wanted):
            went += self._remove(name)
        for name, service in wanted.items():
            if name not in self.by_name:
                self.by_name[name] = self._make(service)
            route = self.by_name[name]
            new, gone = route.update(service)
            came += [(route, upstream) for upstream in new]
            went += gone
        self._by_host = {}
        self._tell_loads(directory.loads)
        return came, went

    def find(self, host: str) -> Route:
        """Return the service that a Host header names; raises Refused, with the names that are known."""
        route = self._by_host.get(host)
        if route is not None:
            return route
        name = host.lower()[:LONGEST_HOST]
        if name.rpartition(":")[2].isdigit():
            name = name.rpartition(":")[0]
        for candidate in _shorter(name.rstrip(".")):
            if candidate in self.by_name:
                if len(self._by_host) < 1024:  # what clients write is not ours to keep without bound
                    self._by_host[host] = self.by_name[candidate]
                return self.by_name[candidate]
        known = sorted(self.by_name)
        raise Refused(404, f"unknown host {host[:100]!r}.{did_you_mean(name[:100], known)}", services=known)

    def _remove(self, name: str) -> Iterable[Upstream]:
        route = self.by_name.pop(name)
        for upstream in route.upstreams.values():
            upstream.pool.close()
        return route.upstreams.values()

    def _tell_loads(self, loads: Mapping[str, float]) -> None:
        now = time.monotonic()
        for route in self.by_name.values():
            for node, share in loads.items():
                route.estimates.loaded(node, share, now)


def _shorter(name: str) -> Iterable[str]:
    """A name, and what is left of it without its last labels: a.b.c, a.b, a."""
    while name:
        yield name
        name = name.rpartition(".")[0]
