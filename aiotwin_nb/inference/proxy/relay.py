"""A request's way: to an instance, once more to another where that is safe, and the answer back to the client."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.http import HttpVersion10
from aiohttp.http_parser import RawResponseMessage
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader

from aiotwin_nb.inference.proxy.bodies import LAST_CHUNK, BadBody, RequestBody, break_off, chunk, send_to_client
from aiotwin_nb.inference.proxy.door import Door, refusal
from aiotwin_nb.inference.proxy.headers import (
    CHUNKED,
    declared_length,
    length_field,
    named,
    request_head,
    response_head,
)
from aiotwin_nb.inference.proxy.health import Health
from aiotwin_nb.inference.proxy.limits import Limits
from aiotwin_nb.inference.proxy.routing import FAILING, Attempt, Refused, Route, Routes, Upstream
from aiotwin_nb.inference.proxy.upstream import (
    BODY_ERRORS,
    BrokenOff,
    Connection,
    InstanceError,
    TooLate,
    Unreachable,
)

IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"})  # RFC 9110, section 9.2.2
LATE_IN_A_ROW = 3  # answers that did not come in time, after which an instance is no longer asked
LONGEST_CLIENT = 64  # characters of a client's name that are kept


class _Done(web.StreamResponse):
    """What tells aiohttp's server that everything has been written already."""

    def __init__(self, keep_alive: bool) -> None:
        super().__init__()
        self._kept = keep_alive

    @property
    def keep_alive(self) -> bool:
        return self._kept

    async def prepare(self, request: web.BaseRequest) -> None:
        """Nothing is left to write."""

    async def write_eof(self, data: bytes = b"") -> None:
        """Nothing is left to write."""


@dataclass(slots=True)
class _Job:
    """One request. It may be sent twice when that changes nothing: by its method, or because its sender says so."""

    request: web.BaseRequest
    route: Route
    target: bytes
    body: RequestBody
    idempotent: bool = field(init=False)

    def __post_init__(self) -> None:
        self.idempotent = self.request.method in IDEMPOTENT or "Idempotency-Key" in self.request.headers


class _Declined(InstanceError):
    """The instance answered that it cannot serve the request now, and another one may."""


@dataclass(slots=True)
class _Answer:
    """The head of an answer, the first piece of its body, and what is needed for the rest."""

    message: RawResponseMessage
    content: StreamReader
    first: bytes
    connection: Connection
    sending: asyncio.Task[None] | None


class Relay:
    """Passes requests on.

    Attributes:
        in_flight: how many requests are on their way
    """

    def __init__(self, routes: Routes, health: Health, limits: Limits, name: str) -> None:
        self._routes = routes
        self._health = health
        self._limits = limits
        self._via = name.encode("ascii")
        self._kept = _Done(True)
        self._closed = _Done(False)
        self.in_flight = 0

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        try:
            return await self._counted(request)
        except Refused as error:
            answer = refusal(error.status, str(error), error.retry_after, **error.more)
            if self._is_last(request) or not request.content.at_eof():
                answer.force_close()
            return answer

    async def _counted(self, request: web.BaseRequest) -> web.StreamResponse:
        host, target = place(request)
        if "Upgrade" in request.headers and request.headers["Upgrade"].lower() == "websocket":
            raise Refused(501, "upgrades are not passed on")
        if named(request.headers.get("Via"), self._via):
            raise Refused(508, "the request has come round in a loop: an instance's URL leads back to this proxy")
        route = self._routes.find(host)
        tallies = (route.tally, route.clients.of(client_of(request)))
        if self.in_flight >= self._limits.in_flight:
            for tally in tallies:
                tally.failure()
            raise Refused(503, f"{self._limits.in_flight} requests are in flight", retry_after=1)
        for tally in tallies:
            tally.in_flight += 1
        self.in_flight += 1
        failed, latency_ms = False, None
        try:
            length = declared_length(request.raw_headers)
            job = _Job(request, route, target, RequestBody(request.content, length, self._limits))
            await self._receive(job)
            start = time.monotonic()
            attempt, answer = await self._answer(job)
            latency_ms = (time.monotonic() - start) * 1000
            failed = answer.message.code in FAILING
            try:
                return await self._pass_on(job, answer)
            finally:
                await self._finish(attempt, answer)
        except Refused as error:
            failed = error.status in FAILING
            raise
        finally:
            self.in_flight -= 1
            for tally in tallies:
                tally.in_flight -= 1
                if failed:
                    tally.failure()
                elif latency_ms is not None:  # None: the client's fault, or it went away
                    tally.answered(latency_ms, route.service.max_latency_ms)

    async def _receive(self, job: _Job) -> None:
        """Wait for a small body: a slow client then occupies no instance, and the body can be sent again."""
        if job.body.here:
            return
        if expected := job.request.headers.get("Expect"):
            if expected.lower() != "100-continue":
                raise Refused(417, f"cannot do what is expected: {expected[:100]}")
            await send_to_client(job.request.protocol, b"HTTP/1.1 100 Continue\r\n\r\n", self._limits.idle)
        if job.body.small:
            try:
                await job.body.receive()
            except BadBody as error:
                raise Refused(error.status, str(error)) from None

    async def _answer(self, job: _Job) -> tuple[Attempt, _Answer]:
        """Return the head of an answer; raises Refused when no instance gives one."""
        now = time.monotonic()
        if to_ping := job.route.to_ping(now):
            self._health.ping(job.route, to_ping)
        first = job.route.choose(now)
        try:
            return await self._try(job, first, may_decline=True)
        except InstanceError as error:
            other = self._other(job, first, error)
            if other is None:
                raise _refused(first, error) from None
        job.route.retries += 1
        try:
            return await self._try(job, other, fresh=other is first)
        except InstanceError as error:
            raise _refused(other, error) from None

    def _other(self, job: _Job, first: Upstream, error: InstanceError) -> Upstream | None:
        """Return where a request that failed may be sent once more; None when it must not, or there is nowhere.

        What was never sent can be sent, whatever its method. A kept connection that had ended says nothing of its
        instance: where there is no other, the same one is asked over a new connection.
        """
        if not job.body.replayable or (error.sent and not job.idempotent):
            return None
        try:
            return job.route.choose(time.monotonic(), other_than=first)
        except Refused:
            return None if error.fresh else first

    async def _try(
        self, job: _Job, upstream: Upstream, *, may_decline: bool = False, fresh: bool = False
    ) -> tuple[Attempt, _Answer]:
        """Send the request to one instance; returns the head of its answer, raises InstanceError or Refused."""
        attempt = Attempt(job.route, upstream)
        connection: Connection | None = None
        sending: asyncio.Task[None] | None = None
        try:
            connection = await upstream.pool.take(fresh)
            sending = self._send(job, upstream, connection)
            message, content = await self._head(connection, sending)
            first = b"" if content is EMPTY_PAYLOAD else content.read_nowait(-1)
            attempt.answered(message.code)
            if may_decline and message.code in FAILING and self._other(job, upstream, _Declined("")) is not None:
                raise _Declined(f"it answered {message.code}")
        except BaseException as error:
            await _stop(sending)
            if connection is not None:
                connection.close()
            failure = BrokenOff(f"its answer broke off: {error}") if isinstance(error, BODY_ERRORS) else error
            if isinstance(failure, InstanceError) and not isinstance(failure, _Declined):
                attempt.failed()
                _note(job.route, upstream, failure)
            attempt.ended()
            if isinstance(failure, BadBody):
                raise Refused(failure.status, str(failure)) from None
            raise failure from None
        return attempt, _Answer(message, content, first, connection, sending)

    def _send(self, job: _Job, upstream: Upstream, connection: Connection) -> asyncio.Task[None] | None:
        """Send head and body; a body that is not here yet is sent by the task that is returned."""
        request = job.request
        connection.start(request.method, self._limits)
        head = request_head(
            request.method,
            job.target,
            request.raw_headers,
            upstream.pool.authority,
            (request.remote or "unknown").encode(),
            self._via,
            job.body.framing,
        )
        if job.body.here and job.body.replayable:
            connection.send(head + job.body.whole())
            return None
        connection.send(head)
        return asyncio.create_task(job.body.send(connection))

    async def _head(
        self, connection: Connection, sending: asyncio.Task[None] | None
    ) -> tuple[RawResponseMessage, StreamReader]:
        """Return the head of the answer, which may come while the body is still being sent."""
        if sending is None:
            return await connection.head(self._limits.answer)
        reading = asyncio.create_task(connection.head(None))
        try:
            await asyncio.wait((sending, reading), return_when=asyncio.FIRST_COMPLETED)
            if not reading.done() and isinstance(error := sending.exception(), (BadBody, TooLate)):
                raise error
            await asyncio.wait((reading,), timeout=self._limits.answer)
            if not reading.done():
                raise TooLate(f"no answer within {self._limits.answer:g} s")
            return reading.result()
        finally:
            await _stop(reading)

    async def _pass_on(self, job: _Job, answer: _Answer) -> web.StreamResponse:
        """Write an answer to the client as it comes in; a broken one breaks off there, too."""
        request, content, message = job.request, answer.content, answer.message
        door = request.protocol
        framing, pieces = self._framing(request, answer)
        keep = request.keep_alive and not self._is_last(request) and (framing is not None or content is EMPTY_PAYLOAD)
        keep = keep and (answer.sending is None or answer.sending.done())
        old = request.version <= HttpVersion10
        head = response_head(
            message.code,
            message.reason,
            message.raw_headers,
            self._via,
            framing or b"",
            (b"keep-alive" if old else b"") if keep else b"close",
        )
        idle = self._limits.idle
        try:
            await send_to_client(door, head + (_piece(answer.first, pieces) if answer.first else b""), idle)
            if not content.is_eof():
                answer.connection.watch_body(idle)
            while not content.at_eof():
                if piece := await content.readany():
                    await send_to_client(door, _piece(piece, pieces), idle)
            if pieces:
                await send_to_client(door, LAST_CHUNK, idle)
        except BODY_ERRORS:  # of the instance or of the client: either way the client must not take it for complete
            break_off(door)
            return self._closed
        return self._kept if keep else self._closed

    def _framing(self, request: web.BaseRequest, answer: _Answer) -> tuple[bytes | None, bool]:
        """Return the field that frames the answer's body (None: the connection's end), and whether it is chunked."""
        length = declared_length(answer.message.raw_headers)
        if answer.content is EMPTY_PAYLOAD:
            return (b"" if length is None or answer.message.code == 204 else length_field(length)), False
        if length is None and answer.content.at_eof():
            length = len(answer.first)
        if length is not None:
            return length_field(length), False
        return (None, False) if request.version <= HttpVersion10 else (CHUNKED, True)

    async def _finish(self, attempt: Attempt, answer: _Answer) -> None:
        """Give the connection back, or close it when anything of the exchange is unfinished."""
        attempt.ended()
        whole = answer.content.at_eof() and (answer.sending is None or answer.sending.done())
        await _stop(answer.sending)
        if whole and (answer.sending is None or answer.sending.exception() is None):
            attempt.upstream.pool.give_back(answer.connection)
        else:
            answer.connection.close()

    def _is_last(self, request: web.BaseRequest) -> bool:
        door = request.protocol
        return isinstance(door, Door) and door.last


def place(request: web.BaseRequest) -> tuple[str, bytes]:
    """Return the host that a request is for, and its target at the instance; raises Refused."""
    if request.method == "CONNECT":
        raise Refused(501, "tunnels are not opened: CONNECT is not passed on")
    target = request.raw_path
    hosts = request.headers.getall("Host", [])
    if len(hosts) != 1 and (hosts or request.version > HttpVersion10):
        raise Refused(400, "a request names its host once, in its Host header")
    host = hosts[0].strip() if hosts else ""
    if not target.startswith(("/", "*")):  # absolute form: its host counts (RFC 9112, section 3.2.2)
        parts = urlsplit(target)
        if not parts.netloc:
            raise Refused(400, "a request's target is a path, or a URL with a host")
        host = parts.netloc.rpartition("@")[2]
        target = target.partition(parts.netloc)[2] or "/"
        target = target if target.startswith("/") else f"/{target}"
    return host, target.partition("#")[0].encode("utf-8", "surrogateescape")


def client_of(request: web.BaseRequest) -> str:
    """Return whose quality of service it is: who a request says that it comes from, else its address."""
    return request.headers.get("X-Client-Id", "")[:LONGEST_CLIENT] or request.remote or "unknown"


def _piece(data: bytes, chunked: bool) -> bytes:
    return chunk(data) if chunked else data


def _refused(upstream: Upstream, error: InstanceError) -> Refused:
    return Refused(error.status, f"instance {upstream.instance.id}: {error}", retry_after=1)


def _note(route: Route, upstream: Upstream, error: InstanceError) -> None:
    """What a failure says of the instance: one that cannot be reached is no longer asked, others are looked at."""
    upstream.doubted.set()
    if isinstance(error, TooLate):
        upstream.late_in_a_row += 1
    if isinstance(error, Unreachable) or (isinstance(error, BrokenOff) and error.fresh):
        route.take_out(upstream, str(error))
    elif upstream.late_in_a_row >= LATE_IN_A_ROW:
        route.take_out(upstream, f"{LATE_IN_A_ROW} answers in a row did not come in time")
    else:
        upstream.pool.drop_idle()


async def _stop(task: asyncio.Task[object] | asyncio.Task[None] | None) -> None:
    """End a task and wait until it has; what it raises is of no interest any more."""
    if task is None:
        return
    task.cancel()
    await asyncio.wait((task,))
    if not task.cancelled():
        task.exception()
