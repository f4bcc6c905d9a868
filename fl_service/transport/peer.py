"""Calls to another process that outlive a broken stream: each is executed once and answered once.

Both ends remember what is under way. When a stream is opened anew, each says which calls it is still working on or
has answered without having been heard; the others are sent again, and so are those answers. A process that was
restarted has another `life`: calls to its predecessor fail, for it knows nothing of them.

Frames carry ``t``: ``call`` (``id``, ``op``, …), ``reply`` (``id``, ``error`` and ``type`` when it failed), ``got``
(a reply was heard), ``drop`` (an answer is not wanted any more).
"""

from __future__ import annotations

import itertools
import logging
from collections import deque
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Executor, Future, InvalidStateError
from dataclasses import dataclass, field
from threading import RLock
from typing import Any

from flwr.app import RecordDict

from fl_service import errors
from fl_service.errors import FLServiceError, RestartedError, TransportError
from fl_service.transport.stream import Stream
from fl_service.transport.wire import EMPTY, Content, Frame, encode

# One count for the whole process: a peer that was forgotten and comes again must not be asked under old numbers.
_numbers = itertools.count(1)
_REMEMBERED = 256  # calls that were answered and heard, should a copy of one still be on its way

log = logging.getLogger("fl_service")


@dataclass(frozen=True)
class Call:
    """A call that arrived; its records are read when they are asked for."""

    caller: str
    op: str
    header: Mapping[str, Any]
    frame: Frame
    limit_mb: float

    def records(self) -> dict[str, RecordDict]:
        """Return the records by label; raises FLServiceError."""
        return self.frame.records(self.limit_mb)


@dataclass(frozen=True)
class Reply:
    """What a call is answered with."""

    header: Mapping[str, Any] = field(default_factory=dict)
    records: Mapping[str, RecordDict] = field(default_factory=dict)


@dataclass(frozen=True)
class Operation:
    """What a process does when it is called: in an executor of its own kind, so that long work delays no short one."""

    lane: Executor
    perform: Callable[[Call], Reply]


Operations = Mapping[str, Operation]


@dataclass
class _Pending:
    parts: list[bytes]
    what: str
    future: Future[Frame]


class Peer:
    """The other end of a connection, over any number of streams.

    `operations`: what it may call here, by name. `on_drop`: called when an answer that is being worked on is not wanted
    any more.
    """

    def __init__(
        self,
        name: str,
        operations: Operations,
        max_message_mb: float,
        on_drop: Callable[[str], None] | None = None,
    ) -> None:
        self.name, self.life = name, ""
        self._operations, self._limit, self._on_drop = operations, max_message_mb, on_drop
        self._stream: Stream | None = None
        self._pending: dict[int, _Pending] = {}
        self._handled: dict[int, list[bytes] | None] = {}  # None: still working on it
        self._ops: dict[int, str] = {}
        self._done: deque[int] = deque(maxlen=_REMEMBERED)
        self._unwanted: set[int] = set()
        self._lock = RLock()

    @property
    def stream(self) -> Stream | None:
        """The open stream, if there is one."""
        return self._stream

    @property
    def holding(self) -> list[int]:
        """Calls of the other end that need not be sent again."""
        with self._lock:
            return list(self._handled)

    # --- streams ----------------------------------------------------------------------------------------------------

    def attach(self, stream: Stream, life: str, holding: Collection[int]) -> None:
        """Go on over a new stream, to a process with this `life` that still holds these calls of ours."""
        with self._lock:
            if self.life and life != self.life:
                self.fail_pending(RestartedError(f"{self.name} was restarted"))
                for memory in (self._handled, self._ops, self._done, self._unwanted):
                    memory.clear()
            old, self._stream, self.life = self._stream, stream, life
            again = [p.parts for number, p in self._pending.items() if number not in holding]
            again += [parts for parts in self._handled.values() if parts is not None]
        if old is not None:
            old.end()
        for parts in again:
            self._put(stream, parts)

    def detach(self, stream: Stream) -> bool:
        """Note that a stream is over; True if it was the current one."""
        stream.close()
        with self._lock:
            if self._stream is not stream:
                return False
            self._stream = None
            return True

    def _send(self, parts: list[bytes]) -> None:
        stream = self._stream
        if stream is not None:
            self._put(stream, parts)

    def _put(self, stream: Stream, parts: list[bytes]) -> None:
        try:
            stream.put(parts)
        except TransportError:
            stream.close()  # what was not heard is sent again over the next stream

    # --- calling ----------------------------------------------------------------------------------------------------

    def call(self, op: str, header: Mapping[str, Any] | None = None, content: Content = EMPTY) -> Future[Frame]:
        """Call the other end. The future fails with TransportError, or with the FLServiceError that was raised there.

        While there is no stream the call waits for one.
        """
        with self._lock:
            number = next(_numbers)
            parts = encode({**(header or {}), "t": "call", "id": number, "op": op}, content)
            pending = _Pending(parts, op, Future())
            self._pending[number] = pending
            stream = self._stream  # a stream that is attached from now on is sent it anyway
        if stream is not None:
            self._put(stream, parts)
        return pending.future

    def fail_pending(self, error: TransportError, op: str | None = None) -> None:
        """Give up waiting for answers (to one operation, or to all); those that still come are dropped."""
        with self._lock:
            given_up = {n: p for n, p in self._pending.items() if op is None or p.what == op}
            for number in given_up:
                del self._pending[number]
        for number, pending in given_up.items():
            self._send(encode({"t": "drop", "id": number}))
            _settle(pending.future, error)

    # --- being called -----------------------------------------------------------------------------------------------

    def received(self, frame: Frame) -> None:
        """Take in a frame that arrived; raises TransportError for one that is none of ours."""
        kind, number = frame.header.get("t"), frame.header.get("id")
        if not isinstance(number, int):
            raise TransportError(f"it sent a frame without a number ({kind!r})")
        if kind == "reply":
            self._answered(number, frame)
        elif kind == "call":
            self._called(number, frame)
        elif kind == "got":
            with self._lock:
                if self._handled.pop(number, None) is not None:
                    self._done.append(number)
        elif kind == "drop":
            self._dropped(number)
        else:
            raise TransportError(f"it sent a frame of unknown kind {kind!r}")

    def _answered(self, number: int, frame: Frame) -> None:
        with self._lock:
            pending = self._pending.pop(number, None)
        self._send(encode({"t": "got", "id": number}))
        if pending is None:
            log.info("a late answer of %s was dropped", self.name)
        elif "error" in frame.header:
            _settle(pending.future, _error(str(frame.header.get("type")), str(frame.header["error"])))
        else:
            _settle(pending.future, frame)

    def _called(self, number: int, frame: Frame) -> None:
        with self._lock:
            if number in self._handled or number in self._done:
                return
            self._handled[number] = None
            op = str(frame.header.get("op"))
            self._ops[number] = op
        operation = self._operations.get(op)
        if operation is None:
            self._fail(number, TransportError(f"{op!r} is nothing that {self.name} may ask for"))
            return
        call = Call(self.name, op, frame.header, frame, self._limit)
        try:
            operation.lane.submit(self._perform, number, operation, call, self.life)
        except RuntimeError:  # the process is ending
            self._fail(number, TransportError("it is ending"))

    def _perform(self, number: int, operation: Operation, call: Call, life: str) -> None:
        if life != self.life:
            return
        if number in self._unwanted:
            self._fail(number, TransportError("the answer was not wanted any more"))
            return
        try:
            reply = operation.perform(call)
            parts = encode({**reply.header, "t": "reply", "id": number}, Content(reply.records))
        except FLServiceError as error:
            self._fail(number, error)
        except Exception as error:
            log.exception("%s failed", call.op)
            self._fail(number, TransportError(f"{call.op} failed: {type(error).__name__}: {error}"))
        else:
            self._answer(number, parts)

    def _fail(self, number: int, error: FLServiceError) -> None:
        header = {"t": "reply", "id": number, "error": str(error), "type": type(error).__name__}
        self._answer(number, encode(header))

    def _answer(self, number: int, parts: list[bytes]) -> None:
        with self._lock:
            self._ops.pop(number, None)
            self._unwanted.discard(number)
            if number not in self._handled:
                return  # the other end is a new process
            self._handled[number] = parts
            stream = self._stream
        if stream is not None:
            self._put(stream, parts)

    def _dropped(self, number: int) -> None:
        with self._lock:
            op = self._ops.get(number)
            if op is not None:
                self._unwanted.add(number)
        if op is not None and self._on_drop is not None:
            self._on_drop(op)


def answer(future: Future[Frame], seconds: float, what: str) -> Frame:
    """Wait for a call's answer; raises TransportError that says what was waited for."""
    try:
        return future.result(seconds)
    except TimeoutError:
        raise TransportError(f"{what}: no answer for {seconds:g} s") from None


def _settle(future: Future[Frame], outcome: Frame | FLServiceError) -> None:
    try:
        if isinstance(outcome, FLServiceError):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)
    except InvalidStateError:
        pass


def _error(kind: str, message: str) -> FLServiceError:
    """Return an error of the kind that was raised at the other end, where it is one of ours."""
    if kind == RestartedError.__name__:  # restarted was somebody else, further on
        return TransportError(message)
    known = getattr(errors, kind, None)
    return known(message) if isinstance(known, type) and issubclass(known, FLServiceError) else TransportError(message)
