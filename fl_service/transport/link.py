"""The child's end: one stream to its parent, opened again when it breaks, and to another parent when told to move."""

from __future__ import annotations

import logging
import random
import time
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from threading import Event, Lock, Thread
from typing import Any

import grpc

from fl_service.certificates import Credentials, dns_name
from fl_service.errors import FLServiceError, TransportError
from fl_service.transport.liveness import Timings
from fl_service.transport.peer import Operations, Peer
from fl_service.transport.stream import METHOD, OPTIONS, Stream
from fl_service.transport.wire import EMPTY, Content, Frame, encode

log = logging.getLogger("fl_service")

_WELCOME_SECONDS = 5.0
_RETRY_SECONDS = (0.1, 1.0)


@dataclass(frozen=True)
class Address:
    """A node's name, by which it is known, and where it listens (`host:port`), which may change."""

    name: str
    at: str


@dataclass
class _Connection:
    """An open stream to a parent."""

    parent: Address
    peer: Peer
    stream: Stream
    channel: grpc.Channel
    over: Event = field(default_factory=Event)
    reason: str = ""

    def close(self) -> None:
        self.stream.close()
        self.channel.close()
        self.over.set()


class Link:
    """A process as somebody's child.

    `operations`: what a parent may call here. `facts`: told whenever a parent is joined. `refuge`: whom to turn to when
    the parent cannot be reached. `beat`: called with every heartbeat sent while a parent is there, and with False when
    it is gone. `life` names this process among those of the same name before and after it.
    """

    def __init__(
        self,
        name: str,
        credentials: Credentials,
        parent: Address,
        timings: Timings,
        *,
        operations: Operations | None = None,
        facts: Callable[[], Mapping[str, Any]] = dict,
        refuge: Address | None = None,
        beat: Callable[[bool], None] = lambda there: None,
        joined: Callable[[], None] = lambda: None,
        on_drop: Callable[[str], None] | None = None,
        max_message_mb: int = 1024,
        life: str = "",
    ) -> None:
        self.name, self.life = name, life or uuid.uuid4().hex
        self.replaced = Event()
        self.down_since: float | None = time.monotonic()
        self.problem = ""
        self._credentials, self._timings, self._limit = credentials, timings, max_message_mb
        self._operations, self._facts, self._on_drop = {} if operations is None else operations, facts, on_drop
        self._home, self._refuge, self._beat, self._joined = parent, refuge, beat, joined
        self._peers: dict[str, Peer] = {}
        self._current: _Connection | None = None
        self._lock, self._ended = Lock(), Event()

    def start(self) -> Link:
        """Connect in the background and stay connected until `close`."""
        Thread(target=self._stay, name="fl-link", daemon=True).start()
        Thread(target=self._beats, name="fl-heartbeat", daemon=True).start()
        return self

    @property
    def parent(self) -> Address:
        """Whom this process belongs to, connected or not."""
        current = self._current
        return current.parent if current is not None else self._home

    def call(self, op: str, header: Mapping[str, Any] | None = None, content: Content = EMPTY) -> Future[Frame]:
        """Call the parent; while it cannot be reached the call waits for it."""
        return self._peer(self.parent.name).call(op, header, content)

    def fail_pending(self, reason: str) -> None:
        """Wait no longer for the parent's answers."""
        for peer in list(self._peers.values()):
            peer.fail_pending(TransportError(reason))

    def move(self, parent: Address) -> None:
        """Join another parent, then leave the present one; raises TransportError, and stays, if it is out of reach."""
        if parent == self.parent and self._current is not None:
            return
        new = self._open(parent, self._timings.move)
        with self._lock:
            old, self._current, self._home = self._current, new, parent
        if old is not None:
            # The old parent is to hear that we have gone before the stream ends.
            Thread(target=_close_later, args=(old,), daemon=True).start()

    def close(self) -> None:
        """Disconnect for good; safe to call twice."""
        self._ended.set()
        current = self._current
        if current is not None:
            current.close()
        self.fail_pending("this process is ending")
        self._beat(False)

    # --- inside -----------------------------------------------------------------------------------------------------

    def _stay(self) -> None:
        tries = 0
        while not self._ended.is_set() and not self.replaced.is_set():
            current = self._current
            if current is None:
                tries += 1
                self._try(tries)
                continue
            tries = 0
            current.over.wait()
            with self._lock:
                if self._current is not current:
                    continue
                self._current, self.down_since = None, time.monotonic()
            self._beat(False)
            if not self._ended.is_set():
                self._note_problem(current.parent, current.reason or "the connection broke")

    def _try(self, tries: int) -> None:
        """Try once to reach the parent, or by turns its refuge when the parent was out of reach for some time."""
        away = time.monotonic() - (self.down_since or time.monotonic())
        parent = self._home
        if self._refuge is not None and self._refuge != parent and away > self._timings.refuge and tries % 2:
            parent = self._refuge
        try:
            connection = self._open(parent, _WELCOME_SECONDS)
        except FLServiceError as error:
            self._note_problem(parent, str(error))
            low, high = _RETRY_SECONDS
            self._ended.wait(min(high, low * 1.5 ** min(tries, 8)) * random.uniform(0.8, 1.2))
            return
        with self._lock:
            self._current, self.down_since, self.problem = connection, None, ""
        log.info("%s joined %s at %s", self.name, parent.name, parent.at)

    def _open(self, parent: Address, seconds: float) -> _Connection:
        """Open a stream and greet; returns when the parent has welcomed us, raises TransportError if it does not."""
        secure = grpc.ssl_channel_credentials(
            self._credentials.ca, self._credentials.key, self._credentials.certificate
        )
        target = ("grpc.ssl_target_name_override", dns_name(parent.name))
        channel = grpc.secure_channel(parent.at, secure, [*OPTIONS, target])
        stream, peer = Stream(self._limit * 1_000_000), self._peer(parent.name)
        connection = _Connection(parent, peer, stream, channel)
        hello = {"name": self.name, "life": self.life, "holding": peer.holding, "facts": dict(self._facts())}
        stream.put(encode(hello))
        welcomed: Future[None] = Future()
        Thread(target=self._read, args=(connection, welcomed), name="fl-reader", daemon=True).start()
        try:
            welcomed.result(seconds)
        except TimeoutError:
            connection.close()
            raise TransportError(f"no welcome for {seconds:g} s") from None
        except FLServiceError:
            connection.close()
            raise
        self._beat(True)
        self._joined()
        return connection

    def _read(self, connection: _Connection, welcomed: Future[None]) -> None:
        stream, peer = connection.stream, connection.peer
        try:
            for chunk in connection.channel.stream_stream(METHOD)(iter(stream)):
                frame = stream.take(chunk)
                if frame is None:
                    continue
                if not welcomed.done():
                    welcome = frame.header
                    peer.attach(stream, str(welcome["life"]), [int(n) for n in welcome["holding"]])
                    welcomed.set_result(None)
                elif frame.header.get("t") == "replaced":
                    self.replaced.set()
                    break
                else:
                    peer.received(frame)
            connection.reason = "it ended the connection"
        except grpc.RpcError as error:
            connection.reason = f"{error.code().name}: {error.details()}"
        except Exception as error:
            connection.reason = f"{type(error).__name__}: {error}"
        peer.detach(stream)
        if not welcomed.done():
            welcomed.set_exception(TransportError(connection.reason))
        connection.close()

    def _beats(self) -> None:
        """Send heartbeats, and leave a parent that was silent for long; this thread does nothing else."""
        last = time.monotonic()
        while not self._ended.wait(self._timings.beat):
            asleep, last = time.monotonic() - last - self._timings.beat, time.monotonic()
            current = self._current
            if current is None:
                continue
            current.stream.beat()
            current.stream.heard += max(0.0, asleep)  # while we slept ourselves we could not hear it
            if time.monotonic() - current.stream.heard > self._timings.lost_silent / 2:
                current.reason = f"no heartbeat for {self._timings.lost_silent / 2:g} s"
                current.close()
            elif not self._ended.is_set():
                self._beat(True)

    def _peer(self, name: str) -> Peer:
        with self._lock:
            if name not in self._peers:
                self._peers[name] = Peer(name, self._operations, self._limit, self._on_drop)
            return self._peers[name]

    def _note_problem(self, parent: Address, problem: str) -> None:
        told = f"{parent.name} at {parent.at}: {problem}"
        if told != self.problem:
            log.warning("%s cannot reach its parent: %s", self.name, told)
            self.problem = told


def _close_later(connection: _Connection) -> None:
    deadline = time.monotonic() + 2.0
    while connection.peer.holding and time.monotonic() < deadline:
        time.sleep(0.01)
    connection.close()
