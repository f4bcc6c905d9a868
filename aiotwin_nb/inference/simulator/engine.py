"""The event loop: requests arrive at proxies, reach instances, wait, are worked on, and their answers come back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import count
from math import exp, inf
from typing import Any

import numpy as np

from aiotwin_nb.inference.balancing import Policy, Setting, policies
from aiotwin_nb.inference.services import Instance
from aiotwin_nb.inference.simulator.result import Result
from aiotwin_nb.inference.simulator.scenario import Scenario
from aiotwin_nb.inference.simulator.world import STEP_S, Server, Way, draw_requests, samples, way

ORACLE = "oracle"
PING_TIMEOUT_S = 1.0


def simulate(scenario: Scenario, policy: str) -> Result:
    """Run a scenario under a policy, by its registered name; `oracle` gives what is possible.

    The oracle knows all queues and ways and what the request will meet; it sends it where it will be answered first
    and, when no answer can be in time, where it delays the others least.
    """
    return Simulation(scenario, policy).run()


@dataclass(slots=True)
class Proxy:
    """A proxy of the simulation: what it knows, its ways to all instances, and its probes under way."""

    estimates: Any
    ways: list[Way]
    probing: int = 0


class Simulation:
    """The state of one run. An event is (time, number, what happens, request, instance, when it was sent)."""

    def __init__(self, scenario: Scenario, policy: str) -> None:
        self.scenario, self.name = scenario, policy
        self.policy: Policy[Any] | None = None if policy == ORACLE else policies.get(policy)
        # Most policies never probe: asking them at every request would be for nothing.
        self.probes = self.policy is not None and type(self.policy).probes is not Policy.probes
        self.requests = draw_requests(scenario)
        self.arrival: list[float] = self.requests.time.tolist()
        self.servers = [Server(scenario, n) for n in range(len(scenario.instances))]
        self.instances = [Instance(i.id, f"http://{i.id}", i.node) for i in scenario.instances]
        self.number = {i.id: n for n, i in enumerate(self.instances)}
        self.listed = [True] * len(self.instances)
        self.ready = tuple(self.instances)
        self.proxies = self._proxies()
        self.proxy_of = [self.proxies[c] for c in self.requests.client.tolist()]
        self.latency = [inf] * len(self.arrival)
        self.answered_by = [-1] * len(self.arrival)
        self.attempts = [0] * len(self.instances)
        self.events: list[tuple[float, int, Any, int, int, float]] = []
        self.numbers = count()
        self._plan()

    def _proxies(self) -> list[Proxy]:
        """One for each client; clients on the same node share theirs."""
        scenario, links = self.scenario, {frozenset(link.ends): link for link in self.scenario.links}
        by_node: dict[str, Proxy] = {}
        for client in scenario.clients:
            if client.node not in by_node:
                setting = Setting(scenario.bound_ms, client.node, scenario.seed * 1009 + len(by_node))
                known = self.policy.estimates(setting) if self.policy else None
                ways = [way(scenario, links, client.node, i.node) for i in scenario.instances]
                by_node[client.node] = Proxy(known, ways)
        return [by_node[client.node] for client in scenario.clients]

    def _plan(self) -> None:
        """What is known to happen: the platform notices outages and reports load."""
        for o in self.scenario.outages:
            if o.start + o.seen_after_s < o.end:
                self._at(o.start + o.seen_after_s, self._unlisted, 0, self.number[o.instance], 0.0)
                self._at(o.end + o.seen_after_s, self._relisted, 0, self.number[o.instance], 0.0)
        every = self.scenario.load_every_s
        if every:
            for k in range(1, int(self.scenario.seconds / every) + 1):
                self._at(k * every, self._loaded, 0, 0, (k - 1) * every)

    def _at(self, time: float, happens: Any, request: int, instance: int, sent: float) -> None:
        heappush(self.events, (time, next(self.numbers), happens, request, instance, sent))

    def run(self) -> Result:
        """Go through all events and return what came out."""
        events = self.events
        for request, arrival in enumerate(self.arrival):
            while events and events[0][0] <= arrival:
                now, _, happens, other, instance, sent = heappop(events)
                happens(now, other, instance, sent)
            self._send(arrival, request, self.ready)
        while events:
            now, _, happens, other, instance, sent = heappop(events)
            happens(now, other, instance, sent)
        requests, by, ms = self.requests, np.array(self.answered_by, dtype=int), np.array(self.latency, dtype=float)
        return Result(self.scenario, self.name, requests.time, requests.client, by, ms, np.array(self.attempts))

    def _send(self, now: float, request: int, ready: Sequence[Instance]) -> None:
        """A proxy chooses an instance; where none is ready, it answers 503."""
        if not ready:
            return
        proxy = self.proxy_of[request]
        if self.policy is None:
            number = self._best(now, request, proxy, ready)
        else:
            if self.probes and not proxy.probing:
                self._probe(now, request, proxy, ready)
            number = self.number[self.policy.choose(ready, proxy.estimates, now).id]
            proxy.estimates.sent(self.instances[number].id, now)
        self.attempts[number] += 1
        self.answered_by[request] = number
        self.servers[number].coming += 1
        there = self._one_way(now, proxy.ways[number], self.requests.there[request])
        self._at(now + there, self._reached, request, number, now)

    def _one_way(self, now: float, way: Way, noise: float) -> float:
        step, seconds = int(now / STEP_S), way.seconds
        return (seconds[step] if step < len(seconds) else seconds[-1]) * exp(way.noise * noise)

    def _reached(self, now: float, request: int, number: int, sent: float) -> None:
        """An instance gets a request: it is down, refuses it, or queues it, which settles when the answer comes."""
        server, requests = self.servers[number], self.requests
        server.coming -= 1
        back = self._one_way(now, self.proxy_of[request].ways[number], requests.back[request])
        happens, time = self._failed, now + back
        if server.is_down(now):
            time = inf if server.silent else time
        elif not server.is_full(now):
            done = server.take(now, exp(server.noise * requests.work[request]))
            if done <= server.down:
                happens, time = self._answered, done + back
            else:
                time = inf if server.silent else server.down + back
        latest = sent + self.scenario.timeout_ms / 1000
        if time > latest:
            happens, time = self._timed_out, latest
        self._at(time, happens, request, number, sent)

    def _answered(self, now: float, request: int, number: int, sent: float) -> None:
        self.latency[request] = (now - self.arrival[request]) * 1000
        if self.policy:
            known = self.proxy_of[request].estimates
            known.answered(self.instances[number].id, (now - sent) * 1000, now)

    def _timed_out(self, now: float, request: int, number: int, sent: float) -> None:
        """The client has waited for long enough."""
        if self.policy:
            self.proxy_of[request].estimates.failed(self.instances[number].id, now)

    def _failed(self, now: float, request: int, number: int, sent: float) -> None:
        """What was refused or broken off is sent to one other instance."""
        self._timed_out(now, request, number, sent)
        if sent == self.arrival[request]:
            failed = self.instances[number]
            self._send(now, request, [i for i in self.ready if i is not failed])

    def _probe(self, now: float, request: int, proxy: Proxy, ready: Sequence[Instance]) -> None:
        for instance in self.policy.probes(ready, proxy.estimates, now) if self.policy else ():
            number = self.number[instance.id]
            server, seconds = self.servers[number], 2 * self._one_way(now, proxy.ways[number], 0.0)
            lost = (server.is_down(now) and server.silent) or seconds > PING_TIMEOUT_S
            proxy.probing += 1
            self._at(now + (PING_TIMEOUT_S if lost else seconds), self._pinged, request, number, inf if lost else now)

    def _pinged(self, now: float, request: int, number: int, sent: float) -> None:
        proxy = self.proxy_of[request]
        proxy.probing -= 1
        proxy.estimates.pinged(self.instances[number].id, inf if sent == inf else (now - sent) * 1000, now)

    def _unlisted(self, now: float, request: int, number: int, sent: float) -> None:
        self._list(number, False)

    def _relisted(self, now: float, request: int, number: int, sent: float) -> None:
        self._list(number, True)

    def _list(self, number: int, listed: bool) -> None:
        self.listed[number] = listed
        self.ready = tuple(i for i, ready in zip(self.instances, self.listed, strict=True) if ready)

    def _loaded(self, now: float, request: int, number: int, since: float) -> None:
        """Every proxy is told how busy each node has been since the last report."""
        busy: dict[str, float] = {}
        for replica, server in zip(self.scenario.instances, self.servers, strict=True):
            share = server.busy_s / (len(server.free) * (now - since))
            busy[replica.node] = max(busy.get(replica.node, 0.0), min(share, 1.0))
            server.busy_s = 0.0
        for node in self.scenario.nodes if self.policy else ():
            others = float(samples(node.background, now)[-1])
            share = others + (1 - others) * busy.get(node.id, 0.0)
            for proxy in {id(p): p for p in self.proxies}.values():
                proxy.estimates.loaded(node.id, share, now)

    def _best(self, now: float, request: int, proxy: Proxy, ready: Sequence[Instance]) -> int:
        """The oracle: see `simulate`."""
        requests, bound = self.requests, self.arrival[request] + self.scenario.bound_ms / 1000
        soonest, first, longest, full = inf, -1, -inf, -1
        for instance in ready:
            number = self.number[instance.id]
            server, way = self.servers[number], proxy.ways[number]
            at = now + self._one_way(now, way, requests.there[request])
            if server.is_down(now) or server.down <= at:
                continue
            median = server.work_at(now)
            start = max(at, server.free[0]) + server.coming * median / len(server.free)
            done = start + median * exp(server.noise * requests.work[request])
            time = done + self._one_way(now, way, requests.back[request])
            if time < soonest and done <= server.down and not server.is_full(now):
                soonest, first = time, number
            if start > longest:
                longest, full = start, number
        if first >= 0 and soonest <= bound:
            return first
        return full if full >= 0 else self.number[ready[0].id]
