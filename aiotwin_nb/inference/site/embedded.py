"""An embedded continuum: nodes, links, instances, proxies and clients on one machine, in one event loop.

Everything talks over real sockets on loopback. Instances are processes; every node has a proxy in this process; between
proxies and instances lie relays with the links' latencies.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from typing import Any

import aiohttp

from aiotwin_nb.continuum import Change
from aiotwin_nb.errors import AIoTwinError, InvalidInput, did_you_mean
from aiotwin_nb.inference.balancing import policies
from aiotwin_nb.inference.monitoring import Answer, Windows
from aiotwin_nb.inference.monitoring.events import Injected, Replaced
from aiotwin_nb.inference.monitoring.metrics import window_row
from aiotwin_nb.inference.monitoring.recorder import Recorder
from aiotwin_nb.inference.placement import Observation, Placed, PlacementState, round_trips, step
from aiotwin_nb.inference.placement.solving import described
from aiotwin_nb.inference.proxy import FixedSource, Proxy
from aiotwin_nb.inference.services import Instance, Service
from aiotwin_nb.inference.site.clients import ClientGroup, Result, Stream, numbers
from aiotwin_nb.inference.site.learning import Learner
from aiotwin_nb.inference.site.model import NodeSpec, SiteSpec
from aiotwin_nb.inference.site.processes import InstanceProcess
from aiotwin_nb.inference.site.relays import Relay

_log = logging.getLogger(__name__)
RATE_WINDOWS = 5  # over which clients' rates are averaged
KEPT_ROWS = 3600
GRACE_S = 2.0  # for requests under way
HANDOVER_S = 0.2  # from the proxies' forgetting an instance to its end
PROBE_S = 3.0  # for proxies to look at new instances


class Continuum:
    """One embedded continuum, from `start` to `close`; belongs to one event loop."""

    def __init__(self, spec: SiteSpec, *, stream: Stream = numbers, recorder: Recorder | None = None) -> None:
        """Prepare one; nothing is started.

        Args:
            spec: what there is
            stream: where clients' samples come from
            recorder: where measurements go; None: they are only kept in memory
        """
        self.spec, self.stream, self.recorder = spec, stream, recorder
        self.service = spec.service
        self.policy = spec.policy
        self.nodes: dict[str, NodeSpec] = {node.id: node for node in spec.nodes}
        self.rtt_ms: dict[str, dict[str, float]] = spec.rtt_ms
        self.down: set[str] = set()
        self.factors: dict[str, float] = {}
        self.instances: dict[str, InstanceProcess] = {}
        self.rows: list[dict[str, Any]] = []
        self.problems: list[str] = []
        self.served: defaultdict[str, Counter[str]] = defaultdict(Counter)  # {instance: {requests, within}}
        self.edges: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)  # of the window under way
        self.last_edges: dict[tuple[str, str], Counter[str]] = {}
        self.learner = Learner(self)
        self.clients = {
            group.id: ClientGroup(
                group,
                self.service.name,
                seed=spec.seed,
                door=self._door,
                stream=lambda: self.stream,
                report=self._report,
            )
            for group in spec.groups
        }
        self._windows = Windows()
        self._proxies: dict[str, tuple[Proxy, FixedSource]] = {}
        self._relays: dict[tuple[str, str], Relay] = {}
        self._doors: dict[str, str] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._adapting: asyncio.Task[Any] | None = None
        self._changing = asyncio.Lock()  # one change of replicas, proxies or relays at a time
        self._numbers: Counter[str] = Counter()
        self._change = Change()
        self._lost_with: dict[str, int] = {}
        self._leaving: list[InstanceProcess] = []  # told to end, or about to be
        self._recent: defaultdict[str, list[float]] = defaultdict(list)
        self._placing = PlacementState(spec.rules(), spec.infrastructure, spec.rtt_ms, spec.groups)

    # --- life -------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Start everything; returns when all instances listen. What was started ends if it fails."""
        try:
            for node in self.nodes:
                await self._open_proxy(node)
            await self._first_placement()
            self._windows = Windows(time.monotonic())
            for client in self.clients.values():
                self.in_background(client.run())
            self.in_background(self._watch())
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """End everything; no process and no socket is left. Safe to call twice."""
        await self.learner.close()
        while self._tasks:
            tasks = list(self._tasks)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._tasks.difference_update(tasks)
        left = [*self.instances.values(), *self._leaving]
        await asyncio.gather(*(each.stop() for each in left), return_exceptions=True)
        self.instances.clear()
        await asyncio.gather(*(proxy.close(0) for proxy, _ in self._proxies.values()), return_exceptions=True)
        self._proxies.clear()
        await asyncio.gather(*(relay.close() for relay in self._relays.values()), return_exceptions=True)
        self._relays.clear()
        if self.recorder is not None:
            await asyncio.to_thread(self.recorder.close)

    def in_background(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Do something beside; its errors are kept in `problems`."""

        async def guarded() -> None:
            try:
                await work
            except AIoTwinError as error:
                self.problem(str(error))
            except Exception as error:  # what happens beside must not end the rest
                _log.exception("the site goes on")
                self.problem(f"{type(error).__name__}: {error}")

        task = asyncio.create_task(guarded())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def problem(self, text: str) -> None:
        """Keep what went wrong, for people."""
        self.problems.append(text)

    def record(self, event: Any) -> None:
        """Write an event into the journal, if there is one."""
        if self.recorder is not None:
            self.recorder.event(event)

    # --- controls ---------------------------------------------------------------------------------------------------

    async def overload(self, node: str, factor: float = 4.0) -> None:
        """Make all instances on a node slower, those that come later too; 1 ends it."""
        self._check_node(node)
        if not 1 <= factor <= 1000:
            raise InvalidInput(f"factor: is {factor:g}; it must be from 1 (no overload) to 1000 times as slow")
        self.factors[node] = factor
        self.record(Injected("overload", node, factor))
        await asyncio.gather(*(each.slow_down(factor) for each in self.instances.values() if each.node == node))

    async def kill(self, subject: str) -> None:
        """Kill an instance or a whole node, with its proxy: its clients then use the nearest node that is left."""
        if subject in self.instances:
            self.record(Injected("kill", subject))
            await self.instances[subject].kill()
            return
        self._check_node(subject, also=self.instances)
        if subject in self.down:
            raise InvalidInput(f"node {subject!r} is down already; restore it first")
        self.record(Injected("kill", subject))
        async with self._changing:
            self.down.add(subject)
            self._change = self._change.merged(Change(removed=(subject,)))
            victims = [each for each in self.instances.values() if each.node == subject]
            self._lost_with[subject] = len(victims)
            await asyncio.gather(*(each.kill() for each in victims))
            proxy, _ = self._proxies.pop(subject)
            await proxy.close(0)
            await self._rewire()

    async def restore(self, node: str) -> None:
        """End what was done to a node: it is up and as fast as it can be. Replicas come back if nobody places them."""
        self._check_node(node)
        self.record(Injected("restore", node))
        self.factors.pop(node, None)
        await asyncio.gather(*(each.slow_down(1.0) for each in self.instances.values() if each.node == node))
        if node in self.down:
            async with self._changing:
                self.down.discard(node)
                self._change = self._change.merged(Change(added=(self.spec.node(self.nodes[node]),)))
                await self._open_proxy(node)
                await self._rewire()
        if self.spec.adapt is None:
            await self.place({**self.replicas(), node: self._lost_with.pop(node, self.replicas().get(node, 0))})

    async def slow_link(self, a: str, b: str, rtt_ms: float) -> None:
        """Set the round trip of a link; ways over other nodes are taken when they are shorter."""
        self._check_node(a)
        self._check_node(b)
        if a == b or not 0 <= rtt_ms <= 60_000:
            raise InvalidInput(f"slow_link {a} {b} {rtt_ms:g}: needs two nodes and 0 to 60 000 ms")
        self.record(Injected("slow_link", f"{a} {b}", rtt_ms))
        self.rtt_ms.get(b, {}).pop(a, None)
        self.rtt_ms.setdefault(a, {})[b] = rtt_ms
        self._set_latencies()

    async def new_node(self, node: NodeSpec) -> None:
        """Let a node join."""
        if node.id in self.nodes:
            raise InvalidInput(f"node {node.id!r} is there already; choose another id")
        for peer in node.rtt_ms:
            self._check_node(peer)
        self.record(Injected("new_node", node.id))
        async with self._changing:
            self.nodes[node.id] = node
            self.rtt_ms[node.id] = dict(node.rtt_ms)
            terms = self._placing.rules.terms
            terms = replace(
                terms,
                prices={**terms.prices, node.id: node.price},
                slots_of={**terms.slots_of, node.id: node.slots},
            )
            self._placing = replace(self._placing, rules=replace(self._placing.rules, terms=terms))
            self._change = self._change.merged(Change(added=(self.spec.node(node),)))
            await self._open_proxy(node.id)
            await self._rewire()

    async def burst(self, group: str, factor: float = 3.0, seconds: float | None = None) -> None:
        """Multiply a client group's requests, for some seconds or until told otherwise."""
        if group not in self.clients:
            raise InvalidInput(
                f"there is no client group {group!r}; known are {', '.join(self.clients)}."
                + did_you_mean(group, self.clients)
            )
        if not 0 <= factor <= 100:
            raise InvalidInput(f"factor: is {factor:g}; it must be from 0 to 100")
        self.record(Injected("burst", group, factor))
        self.clients[group].factor = factor
        if seconds is not None:

            async def calm() -> None:
                await asyncio.sleep(seconds)
                self.clients[group].factor = 1.0

            self.in_background(calm())

    async def place(self, replicas: Mapping[str, int]) -> None:
        """Run these replicas, and no others; those that come are ready before others go.

        Where placements adapt, they may be changed again once they are `dwell_s` old.
        """
        await self.settled()
        for node, count in replicas.items():
            self._check_node(node)
            if count < 0 or (count and node in self.down):
                raise InvalidInput(f"{node}: cannot run {count} replicas{' while it is down' if count > 0 else ''}")
        before = self.replicas()
        changes = {n: replicas.get(n, 0) - before.get(n, 0) for n in {*replicas, *before}}
        wanted = {node: count for node, count in replicas.items() if count}
        await self._apply(wanted)
        more, fewer = {n: d for n, d in changes.items() if d > 0}, {n: -d for n, d in changes.items() if d < 0}
        self.record(Replaced("person", "placed by hand", wanted, more, fewer, 0.0))
        self._placing = self._settled(wanted)

    async def use_policy(self, name: str) -> None:
        """Balance by another policy from now on, with nothing learned yet."""
        policies.get(name)
        self.record(Injected("policy", name))
        async with self._changing:
            self.policy = name
            old = list(self._proxies.values())
            for node in list(self._proxies):
                await self._open_proxy(node)
            await self._rewire()
        for proxy, _ in old:
            self.in_background(_closed(proxy))

    async def settled(self) -> None:
        """Wait until a change of the placement that is under way is done."""
        if self._adapting is not None:
            await asyncio.wait([self._adapting])

    # --- observation ------------------------------------------------------------------------------------------------

    def replicas(self) -> dict[str, int]:
        """Replicas that run, by node."""
        return dict(Counter(each.node for each in self.instances.values() if each.wanted and each.alive))

    def load(self) -> dict[str, float]:
        """The share of every node that others use."""
        return {node: 1 - 1 / self.factors.get(node, 1.0) for node in self.nodes if node not in self.down}

    def snapshot(self) -> dict[str, Any]:
        """The service map of the last window: nodes, clients, instances, and who asked whom; JSON values.

        `qos` is a share from 0 to 1, None without requests.
        """
        row = self.rows[-1] if self.rows else {}

        def of(kind: str, i: str) -> dict[str, Any]:
            prefix = f"inference/{kind}/{i}/"
            found = {key.removeprefix(prefix): value for key, value in row.items() if key.startswith(prefix)}
            return {"qos": found.get("qos_share"), "requests": found.get("requests", 0), "p95_ms": found.get("p95_ms")}

        load, running = self.load(), self.replicas()
        return {
            "window": row.get("round"),
            "policy": self.policy,
            "service": self.service.name,
            "max_latency_ms": self.service.max_latency_ms,
            "qos": row.get("inference/qos_share"),
            "nodes": [
                {
                    "id": i,
                    "up": i not in self.down,
                    "load": load.get(i, 0.0),
                    "replicas": running.get(i, 0),
                    "slots": node.slots,
                    **of("node", i),
                }
                for i, node in self.nodes.items()
            ],
            "clients": [
                {
                    "id": i,
                    "node": c.group.node,
                    "rate": c.rate,
                    "door": self._proxy_for(c.group.node),
                    **of("client", i),
                }
                for i, c in self.clients.items()
            ],
            "instances": [
                {"id": i, "node": each.node, "alive": each.alive, "factor": each.factor, **of("instance", i)}
                for i, each in self.instances.items()
            ],
            "edges": [
                {"proxy": node, "instance": i, "requests": n["requests"], "qos": n["within"] / n["requests"]}
                for (node, i), n in sorted(self.last_edges.items())
            ],
            "links": [{"a": a, "b": b, "rtt_ms": ms} for a, ways in self.rtt_ms.items() for b, ms in ways.items()],
            "missed": [vars(missed) for missed in self._refreshed().missed],
            "learning": self.learner.status,
            "problems": self.problems[-5:],
        }

    # --- measuring --------------------------------------------------------------------------------------------------

    def _report(self, result: Result) -> None:
        """A client has its answer."""
        answered = result.answer is not None
        self._windows.add(Answer(result.group, "", "", result.latency_ms, result.bound_ms, answered))
        if result.answer is not None:
            self.learner.predicted(result.answer, result.sample.label)

    def _seen(self, proxy: str, instance: InstanceProcess) -> Callable[[float, bool], None]:
        """What a relay calls for each request between a proxy and an instance."""

        def seen(latency_ms: float, ok: bool) -> None:
            answer = Answer("", instance.id, instance.node, latency_ms, self.service.max_latency_ms, ok)
            self._windows.add(answer)
            for counter in (self.served[instance.id], self.edges[proxy, instance.id]):
                counter["requests"] += 1
                counter["within"] += answer.within

        return seen

    async def _watch(self) -> None:
        """Close windows and act on them until cancelled."""
        due = time.monotonic()
        while True:
            due = max(due + self.spec.window_s, time.monotonic())
            await asyncio.sleep(due - time.monotonic())
            await self._tick()

    async def _tick(self) -> None:
        window = self._windows.close(time.monotonic(), self.load())
        accuracy = self.learner.window()
        self.last_edges = {key: counter for key, counter in self.edges.items() if counter["requests"]}
        self.edges = defaultdict(Counter)
        self.rows.append({**window_row(window, accuracy), "policy": self.policy, "time": time.time()})
        del self.rows[:-KEPT_ROWS]
        if self.recorder is not None:
            self.recorder.window(window, accuracy)
        for i in self.clients:
            quality = window.clients.get(i)
            self._recent[i] = [*self._recent[i], (quality.requests if quality else 0) / window.seconds][-RATE_WINDOWS:]
        await self._notice()
        idle = self._adapting is None or self._adapting.done()
        if self.spec.adapt is not None and idle and not self.learner.busy:
            qos = {i: q.qos_share for i, q in window.clients.items() if q.qos_share is not None}
            self._adapting = self.in_background(self._adapt(qos))

    async def _notice(self) -> None:
        """Forget instances that died, as a platform would."""
        gone = [i for i, each in self.instances.items() if not each.alive]
        if not gone or self._changing.locked():
            return
        async with self._changing:
            for i in gone:
                self.instances.pop(i, None)
            await self._rewire()

    # --- placing ----------------------------------------------------------------------------------------------------

    async def _first_placement(self) -> None:
        if self.spec.placement is not None:
            wanted = {node: count for node, count in self.spec.placement.items() if count}
            await self._apply(wanted)
            self._placing = self._settled(wanted)
        else:
            await self._step(Observation(time.monotonic()))

    def _settled(self, replicas: Mapping[str, int]) -> PlacementState:
        """The state of placing with replicas that somebody chose."""
        state, self._change = self._refreshed(), Change()
        state = replace(state, replicas=dict(replicas), copies=state.copies | set(replicas))
        placement = described(state.question(), replicas)
        return replace(state, placement=placement, changed_at=time.monotonic(), asked=None, best=None)

    def _refreshed(self) -> PlacementState:
        """The state of placing with nodes, links, load and replicas as they are."""
        infrastructure, _, _ = self._placing.infrastructure.apply_possible([self._change])
        return replace(
            self._placing,
            infrastructure=infrastructure,
            links_ms={a: dict(ways) for a, ways in self.rtt_ms.items()},
            load={i: share for i, share in self.load().items() if i in infrastructure.nodes},
            replicas={i: n for i, n in self.replicas().items() if i in infrastructure.nodes},
        )

    async def _adapt(self, qos: Mapping[str, float]) -> None:
        change, self._change = self._change, Change()
        groups = tuple(
            replace(client.group, rate=sum(rates) / len(rates)) if (rates := self._recent[i]) else client.group
            for i, client in self.clients.items()
        )
        await self._step(
            Observation(
                time.monotonic(),
                change,
                links_ms={a: dict(ways) for a, ways in self.rtt_ms.items()},
                load=self.load(),
                groups=groups,
                qos=qos,
                replicas=self.replicas(),
            )
        )

    async def _step(self, seen: Observation) -> None:
        """Observe, decide, act."""
        self._placing, actions = await asyncio.to_thread(step, self._placing, seen)
        for action in actions:
            if isinstance(action, Placed):
                self.record(
                    Replaced(
                        action.cause,
                        action.reason,
                        action.placement.replicas,
                        action.started,
                        action.stopped,
                        action.placement.change_cost,
                        tuple(missed.group for missed in action.placement.missed),
                    )
                )
                await self._apply(action.placement.replicas)

    async def _apply(self, replicas: Mapping[str, int]) -> None:
        """Start what lacks, let everybody know, stop what is too much."""
        async with self._changing:
            running: defaultdict[str, list[str]] = defaultdict(list)
            for i, each in self.instances.items():
                if each.wanted and each.alive:
                    running[each.node].append(i)
            starts = [
                self._start_instance(node)
                for node, count in replicas.items()
                if node in self.nodes and node not in self.down
                for _ in range(count - len(running[node]))
            ]
            results = await asyncio.gather(*starts, return_exceptions=True)
            surplus = [i for node, ids in running.items() for i in ids[replicas.get(node, 0) :]]
            if surplus and starts:
                await self._rewire()
                await self._in_rotation()  # before others go
            going = [self.instances.pop(i) for i in surplus]
            self._leaving += going
            await self._rewire()
        for result in results:
            if isinstance(result, AIoTwinError):
                self.problem(str(result))
            elif isinstance(result, BaseException):
                raise result
        if going:
            await asyncio.sleep(HANDOVER_S)
            await asyncio.gather(*(each.stop() for each in going))
            self._leaving = [each for each in self._leaving if each.alive]
        await self._drop_relays()

    async def _start_instance(self, node: str) -> None:
        self._numbers[node] += 1
        identity = f"{node}-{self._numbers[node]}"
        instance = await InstanceProcess.start(identity, self.nodes[node], self.service, self.spec.seed)
        self.instances[identity] = instance
        if self.factors.get(node, 1.0) > 1:
            await instance.slow_down(self.factors[node])

    # --- wiring -----------------------------------------------------------------------------------------------------

    async def _open_proxy(self, node: str) -> None:
        """A proxy that has looked at its instances before anybody asks it."""
        source = FixedSource(await self._directory(node))
        proxy = Proxy(source, self.policy, node=node, seed=self.spec.seed)
        await proxy.__aenter__()
        self._proxies[node] = (proxy, source)

    async def _directory(self, node: str) -> Service:
        """The instances as a node reaches them: through relays."""
        known = [
            Instance(i, (await self._relay(node, i, each.port, self._seen(node, each))).url, each.node)
            for i, each in self.instances.items()
            if each.wanted
        ]
        self._set_latencies()
        return Service(self.service.name, tuple(known), self.service.max_latency_ms)

    async def _rewire(self) -> None:
        """Every proxy is told which instances there are, and every client its proxy."""
        for node, (_, source) in self._proxies.items():
            source.put(await self._directory(node), loads=self.load())
        doors = {}
        for node in self.nodes:
            nearest = self._proxy_for(node)
            if nearest is None:
                continue
            proxy = self._proxies[nearest][0]
            if nearest == node:
                doors[node] = proxy.url
            else:
                doors[node] = (await self._relay(node, f"proxy {nearest} {proxy.address[1]}", proxy.address[1])).url
        self._doors = doors
        self._set_latencies()

    async def _in_rotation(self) -> None:
        """Wait until every proxy has looked at every instance, at most some seconds."""
        until = time.monotonic() + PROBE_S
        while time.monotonic() < until:
            found = [p.stats()["services"][self.service.name]["instances"] for p, _ in self._proxies.values()]
            if all(i in seen and seen[i]["in_rotation"] for seen in found for i in self.instances):
                return
            await asyncio.sleep(0.02)

    async def _relay(
        self, node: str, target: str, port: int, seen: Callable[[float, bool], None] | None = None
    ) -> Relay:
        if (node, target) not in self._relays:
            self._relays[node, target] = await Relay(port, 0.0, seen).start()
        return self._relays[node, target]

    async def _drop_relays(self) -> None:
        """Close the relays to instances that are gone."""
        gone = [key for key in self._relays if not key[1].startswith("proxy ") and key[1] not in self.instances]
        await asyncio.gather(*(self._relays.pop(key).close() for key in gone))

    def _set_latencies(self) -> None:
        ways = round_trips(self.nodes, self.rtt_ms)
        for (node, target), relay in self._relays.items():
            other = target.split()[1] if target.startswith("proxy ") else self._node_of(target)
            if other is not None:
                relay.rtt_ms = ways[node].get(other, 60_000.0)

    def _node_of(self, instance: str) -> str | None:
        return self.instances[instance].node if instance in self.instances else None

    async def ask(self, node: str, inputs: Sequence[Any]) -> dict[str, Any]:
        """One request of a device at a node, through the proxy that it uses; raises InvalidInput without an answer."""
        door = self._door(node)
        if door is None:
            raise InvalidInput(f"{node}: there is no proxy for it; nodes are {', '.join(self.nodes)}")
        named = {"Host": self.service.name}
        limit = aiohttp.ClientTimeout(total=max(1.0, 5 * self.service.max_latency_ms / 1000))
        try:
            async with (
                aiohttp.ClientSession(timeout=limit) as http,
                http.post(f"{door}/predict", json={"inputs": list(inputs)}, headers=named) as reply,
            ):
                answer: dict[str, Any] = await reply.json(content_type=None)
                if reply.status != 200:
                    raise InvalidInput(f"{self.service.name} answered {reply.status}: {answer}")
                return answer
        except (aiohttp.ClientError, TimeoutError) as error:
            raise InvalidInput(f"{self.service.name} did not answer: {error or 'time-out'}") from None

    def _proxy_for(self, node: str) -> str | None:
        """The node whose proxy clients at a node use: their own, else the nearest that is up."""
        if node in self._proxies:
            return node
        ways = round_trips(self.nodes, self.rtt_ms)[node]
        return min((n for n in self._proxies if n in ways), key=lambda n: ways[n], default=None)

    def _door(self, node: str) -> str | None:
        return self._doors.get(node)

    def _check_node(self, node: str, also: Mapping[str, Any] | None = None) -> None:
        if node not in self.nodes:
            known = [*self.nodes, *(also or {})]
            raise InvalidInput(f"there is no node {node!r}; known are {', '.join(known)}." + did_you_mean(node, known))


async def _closed(proxy: Proxy) -> None:
    """Close a proxy that nobody asks any more, once it has answered."""
    await asyncio.sleep(GRACE_S)
    await proxy.close(GRACE_S)
