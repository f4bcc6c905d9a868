"""The client's side: aiohttp's server protocol, with what it leaves open bounded and answered.

Slow heads, heads that are too large, clients that close their half of the connection after a request, and too many
connections at a time.
"""

from __future__ import annotations

import asyncio
import json
import time
from http import HTTPStatus
from typing import Any, cast

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong
from aiohttp.streams import StreamReader
from aiohttp.web_protocol import RequestHandler

from aiotwin_nb.inference.proxy.limits import Limits

SERVER = "aiotwin"  # who gives an answer of the proxy's own
LINGER = 1.0  # seconds in which the rest of a refused request is read, so that the client sees the answer


def refusal(status: int, why: str, retry_after: int | None = None, **more: Any) -> web.Response:
    """Return an answer of the proxy's own: JSON with the reason under `error`."""
    fields = {"Server": SERVER} | ({} if retry_after is None else {"Retry-After": str(retry_after)})
    return web.Response(
        status=status, body=_reason(why, **more), headers=fields, content_type="application/json", charset="utf-8"
    )


def raw_refusal(status: int, why: str) -> bytes:
    """Return the same as bytes, for a connection whose client has sent no request yet; the connection is closed."""
    body = _reason(why)
    phrase = HTTPStatus(status).phrase
    retry = "Retry-After: 1\r\n" if status == HTTPStatus.SERVICE_UNAVAILABLE else ""
    head = f"HTTP/1.1 {status} {phrase}\r\nServer: {SERVER}\r\nContent-Type: application/json; charset=utf-8\r\n{retry}"
    return f"{head}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body


def _reason(why: str, **more: Any) -> bytes:
    return (json.dumps({"error": why, **more}) + "\n").encode()


class Door(RequestHandler):
    """One client's connection."""

    __slots__ = ("_begun", "_begun_bytes", "_content", "_doors", "_ended", "_unanswered")

    def __init__(self, doors: Doors, loop: asyncio.AbstractEventLoop, **options: Any) -> None:
        super().__init__(doors, loop=loop, **options)
        self._doors = doors
        self._begun: asyncio.TimerHandle | None = None
        self._begun_bytes = 0
        self._content: StreamReader | None = None
        self._ended = False
        self._unanswered = 0

    @property
    def last(self) -> bool:
        """Whether the request being answered is the connection's last."""
        return self._doors.draining or (self._ended and self._unanswered <= 1)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, or turn the client away when there are too many."""
        if len(self._doors.connections_open) >= self._doors.limits.connections:
            real = cast(asyncio.Transport, transport)  # uvloop's are no subclass
            real.write(raw_refusal(503, "too many connections"))
            real.close()
            return
        self._doors.connections_open.add(self)
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Forget it."""
        self._doors.connections_open.discard(self)
        self._head_is_here()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes; the time for a head starts with its first."""
        before = self._request_count
        super().data_received(data)
        if self._request_count != before:
            self._unanswered += self._request_count - before
            self._head_is_here()
            self._content = self._messages[-1][1]
        elif data and not self._close and not self._upgraded and (self._content is None or self._content.is_eof()):
            self._more_of_a_head(len(data))

    def eof_received(self) -> bool:  # type: ignore[override]
        """The client sends no more: what it asked for is answered all the same, then the connection ends."""
        self._ended = True
        if self._close:
            return False
        if self._begun is not None:
            self._refuse(400, "the connection ended within a request's head")
            return False
        if not self._unanswered:
            return False
        if self._content is not None and not self._content.is_eof():
            self._content.set_exception(ConnectionResetError("the client sends no more of it"))
        return True

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what is no HTTP, or too large, or a fault of ours; the connection is closed."""
        if isinstance(exc, HttpProcessingError):
            status = 431 if isinstance(exc, LineTooLong) or "Too many headers" in exc.message else 400
            why = " ".join(exc.message.split())[:300]
        else:
            self.log_exception("while passing on a request", exc_info=exc)
            why = "the proxy failed"
        if request.writer.output_size > 0:
            raise ConnectionError("an answer had begun")
        answer = refusal(status, why)
        answer.force_close()
        return answer

    def log_access(self, request: web.BaseRequest, response: web.StreamResponse, time: float | None) -> None:
        """A request has been answered."""
        self._unanswered -= 1

    def end_if_idle(self) -> None:
        """Close, unless a request is being received or answered."""
        if not self._unanswered and self._begun is None:
            self.force_close()

    def _more_of_a_head(self, size: int) -> None:
        self._begun_bytes += size
        if self._begun is None:
            seconds = self._doors.limits.receive_head
            self._begun = self._loop.call_later(
                seconds, self._refuse, 408, f"the request's head was not here within {seconds:g} s"
            )
        elif self._begun_bytes > self._doors.limits.head_size:
            self._refuse(431, f"the request's head is larger than {self._doors.limits.head_size} bytes")

    def _head_is_here(self) -> None:
        self._begun_bytes = 0
        if self._begun is not None:
            self._begun.cancel()
            self._begun = None

    def _refuse(self, status: int, why: str) -> None:
        self._head_is_here()
        transport = self.transport
        if self._unanswered or transport is None:  # in the middle of another answer
            self.force_close()
            return
        self._close = True  # whatever still comes is read, so that the client sees the answer, and ignored
        transport.write(raw_refusal(status, why))
        transport.write_eof()
        self._loop.call_later(LINGER, self.force_close)


class Doors(web.Server):
    """All clients' connections.

    Attributes:
        draining: whether every request in hand is its connection's last
    """

    def __init__(self, handler: Any, limits: Limits) -> None:
        super().__init__(
            handler,
            handler_cancellation=True,
            access_log=None,
            auto_decompress=False,
            keepalive_timeout=limits.keep_alive,
            lingering_time=LINGER,
            max_line_size=limits.line,
            max_field_size=limits.line,
            max_headers=limits.header_fields,
            read_bufsize=65_536,
        )
        self.limits = limits
        self.connections_open: set[Door] = set()
        self.draining = False
        self._drained_by = 0.0

    def __call__(self) -> Door:
        """Return the protocol of a new connection."""
        return Door(self, asyncio.get_running_loop(), **self._kwargs)

    def hurry(self) -> None:
        """Wait no longer while draining."""
        self._drained_by = time.monotonic()

    async def drain(self, seconds: float) -> int:
        """Let requests in flight end and take no more; returns how many connections had to be cut off."""
        self.draining = True
        self._drained_by = time.monotonic() + seconds
        while self.connections_open and time.monotonic() < self._drained_by:
            for door in tuple(self.connections_open):
                door.end_if_idle()
            await asyncio.sleep(0.02)
        cut = len(self.connections_open)
        await self.shutdown(0.1)
        return cut
