"""The global aggregator: holds the model and everybody's memory, puts members in place, and runs rounds when asked to.

The orchestrator asks by name and number: ``start``, ``apply``, ``round``, ``snapshot``, ``stands``, ``restore``,
``model-bytes``, ``tell-lost``, ``events``. A round has a key; asked for it twice, the same result is returned twice.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from threading import Condition, RLock
from typing import Any

from flwr.app import ArrayRecord, RecordDict

from fl_service import aggregation
from fl_service.certificates import EVALUATOR, ORCHESTRATOR, Credentials
from fl_service.directory import Directory, Place
from fl_service.errors import FLServiceError, NotStartedError, OutOfStepError, TransportError
from fl_service.events import BACK, JOINED, LOST, MOVED, STAYED, USAGE
from fl_service.grid import Registry, no_app
from fl_service.hierarchy import GlobalAggregator
from fl_service.records import to_arrays
from fl_service.remote_grid import APP, STATE, Collected, RemoteGrid
from fl_service.rng import derive_seed
from fl_service.roles.config import RoleConfig
from fl_service.roles.local_aggregator import VIEW, move
from fl_service.roles.process import Readiness
from fl_service.spec import Plan
from fl_service.transport.hub import Hub
from fl_service.transport.link import Address, Link
from fl_service.transport.liveness import Transition
from fl_service.transport.peer import Call, Operation, Operations, Reply, answer
from fl_service.transport.wire import Content, Frame

log = logging.getLogger("fl_service")

_KEPT_EVENTS = 10_000
_POLL_SECONDS = 10.0


@dataclass(frozen=True)
class Assignment:
    """What the orchestrator has asked for: the plan, where aggregators listen, and every node's configuration."""

    plan: Plan
    nodes: tuple[str, ...]
    addresses: Mapping[str, str]
    clients: Mapping[str, Mapping[str, Any]]
    partitions: int

    @classmethod
    def of(cls, header: Mapping[str, Any]) -> Assignment:
        """Read the header of a call."""
        p = header["plan"]
        clusters = tuple((aggregator, tuple(clients)) for aggregator, clients in p["clusters"])
        plan = Plan(p["global_aggregator"], clusters, int(p["epochs"]), int(p["local_rounds"]))
        return cls(plan, tuple(header["nodes"]), header["addresses"], header["clients"], int(header["partitions"]))

    def to_header(self) -> dict[str, Any]:
        """Return what `of` reads."""
        return asdict(self)

    @property
    def digest(self) -> str:
        """Short name of all this: part of a round's key."""
        return hashlib.sha256(json.dumps(self.to_header(), sort_keys=True).encode()).hexdigest()[:16]

    def parents(self) -> dict[str, str]:
        """{member: its parent}, local aggregators first."""
        places = dict.fromkeys(self.plan.local_aggregators, self.plan.global_aggregator)
        return places | {client: aggregator for aggregator, clients in self.plan.clusters for client in clients}


@dataclass
class _Finished:
    """The last finished round: its key, and what was answered."""

    key: str = ""
    assignment: str = ""
    reply: Reply = field(default_factory=Reply)


class GlobalAggregatorProcess:
    """The process of the global aggregator."""

    link: Link | None = None

    def __init__(self, config: RoleConfig) -> None:
        assert config.listen is not None
        self._config, self._spec, self._timings = config, config.spec, config.timings
        self._run_id = derive_seed(self._spec.seed, "run") or 1
        self._work = ThreadPoolExecutor(1, thread_name_prefix="fl-work")
        self._side = ThreadPoolExecutor(8, thread_name_prefix="fl-side")
        self._views = ThreadPoolExecutor(1, thread_name_prefix="fl-view")
        self._asking = ThreadPoolExecutor(32, thread_name_prefix="fl-ask")
        self._directory, self._changed = Directory(config.name), Condition(RLock())
        self._newest: dict[str, tuple[str, int]] = {}
        self._vanished: dict[str, float] = {}
        self._partitions, self._evaluator_life = 1, ""
        self._events: deque[dict[str, Any]] = deque(maxlen=_KEPT_EVENTS)
        self._told_events = 0
        self._busy, self._abandoned = False, False
        self._forget_all()
        self._readiness = Readiness(config.ready_file)
        self._readiness(False)
        self.hub = Hub(
            config.name,
            Credentials.load(config.certificates),
            config.listen,
            config.timings,
            notify=self._noticed,
            operations=self._operations,
            beat=self._readiness,
            max_message_mb=config.max_message_mb,
        )

    def _forget_all(self) -> None:
        self._registry = Registry(self._run_id)
        self._assignment: Assignment | None = None
        self._model, self._round, self._snapshot = ArrayRecord(), 0, ""
        self._finished = _Finished()
        self._set_up: dict[str, tuple[str, str]] = {}  # {member: (its life, what it was told)}
        self._strategy = aggregation.of_tier(self._spec, "global")

    def start(self) -> None:
        """The hub listens already, and its heartbeats show that this process is ready."""
        self._noticed([])

    def close(self) -> None:
        """Let everybody go."""
        self.hub.close()
        self._readiness(False)

    def _operations(self, caller: str) -> Operations:
        if caller == ORCHESTRATOR:
            first: dict[str, Callable[[Call], Reply]] = {
                "start": self._start,
                "apply": self._apply,
                "restore": self._restore,
            }
            exclusive = {op: Operation(self._side, self._exclusively(perform)) for op, perform in first.items()}
            return {
                **exclusive,
                "round": Operation(self._work, self._run),
                "snapshot": Operation(self._work, self._take_snapshot),
                "stands": Operation(self._side, self._stands),
                "model-bytes": Operation(self._side, self._model_bytes),
                "tell-lost": Operation(self._side, self._tell_lost),
                "events": Operation(self._side, self._tell_events),
            }
        if caller == EVALUATOR:
            return {}
        return {VIEW: Operation(self._views, self._viewed)}

    def _exclusively(self, perform: Callable[[Call], Reply]) -> Callable[[Call], Reply]:
        """Return what performs an operation after giving up a round that is under way: its result is not wanted."""

        def performed(call: Call) -> Reply:
            if self._busy:
                self._abandoned = True
                self.hub.give_up(APP, "the orchestrator asked for something else")
                with self._changed:
                    self._changed.notify_all()
            return self._work.submit(begun, call).result()

        def begun(call: Call) -> Reply:
            self._abandoned = False
            return perform(call)

        return performed

    # --- what the orchestrator asks for -----------------------------------------------------------------------------

    def _start(self, call: Call) -> Reply:
        self._check_training(call.header["training"])
        self._forget_all()
        self._assign(Assignment.of(call.header))
        missing = self._gather(time.monotonic() + self._timings.gather)
        if missing:
            who = "; ".join(f"{name}: {reason}" for name, reason in missing.items())
            raise TransportError(f"not all members are in place after {self._timings.gather:g} s: {who}")
        records = self._ask_evaluator("initial", {"seed": derive_seed(self._spec.seed, "model")}).records()
        self._model = records["model"].array_records["arrays"]
        return Reply({"round": 0, "evaluation": self._evaluate(), "clients": [], "problems": {}, "updates": {}})

    def _apply(self, call: Call) -> Reply:
        if self._assignment is None:
            raise NotStartedError("nothing was started here")
        self._assign(Assignment.of(call.header))
        for name, reason in self._gather(time.monotonic() + self._timings.gather).items():
            if self._place(name) is None:
                self._emit(LOST, name, f"it did not come for {self._timings.gather:g} s: {reason}")
        return Reply()

    def _run(self, call: Call) -> Reply:
        """Run the round with this key, unless it was run before."""
        key, number = str(call.header["key"]), int(call.header["number"])
        if key == self._finished.key:
            return self._finished.reply
        if self._assignment is None:
            raise NotStartedError("nothing was started here")
        if number != self._round + 1:
            raise OutOfStepError(f"round {number} was asked for, and {self._round} is the last one here")
        self._busy, self._abandoned = True, False
        try:
            reply = self._one_round(number, self._assignment)
        finally:
            self._busy = False
        self._finished = _Finished(key, self._assignment.digest, reply)
        return reply

    def _one_round(self, number: int, assignment: Assignment) -> Reply:
        plan = assignment.plan
        self._gather(time.monotonic() + self._timings.lost_broken + 1.0, forever=False)
        grid = self._grid_for(plan)
        context = self._registry.members[plan.global_aggregator].context
        aggregator = GlobalAggregator(self._strategy, grid, context)
        self._keep_unless_abandoned(number)
        result = aggregator.run_round(number, plan, self._model, self._spec.client_config)
        self._keep_unless_abandoned(number)
        self._remember(grid.collected, assignment)
        for client, used in grid.collected.usage.items():
            self._emit(USAGE, client, detail={"round": number, **used})
        self._model, self._round = result.arrays, number
        clients = [asdict(report) for report in result.reports]
        evaluation = self._evaluate()
        told = {"problems": dict(result.problems), "updates": dict(result.updates)}
        return Reply({"round": number, "evaluation": evaluation, "clients": clients, **told})

    def _grid_for(self, plan: Plan) -> RemoteGrid:
        clusters = {} if plan.is_flat else dict(plan.clusters)
        t = self._timings
        return RemoteGrid(
            plan.global_aggregator,
            self._run_id,
            self._spec.seed,
            self.hub,
            seconds=t.train * (1 if plan.is_flat else plan.local_rounds) + t.lost_broken,
            max_message_mb=self._config.max_message_mb,
            speaks_for=lambda name: {name, *clusters.get(name, ())},
        )

    def _keep_unless_abandoned(self, number: int) -> None:
        if self._abandoned:
            self._set_up.clear()  # nobody knows how far they came
            raise TransportError(f"round {number} was given up, for the orchestrator asked for something else")

    def _remember(self, collected: Collected, assignment: Assignment) -> None:
        """Take over what members remember by now; those of whom that is not known are set up anew before long."""
        for name, state in collected.states.items():
            if name in self._registry.members:
                self._registry.members[name].context.state = state
        for name in assignment.parents():
            if name not in collected.heard or name in collected.failed:
                self._set_up.pop(name, None)

    def _take_snapshot(self, call: Call) -> Reply:
        if self._assignment is None:
            raise NotStartedError("nothing was started here")
        states = {f"{STATE}{name}": state for name, state in self._registry.states().items()}
        records = {"model": RecordDict({"arrays": self._model}), **states}
        self._snapshot = snapshot_digest(self._round, records)
        return Reply({"round": self._round, "digest": self._snapshot}, records)

    def _stands(self, call: Call) -> Reply:
        """Say whether a snapshot is what this process stands at, or is one round ahead of with this very assignment."""
        wanted, mine = Assignment.of(call.header), self._assignment
        same = mine is not None and self._snapshot == call.header["digest"] and mine.digest == wanted.digest
        steps = self._round - int(call.header["round"])
        ahead = steps == 1 and self._finished.assignment == wanted.digest
        return Reply({"keep": same and (steps == 0 or ahead)})

    def _restore(self, call: Call) -> Reply:
        self._check_training(call.header["training"])
        records = call.records()
        self._forget_all()
        self._assign(Assignment.of(call.header))
        states = {label[len(STATE) :]: record for label, record in records.items() if label.startswith(STATE)}
        self._registry.restore(states)
        self._model, self._round = records["model"].array_records["arrays"], int(call.header["round"])
        self._snapshot = str(call.header["digest"])
        self._gather(time.monotonic() + self._timings.gather)
        return Reply()

    def _model_bytes(self, call: Call) -> Reply:
        arrays = to_arrays(self._model)
        if not arrays:
            records = self._ask_evaluator("initial", {"seed": derive_seed(self._spec.seed, "model")}).records()
            arrays = to_arrays(records["model"].array_records["arrays"])
        return Reply({"bytes": sum(array.nbytes for array in arrays.values())})

    def _tell_lost(self, call: Call) -> Reply:
        name, reason = str(call.header["node"]), str(call.header["reason"])
        place = self._place(name)
        if place is None or place.parent == self._config.name:
            self.hub.told_lost(name, reason)
        else:
            asked = self.hub.call(place.parent, "lost-child", {"child": name, "reason": reason})
            answer(asked, self._timings.late, f"telling {place.parent} that {name} is lost")
        return Reply()

    def _tell_events(self, call: Call) -> Reply:
        """Return the events after a number, waiting for one for some seconds."""
        after = int(call.header["after"])
        with self._changed:
            self._changed.wait_for(lambda: self._told_events > after, _POLL_SECONDS)
            return Reply({"events": [event for event in self._events if event["number"] > after]})

    def _check_training(self, training: Mapping[str, Any]) -> None:
        mine = training_facts(self._spec)
        if training != mine:
            raise TransportError(f"the global aggregator was configured for {mine}, not {dict(training)}")

    # --- members ----------------------------------------------------------------------------------------------------

    def _assign(self, assignment: Assignment) -> None:
        """Make an assignment the present one; those who come anew are set up, the others keep what they remember."""
        plan = assignment.plan
        if plan.global_aggregator != self._config.name:
            raise TransportError(f"the plan's global aggregator is {plan.global_aggregator}, not {self._config.name}")
        self._partitions, self._evaluator_life = assignment.partitions, ""
        taking_part = [assignment.clients[name] for name in plan.clients]
        self._ask_evaluator("check", {"clients": taking_part})
        self._registry.keep_only({*assignment.nodes, plan.global_aggregator})
        for name, config in assignment.clients.items():
            self._put(name, dict(config))
        for name in (*plan.local_aggregators, plan.global_aggregator):
            self._put(name, {"name": name})
        self._assignment = assignment

    def _put(self, name: str, config: dict[str, Any]) -> None:
        if name not in self._registry.members:
            self._set_up.pop(name, None)
        self._registry.put(name, no_app, config, self._spec.run_config)

    def _gather(self, deadline: float, *, forever: bool = True) -> dict[str, str]:
        """Put members in place and set them up; returns those that are not, and why.

        Members that may come are waited for until the deadline. Those that never came are not, unless `forever`.
        """
        assert self._assignment is not None
        tried: dict[str, str] = {}
        while True:
            missing, todo = {}, []
            for name, parent in self._assignment.parents().items():
                place = self._place(name)
                if place is None or place.standing == "lost":
                    missing[name] = "it is not connected" if place is None else place.reason
                elif place.standing != "here":
                    missing[name] = place.reason
                elif name in tried:
                    missing[name] = tried[name]
                elif place.parent != parent or self._set_up.get(name) != (place.life, self._wanted(name)):
                    todo.append((name, parent, place))
            if todo:
                outcomes = self._asking.map(lambda one: self._put_in_place(*one), todo)
                tried |= {name: reason for name, reason in outcomes if reason}
                continue
            with self._changed:
                awaited = [name for name in missing if name not in tried and self._may_come(name, forever)]
                left = deadline - time.monotonic()
                if not awaited or left <= 0 or self._abandoned:
                    self._tell_vanished(missing)
                    return missing
                self._changed.wait(min(left, 0.5))

    def _may_come(self, name: str, forever: bool) -> bool:
        place = self._place(name)
        if place is None:
            vanished = self._vanished.get(name)
            return forever or (vanished is not None and time.monotonic() - vanished < self._timings.lost_broken)
        return forever if place.standing == "lost" else place.may_return or place.standing == "here"

    def _tell_vanished(self, missing: Mapping[str, str]) -> None:
        """Report those lost whose parent went away and who did not turn up anywhere else."""
        for name in missing:
            since = self._vanished.get(name)
            if since is not None and time.monotonic() - since >= self._timings.lost_broken:
                del self._vanished[name]
                self._emit(LOST, name, f"its parent is gone, and it joined nobody for {self._timings.lost_broken:g} s")

    def _put_in_place(self, name: str, parent: str, place: Place) -> tuple[str, str]:
        """Move a member if need be and set it up; returns its name and why that did not work, if so."""
        try:
            if place.parent != parent:
                self._move(name, place.parent, parent)
                place = self._await_arrival(name, parent)
            if self._set_up.get(name) != (place.life, self._wanted(name)):
                self._set_member_up(name, place)
        except FLServiceError as error:
            return name, str(error)
        return name, ""

    def _move(self, name: str, old: str, new: str) -> None:
        assert self._assignment is not None
        address = Address(new, self._assignment.addresses[new])
        seconds = self._timings.move + self._timings.late
        try:
            if old == self._config.name:
                move(self.hub, name, address, seconds)
                self._noticed([])
            else:
                header = {"child": name, "parent": asdict(address), "seconds": seconds}
                answer(self.hub.call(old, "move-child", header), seconds + 1.0, f"moving {name} to {new}")
        except FLServiceError as error:
            self._emit(STAYED, name, f"it could not be moved from {old} to {new}: {error}")
            raise
        self._emit(MOVED, name, f"from {old} to {new}", {"from": old, "to": new})

    def _await_arrival(self, name: str, parent: str) -> Place:
        deadline = time.monotonic() + self._timings.late
        with self._changed:
            while (place := self._place(name)) is None or place.parent != parent or place.standing != "here":
                if not self._changed.wait(max(0.0, deadline - time.monotonic())):
                    raise TransportError(f"{parent} did not see it come for {self._timings.late:g} s")
            return place

    def _set_member_up(self, name: str, place: Place) -> None:
        wanted, context = self._wanted(name), self._registry.members[name].context
        header = self._setup_of(name)
        content = Content({"state": context.state})
        seconds = self._timings.setup
        if place.parent == self._config.name:
            asked = self.hub.call(name, "setup", header, content)
        else:
            header |= {"child": name, "seconds": seconds}
            asked = self.hub.call(place.parent, "setup-child", header, content)
        answer(asked, seconds + 1.0, f"setting up {name}")
        self._set_up[name] = (place.life, wanted)

    def _setup_of(self, name: str) -> dict[str, Any]:
        assert self._assignment is not None
        context = self._registry.members[name].context
        return {
            "run_id": self._run_id,
            "partitions": self._assignment.partitions,
            "node_config": dict(context.node_config),
            "run_config": dict(context.run_config),
        }

    def _wanted(self, name: str) -> str:
        return json.dumps(self._setup_of(name), sort_keys=True)

    def _place(self, name: str) -> Place | None:
        with self._changed:
            return self._directory.place(name)

    # --- the evaluator ----------------------------------------------------------------------------------------------

    def _evaluate(self) -> dict[str, Any]:
        header = {"seed": derive_seed(self._spec.seed, "evaluate", self._round)}
        content = Content({"model": RecordDict({"arrays": self._model})})
        evaluation: dict[str, Any] = self._ask_evaluator("evaluate", header, content).header["evaluation"]
        return evaluation

    def _ask_evaluator(self, op: str, header: Mapping[str, Any], content: Content | None = None) -> Frame:
        """Ask the evaluator; it remembers nothing, so one that was restarted is set up again and asked again."""
        deadline = time.monotonic() + self._timings.evaluate
        problem = "it is not connected"
        while (left := deadline - time.monotonic()) > 0:
            place = self._place(EVALUATOR)
            if place is None or place.standing != "here":
                with self._changed:
                    self._changed.wait(min(left, 0.5))
                continue
            try:
                if self._evaluator_life != place.life:
                    setup = {"partitions": self._partitions}
                    answer(self.hub.call(EVALUATOR, "setup", setup), left, "the evaluator's setup")
                    self._evaluator_life = place.life
                return answer(self.hub.call(EVALUATOR, op, header, content or Content()), left, f"the evaluator ({op})")
            except TransportError as error:
                problem, self._evaluator_life = str(error), ""
                time.sleep(0.1)
        raise TransportError(f"the evaluator did not {op} within {self._timings.evaluate:g} s: {problem}")

    # --- news -------------------------------------------------------------------------------------------------------

    def _noticed(self, transitions: list[Transition]) -> None:
        """Take over the hub's view of our own children."""
        hub = getattr(self, "hub", None)
        if hub is not None:
            self._saw(self._config.name, hub.view())

    def _viewed(self, call: Call) -> Reply:
        """Take over a local aggregator's view of its children, unless a newer one was heard already."""
        place, number = self._place(call.caller), int(call.header["number"])
        known = (place.life if place else "", number)
        with self._changed:
            if self._newest.get(call.caller, ("", 0))[0] != known[0] or self._newest[call.caller][1] < number:
                self._newest[call.caller] = known
                self._saw(call.caller, call.header["children"])
        return Reply()

    def _saw(self, parent: str, view: Mapping[str, Mapping[str, Any]]) -> None:
        with self._changed:
            members = self._members()
            somewhere = {name for name in members if self._directory.place(name)}
            for kind, node, reason in self._directory.saw(parent, view):
                # One that was lost has left the plan, and only its return can bring it back into one.
                if node != EVALUATOR and (kind in (JOINED, BACK) or node in members):
                    self._emit(kind, node, reason)
            for name in members:
                if self._directory.place(name) is not None:
                    self._vanished.pop(name, None)
                elif name in somewhere:
                    self._vanished[name] = time.monotonic()
            self._changed.notify_all()

    def _members(self) -> Collection[str]:
        return self._assignment.parents() if self._assignment is not None else ()

    def _emit(self, kind: str, node: str, reason: str = "", detail: Mapping[str, Any] | None = None) -> None:
        with self._changed:
            self._told_events += 1
            event = {"number": self._told_events, "kind": kind, "node": node, "reason": reason, "time": time.time()}
            self._events.append({**event, "detail": dict(detail or {})})
            self._changed.notify_all()
        if kind != USAGE:
            log.info("%s %s%s", node, kind, f": {reason}" if reason else "")


def snapshot_digest(number: int, records: Mapping[str, RecordDict]) -> str:
    """Return a snapshot's name: the same wherever the same round, model and memories are."""
    return f"{number}-{Content(records).digest}"


def training_facts(spec: Any) -> dict[str, Any]:
    """Return what orchestrator and global aggregator must agree on."""
    names = {"global": list(spec.aggregation_global), "local": list(spec.aggregation_local)}
    plain: dict[str, Any] = json.loads(json.dumps({"seed": spec.seed, "aggregation": names, **spec.client_config}))
    return plain
