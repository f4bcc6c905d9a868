"""The pipeline seen from the orchestrator when aggregators and clients are other processes or pods."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import Any, TypeVar

from flwr.app import ArrayRecord, RecordDict

from fl_service import checkpoint
from fl_service.certificates import ORCHESTRATOR, Credentials
from fl_service.errors import FLServiceError, NotStartedError, OutOfStepError, RestartedError, TransportError
from fl_service.events import RESTORED, Listener, MemberEvent
from fl_service.hierarchy import ClientReport
from fl_service.pipeline import RoundReport, fingerprint
from fl_service.records import to_arrays
from fl_service.remote_grid import STATE
from fl_service.roles.global_aggregator import Assignment, snapshot_digest, training_facts
from fl_service.spec import ClientNode, Plan, Slots, TrainingSpec
from fl_service.tasks.base import Evaluation
from fl_service.transport.link import Address, Link
from fl_service.transport.liveness import Timings
from fl_service.transport.wire import EMPTY, Content, Frame

log = logging.getLogger("fl_service")

_KEPT_EVENTS = 10_000
_ATTEMPTS = 5  # times that a new global aggregator is brought up to date for one request
_T = TypeVar("_T")


@dataclass(frozen=True)
class _Saved:
    """A checkpoint as the global aggregator knows it."""

    round: int
    digest: str
    content: checkpoint.Checkpoint

    @property
    def records(self) -> dict[str, RecordDict]:
        """The frame's records."""
        states = {f"{STATE}{name}": state for name, state in self.content.states.items()}
        return {"model": RecordDict({"arrays": self.content.model}), **states}


class RemotePipeline:
    """`fl_service.pipeline.Pipeline`, with the same methods and results, over a global aggregator elsewhere.

    `address`: `host:port` at which this process reaches the global aggregator (a port-forward, a NodePort).
    `global_aggregator`: its name, to which its certificate is bound. `credentials`: those of `ORCHESTRATOR`.
    `address_of`: {aggregator: `host:port`} as the *pods* see it, asked when a plan is applied.
    `on_event`: called from a thread of its own for every `MemberEvent`; must be quick and must not raise.
    `timings`: those that the pods were configured with. `reconnect_seconds`: how long the global aggregator may be out
    of reach before a request fails.

    The connection may break and come back at any time: training goes on, and a round that was finished meanwhile is
    handed over afterwards, never run twice. Where the global aggregator itself was restarted, the last checkpoint
    that was saved (or restored) is given to it and the round is repeated.
    """

    def __init__(
        self,
        address: str,
        credentials: Credentials,
        spec: TrainingSpec,
        *,
        global_aggregator: str,
        address_of: Callable[[str], str],
        on_event: Listener | None = None,
        timings: Timings | None = None,
        max_message_mb: int = 1024,
        reconnect_seconds: float = 120.0,
    ) -> None:
        self._spec, self._settings, self._timings = spec, spec.settings, timings or Timings()
        self._address_of, self._listener, self._patience = address_of, on_event, reconnect_seconds
        self._limit = max_message_mb
        self._training = training_facts(spec)
        self._slots: Slots | None = None
        self._assignment: Assignment | None = None
        self._saved: _Saved | None = None
        self._round, self._bytes = 0, 0
        self._events: deque[MemberEvent] = deque(maxlen=_KEPT_EVENTS)
        self._ended = Event()
        self._link = Link(
            ORCHESTRATOR,
            credentials,
            Address(global_aggregator, address),
            self._timings,
            max_message_mb=max_message_mb,
        ).start()
        Thread(target=self._listen, name="fl-events", daemon=True).start()

    # --- life -------------------------------------------------------------------------------------------------------

    def start(self, clients: Sequence[ClientNode], nodes: Iterable[str], plan: Plan) -> RoundReport:
        """Wait for the plan's members, set them up and evaluate the untrained model.

        Raises FLServiceError naming the members that did not come within `timings.gather` seconds.
        """
        self._slots = Slots.of(self._settings, clients)
        self._assignment = self._assigned(clients, nodes, plan)
        self._round, self._saved = 0, None
        return self._persist(self._start)

    def apply(self, clients: Sequence[ClientNode], nodes: Iterable[str], plan: Plan) -> None:
        """Make members and places those of the plan: clients are moved by a message, their processes stay.

        Returns when all members are in place or are known to be late or lost. A member that never came within
        `timings.gather` seconds is reported lost; one that could not reach its new parent stays where it is, is
        reported as ``stayed`` and tried again before the next round.
        """
        before, self._assignment = self._assignment, self._assigned(clients, nodes, plan)
        try:
            self._persist(lambda: self._ask("apply", self._header(), seconds=self._placing_seconds))
        except FLServiceError:
            self._assignment = before
            raise

    def run_round(self, number: int) -> RoundReport:
        """Run one global round and evaluate the new model."""
        report = self._persist(lambda: self._run(number))
        self._round = number
        return report

    def close(self) -> None:
        """Disconnect; the global aggregator stays as it is. Safe to call twice."""
        self._ended.set()
        self._link.close()

    # --- state ------------------------------------------------------------------------------------------------------

    def save(self, path: Path) -> None:
        """Write a checkpoint, flushed to the disk: the same file as that of `Pipeline.save`."""
        saved = self._persist(self._fetched)
        checkpoint.save(saved.content, path)
        self._saved = saved

    def restore(self, path: Path, clients: Sequence[ClientNode], nodes: Iterable[str], plan: Plan) -> int:
        """Go on from a checkpoint instead of `start`; returns its round.

        A global aggregator that still stands at this checkpoint, or is training the round after it with this very plan,
        is left alone: its round is not lost. Raises CheckpointError for a checkpoint of another run.
        """
        content = checkpoint.load(path, fingerprint(self._spec))
        slots = Slots.of(self._settings, clients)
        slots.count, slots.given = int(content.fingerprint["partitions"]), dict(content.slots)
        self._slots = slots
        self._assignment = self._assigned(clients, nodes, plan)
        self._saved = _saved(content)
        self._round = content.round
        asked = {**self._header(), "digest": self._saved.digest, "round": content.round}
        if not self._persist(lambda: self._ask("stands", asked).header["keep"]):
            self._persist(self._restore)
        return content.round

    @property
    def model(self) -> ArrayRecord:
        """The current global model, fetched anew."""
        return self._fetched().content.model

    @property
    def model_bytes(self) -> int:
        """Bytes of the model's arrays; before the start, the evaluator is asked."""
        if not self._bytes:
            self._bytes = int(self._ask("model-bytes", seconds=self._timings.evaluate * 2).header["bytes"])
        return self._bytes

    # --- members ----------------------------------------------------------------------------------------------------

    def tell_lost(self, node: str, reason: str) -> None:
        """Say that a node is gone for good (its pod or node object is): it is lost at once."""
        self._ask("tell-lost", {"node": node, "reason": reason})

    def events(self) -> list[MemberEvent]:
        """Return (and forget) the events since the last call; at most the latest 10 000 are kept."""
        events = []
        while self._events:
            events.append(self._events.popleft())
        return events

    @property
    def connected(self) -> bool:
        """True while the global aggregator is reached."""
        return self._link.down_since is None

    # --- inside: requests -------------------------------------------------------------------------------------------

    def _start(self) -> RoundReport:
        return _report(self._ask("start", self._header(), seconds=self._placing_seconds + self._timings.evaluate))

    def _run(self, number: int) -> RoundReport:
        assert self._assignment is not None, "start or restore comes first"
        t, plan = self._timings, self._assignment.plan
        base = self._saved.digest if self._saved is not None else ""
        key = f"{number}/{self._assignment.digest}/{base}"
        seconds = t.train * plan.local_rounds + t.evaluate + t.setup + 3 * t.lost_broken + 60
        return _report(self._ask("round", {"number": number, "key": key}, seconds=seconds))

    def _fetched(self) -> _Saved:
        frame = self._ask("snapshot")
        records = frame.records(self._limit)
        model = records.pop("model").array_records["arrays"]
        states = {label[len(STATE) :]: state for label, state in records.items()}
        slots = self._slots.given if self._slots else {}
        facts = fingerprint(self._spec) | {"partitions": self._slots.count if self._slots else 1}
        self._bytes = sum(array.nbytes for array in to_arrays(model).values())
        content = checkpoint.Checkpoint(int(frame.header["round"]), model, states, dict(slots), facts)
        return _Saved(content.round, str(frame.header["digest"]), content)

    def _restore(self) -> None:
        assert self._saved is not None
        header = {**self._header(), "round": self._saved.round, "digest": self._saved.digest}
        self._ask("restore", header, Content(self._saved.records), self._placing_seconds)

    def _persist(self, request: Callable[[], _T]) -> _T:
        """Make a request; where the global aggregator is a new process, it is first given what the old one knew."""
        for _ in range(_ATTEMPTS):
            try:
                return request()
            except (RestartedError, NotStartedError, OutOfStepError) as error:
                log.warning("%s: it is brought to the last checkpoint", error)
                self._bring_back(str(error))
        return request()

    def _bring_back(self, reason: str) -> None:
        """Bring a global aggregator to where we stand: the last checkpoint, and the round that was finished since."""
        try:
            if self._saved is None:
                self._start()
            else:
                self._restore()
            for number in range(self._saved.round + 1 if self._saved else 1, self._round + 1):
                self._run(number)
        except (RestartedError, NotStartedError, OutOfStepError) as error:
            log.warning("again: %s", error)
            return
        node = self._link.parent.name
        self._heard(MemberEvent(RESTORED, node, time.time(), reason))

    def _ask(
        self,
        op: str,
        header: Mapping[str, Any] | None = None,
        content: Content = EMPTY,
        seconds: float = 120.0,
    ) -> Frame:
        """Call the global aggregator; raises TransportError when it is out of reach, or silent, for too long."""
        future = self._link.call(op, header, content)
        deadline = time.monotonic() + seconds
        while True:
            try:
                return future.result(0.5)
            except TimeoutError:
                pass
            down = self._link.down_since
            if self._link.replaced.is_set():
                problem = "another orchestrator has taken this one's place"
            elif self._ended.is_set():
                problem = "the pipeline is closed"
            elif down is not None and time.monotonic() - down > self._patience:
                problem = f"out of reach for {self._patience:g} s ({self._link.problem})"
            elif down is None and time.monotonic() > deadline:
                problem = f"no answer for {seconds:g} s"
            else:
                continue
            raise TransportError(f"global aggregator {self._link.parent.name}, asked to {op}: {problem}")

    @property
    def _placing_seconds(self) -> float:
        t = self._timings
        return 2 * t.evaluate + t.gather + t.setup + t.move + 4 * t.late + 30

    def _header(self) -> dict[str, Any]:
        assert self._assignment is not None, "start or restore comes first"
        return {**self._assignment.to_header(), "training": self._training}

    def _assigned(self, clients: Sequence[ClientNode], nodes: Iterable[str], plan: Plan) -> Assignment:
        assert self._slots is not None, "start or restore comes first"
        configs = {node.name: self._slots.placed(node).to_config() for node in clients}
        addresses = {name: self._address_of(name) for name in (plan.global_aggregator, *plan.local_aggregators)}
        return Assignment(plan, tuple(sorted(nodes)), addresses, configs, self._slots.count)

    # --- inside: events ---------------------------------------------------------------------------------------------

    def _listen(self) -> None:
        """Fetch events as they happen, for as long as this pipeline is open."""
        after = 0
        while not self._ended.is_set():
            try:
                events = self._ask("events", {"after": after}, seconds=60.0).header["events"]
            except RestartedError:
                after = 0
                continue
            except FLServiceError as error:
                log.debug("events: %s", error)
                self._ended.wait(1.0)
                continue
            for event in events:
                after = max(after, int(event.pop("number")))
                self._heard(MemberEvent(**event))

    def _heard(self, event: MemberEvent) -> None:
        self._events.append(event)
        if self._listener is not None:
            try:
                self._listener(event)
            except Exception:
                log.exception("the listener failed")


def _saved(content: checkpoint.Checkpoint) -> _Saved:
    unnamed = _Saved(content.round, "", content)
    return _Saved(content.round, snapshot_digest(content.round, unnamed.records), content)


def _report(frame: Frame) -> RoundReport:
    header = frame.header
    quality = header["evaluation"]
    per_class = {int(label): accuracy for label, accuracy in quality["per_class"].items()}
    clients = tuple(ClientReport(**client) for client in header["clients"])
    evaluation = Evaluation(quality["accuracy"], quality["loss"], per_class)
    return RoundReport(int(header["round"]), evaluation, clients, dict(header["problems"]), dict(header["updates"]))
