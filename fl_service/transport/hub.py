"""The parent's end: a gRPC server that children join, each over one stream; their certificates say who they are."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event, RLock, Thread
from typing import Any

import grpc

from fl_service.certificates import ORCHESTRATOR, Credentials, dns_name
from fl_service.errors import ConfigError, FLServiceError, TransportError
from fl_service.transport.liveness import Liveness, Standing, Timings, Transition
from fl_service.transport.peer import Operations, Peer
from fl_service.transport.stream import METHOD, OPTIONS, Stream
from fl_service.transport.wire import EMPTY, Content, Frame, encode

log = logging.getLogger("fl_service")

_MAX_CHILDREN = 512
_HELLO_SECONDS = 10.0
_TICK = 0.2  # seconds
_ASLEEP = 1.0  # seconds by which a tick is late that make us doubt ourselves rather than others


class Hub:
    """Children that have joined, by name.

    `operations`: what a child of this name may call here. `notify`: called, one at a time, with
    the members (orchestrator left out) whose standing changed. `beat`: called with every heartbeat.
    """

    def __init__(
        self,
        name: str,
        credentials: Credentials,
        listen: str,
        timings: Timings,
        *,
        notify: Callable[[list[Transition]], None],
        operations: Callable[[str], Operations] = lambda name: {},
        beat: Callable[[bool], None] = lambda there: None,
        max_message_mb: int = 1024,
        life: str = "",
    ) -> None:
        self.name, self.life = name, life or uuid.uuid4().hex
        self._notify, self._operations, self._limit = notify, operations, max_message_mb
        self._beat = beat
        self._timings, self._liveness = timings, Liveness(timings)
        self._peers: dict[str, Peer] = {}
        self._facts: dict[str, Mapping[str, Any]] = {}
        self._reasons: dict[str, str] = {}
        self._lock, self._ended = RLock(), Event()
        self._server = self._serve(listen, credentials)
        Thread(target=self._watch, name="fl-heartbeat", daemon=True).start()

    # --- what it knows ----------------------------------------------------------------------------------------------

    def view(self) -> dict[str, dict[str, Any]]:
        """{child: {standing, reason, connected, and the facts that it told when it joined}}."""
        with self._lock:
            connected = {name for name, peer in self._peers.items() if peer.stream is not None}
            return {
                name: {
                    **self._facts.get(name, {}),
                    "standing": standing,
                    "reason": self._reasons.get(name, ""),
                    "connected": name in connected,
                }
                for name, standing in self._liveness.standings().items()
            }

    def standing(self, name: str) -> Standing | None:
        """A child's standing; None for one that never joined or was forgotten."""
        with self._lock:
            return self._liveness.standings().get(name)

    # --- what it does -----------------------------------------------------------------------------------------------

    def call(
        self, name: str, op: str, header: Mapping[str, Any] | None = None, content: Content = EMPTY
    ) -> Future[Frame]:
        """Call a child; fails at once for one that is not there, and as soon as one is late."""
        with self._lock:
            peer, standing = self._peers.get(name), self._liveness.standings().get(name)
            if peer is None or standing not in ("here", "away"):
                refused: Future[Frame] = Future()
                why = f"it is {standing}: {self._reasons.get(name)}" if standing else "it is not connected"
                refused.set_exception(TransportError(f"{name} was not asked: {why}"))
                return refused
        return peer.call(op, header, content)

    def give_up(self, op: str, reason: str) -> None:
        """Wait no longer for any child's answer to an operation."""
        for peer in list(self._peers.values()):
            peer.fail_pending(TransportError(reason), op)

    def note(self, name: str, facts: Mapping[str, Any]) -> None:
        """Remember something about a child beside what it told when it joined."""
        with self._lock:
            self._facts[name] = {**self._facts.get(name, {}), **facts}

    def forget(self, name: str) -> None:
        """Know a child no more: it was moved away or is no part of the run; its stream is closed if there is one."""
        with self._lock:
            self._liveness.forget(name)
            peer = self._peers.pop(name, None)
            self._facts.pop(name, None)
        if peer is not None:
            peer.fail_pending(TransportError(f"{name} is no child of {self.name} any more"))
            if peer.stream is not None:
                peer.stream.close()

    def told_lost(self, name: str, reason: str) -> None:
        """Take a child for lost because somebody who knows has said so."""
        self._became(self._locked(self._liveness.told_lost, name, reason))

    def close(self) -> None:
        """End all streams and the server; safe to call twice."""
        self._ended.set()
        for peer in list(self._peers.values()):
            if peer.stream is not None:
                peer.stream.close()
        self._server.stop(grace=0.5).wait(2.0)

    # --- inside: the server -----------------------------------------------------------------------------------------

    def _serve(self, listen: str, credentials: Credentials) -> grpc.Server:
        handler = grpc.stream_stream_rpc_method_handler(self._join)
        service, method = METHOD.strip("/").split("/")
        server = grpc.server(
            ThreadPoolExecutor(_MAX_CHILDREN, thread_name_prefix="fl-stream"),
            options=OPTIONS,
            maximum_concurrent_rpcs=_MAX_CHILDREN,
        )
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {method: handler}),))
        secure = grpc.ssl_server_credentials(
            [(credentials.key, credentials.certificate)], credentials.ca, require_client_auth=True
        )
        try:
            self.port = server.add_secure_port(listen, secure)
        except RuntimeError as error:
            raise ConfigError(f"listen: {listen!r} cannot be listened at; is it in use?") from error
        server.start()
        return server

    def _join(self, incoming: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        """Serve one stream: its reader runs in a thread of its own, this generator sends what is queued."""
        stream = Stream(self._limit * 1_000_000)
        greeted: Future[Peer] = Future()
        context.add_callback(stream.close)
        Thread(target=self._read, args=(incoming, stream, context, greeted), daemon=True).start()
        try:
            greeted.result(_HELLO_SECONDS)
        except TimeoutError:
            context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, f"no greeting for {_HELLO_SECONDS:g} s")
        except FLServiceError as error:
            log.warning("%s was refused: %s", context.peer(), error)
            context.abort(grpc.StatusCode.PERMISSION_DENIED, str(error))
        yield from stream

    def _read(
        self, incoming: Iterator[bytes], stream: Stream, context: grpc.ServicerContext, greeted: Future[Peer]
    ) -> None:
        peer, reason = None, "its connection broke"
        try:
            for chunk in incoming:
                frame = stream.take(chunk)
                if frame is None:
                    continue
                if peer is None:
                    peer = self._greet(frame, stream, context)
                    greeted.set_result(peer)
                else:
                    peer.received(frame)
        except FLServiceError as error:
            reason = str(error)
            if not greeted.done():
                greeted.set_exception(error)
            else:
                log.warning("%s: %s; its connection is closed", peer and peer.name, error)
        except Exception as error:  # gRPC's way to say that the stream is over
            log.debug("stream over: %r", error)
        if not greeted.done():
            greeted.set_exception(TransportError("it left before it greeted"))
        if peer is not None and peer.detach(stream) and not self._ended.is_set():
            self._became(self._locked(self._liveness.broke, peer.name, time.monotonic(), reason))

    def _greet(self, frame: Frame, stream: Stream, context: grpc.ServicerContext) -> Peer:
        """Admit a child whose name is that of its certificate; raises FLServiceError."""
        hello = frame.header
        name, life = str(hello.get("name")), str(hello.get("life"))
        shown = context.auth_context().get("x509_subject_alternative_name", [])
        if dns_name(name).encode() not in shown:
            raise TransportError(f"it says that it is {name!r}, which is not the name in its certificate")
        with self._lock:
            peer = self._peers.get(name)
            if peer is None:
                peer = self._peers[name] = Peer(name, self._operations(name), self._limit)
            elif peer.stream is not None and peer.life != life:
                log.warning("%s joined anew while an older process of that name was connected", name)
                peer.stream.put(encode({"t": "replaced", "id": 0}))
            self._facts[name] = {**dict(hello.get("facts") or {}), "life": life}
        stream.put(encode({"name": self.name, "life": self.life, "holding": peer.holding}))
        peer.attach(stream, life, [int(number) for number in hello.get("holding", [])])
        if name != ORCHESTRATOR:
            # A new process and one that comes again are told alike: what they were told before may be gone.
            transitions = self._locked(self._liveness.joined, name, time.monotonic())
            self._became(transitions or [Transition(name, "here", "it connected again")])
        return peer

    # --- inside: heartbeats -----------------------------------------------------------------------------------------

    def _watch(self) -> None:
        """Send heartbeats and notice those that do not come; this thread does nothing else."""
        beat_at, last = 0.0, time.monotonic()
        while not self._ended.wait(_TICK):
            now = time.monotonic()
            asleep, last = now - last - _TICK, now
            peers = list(self._peers.values())
            if now >= beat_at:
                beat_at = now + self._timings.beat
                self._beat(True)
                for peer in peers:
                    if peer.stream is not None:
                        peer.stream.beat()
            transitions: list[Transition] = []
            with self._lock:
                if asleep > _ASLEEP:
                    self._liveness.excuse(asleep)
                for peer in peers:
                    if peer.stream is not None and peer.name != ORCHESTRATOR:
                        transitions += self._liveness.heard(peer.name, peer.stream.heard)
                transitions += self._liveness.tick(now)
            self._became(transitions)

    def _locked(self, function: Callable[..., list[Transition]], *arguments: Any) -> list[Transition]:
        with self._lock:
            return function(*arguments)

    def _became(self, transitions: Iterable[Transition]) -> None:
        """Act on new standings: nobody waits for an answer of one that is late or lost."""
        told = list(transitions)
        if not told:
            return
        with self._lock:
            for t in told:
                self._reasons[t.member] = t.reason
                peer = self._peers.get(t.member)
                if peer is not None and t.standing in ("late", "lost"):
                    peer.fail_pending(TransportError(f"it did not reply: {t.reason}"))
                if peer is not None and t.standing == "lost" and peer.stream is not None:
                    peer.stream.close()
            self._notify(told)
