"""Connections to one instance: kept open between requests, and used for one request at a time.

aiohttp's client protocol and parser without its session: what is sent is exactly what is written here, and nothing is
ever repeated behind the caller's back (the session silently repeats idempotent requests on a kept connection).
"""

from __future__ import annotations

import asyncio
import time
from collections import deque

from aiohttp import ClientError, ClientPayloadError
from aiohttp.client_proto import ResponseHandler
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import RawResponseMessage
from aiohttp.streams import StreamReader

from aiotwin_nb.inference.proxy.limits import Limits
from aiotwin_nb.inference.proxy.sources import check_url

BUFFER = 65_536  # bytes of a body that wait on either side before the sender is held


class InstanceError(Exception):
    """An instance gave no answer.

    Attributes:
        sent: whether anything of the request may have reached it
        fresh: whether the connection was a new one, so that it says something of the instance
    """

    status = 502
    reason = "Bad Gateway"

    def __init__(self, why: str, *, sent: bool = True, fresh: bool = True) -> None:
        super().__init__(why)
        self.sent = sent
        self.fresh = fresh


class Unreachable(InstanceError):
    """No connection could be opened: nothing was sent."""

    def __init__(self, why: str) -> None:
        super().__init__(why, sent=False)


class BrokenOff(InstanceError):
    """The connection ended, or what came over it was no HTTP."""


class TooLate(InstanceError):
    """No answer in time."""

    status = 504
    reason = "Gateway Timeout"


class Connection(ResponseHandler):
    """One connection to an instance."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self.used = False
        self.idle_since = 0.0

    @property
    def alive(self) -> bool:
        """Whether another request can be sent."""
        return self.is_connected() and not self.should_close

    def start(self, method: str, limits: Limits) -> None:
        """Make ready for the answer to a request."""
        self.set_response_params(
            skip_payload=method == "HEAD",
            read_until_eof=True,
            auto_decompress=False,
            read_bufsize=BUFFER,
            max_line_size=limits.line,
            max_field_size=limits.line,
            max_headers=limits.header_fields,
        )

    def send(self, data: bytes) -> None:
        """Write; raises BrokenOff when the connection has ended."""
        transport = self.transport
        if transport is None or transport.is_closing():
            raise BrokenOff("the instance closed the connection", fresh=not self.used)
        transport.write(data)

    async def drained(self, idle: float) -> None:
        """Wait until the instance has taken most of what was written; raises BrokenOff, TooLate."""
        if not self.writing_paused:
            return
        try:
            async with asyncio.timeout(idle):
                await self._drain_helper()
        except ConnectionError as error:
            raise BrokenOff(f"the instance closed the connection: {error}", fresh=not self.used) from None
        except TimeoutError:
            raise TooLate(f"the instance took nothing of the request for {idle:g} s") from None

    async def head(self, seconds: float | None) -> tuple[RawResponseMessage, StreamReader]:
        """Return the head of the answer and its body's stream; raises BrokenOff, TooLate."""
        try:
            async with asyncio.timeout(seconds):
                while True:
                    message, body = await self.read()
                    if message.code >= 200:
                        return message, body
                    if message.code == 101:
                        raise BrokenOff("the instance switched protocols without being asked to")
        except TimeoutError:
            raise TooLate(f"no answer within {seconds or self.read_timeout or 0:g} s") from None
        except HttpProcessingError as error:
            raise BrokenOff(f"its answer is no HTTP: {error.message}") from None
        except (ClientError, ConnectionError) as error:
            why = f"it broke the connection off: {error or type(error).__name__}"
            raise BrokenOff(why, fresh=not self.used) from None

    def watch_body(self, idle: float) -> None:
        """From now on the connection breaks when the body stops coming for this long."""
        self.read_timeout = idle
        self.start_timeout()


BODY_ERRORS = (ClientPayloadError, ClientError, HttpProcessingError, ConnectionError, TimeoutError)


class Pool:
    """The open connections to one instance; the one used last is used first, so that spare ones grow old and go."""

    def __init__(self, url: str, limits: Limits) -> None:
        self.host, self.port = check_url(url, "url")
        host = f"[{self.host}]" if ":" in self.host else self.host
        self.authority = f"{host}:{self.port}".encode("ascii", "backslashreplace")
        self._limits = limits
        self._idle: deque[Connection] = deque()
        self._closed = False

    async def take(self, fresh: bool = False) -> Connection:
        """Return a connection nobody else uses; raises Unreachable."""
        while self._idle and not fresh:
            connection = self._idle.pop()
            if connection.alive:
                return connection
            connection.close()
        return await self._open()

    def give_back(self, connection: Connection) -> None:
        """Keep a connection whose answer was read to its end; closes it where it cannot be used again."""
        if self._closed or not connection.alive:
            connection.close()
            return
        connection.used = True
        connection.read_timeout = None
        connection.idle_since = time.monotonic()
        self._idle.append(connection)

    def sweep(self, now: float) -> None:
        """Close what has been idle for too long."""
        while self._idle and now - self._idle[0].idle_since > self._limits.pooled:
            self._idle.popleft().close()

    def drop_idle(self) -> None:
        """Close what is idle, as after a failure: the other end may be gone."""
        while self._idle:
            self._idle.pop().close()

    def close(self) -> None:
        """Close what is idle now and what becomes idle later."""
        self._closed = True
        self.drop_idle()

    async def _open(self) -> Connection:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._limits.connect):
                _, connection = await loop.create_connection(lambda: Connection(loop), self.host, self.port)
        except TimeoutError:
            raise Unreachable(f"no connection to {self.authority.decode()} within {self._limits.connect:g} s") from None
        except (OSError, UnicodeError) as error:  # the latter for what cannot be a host name
            why = getattr(error, "strerror", None) or error
            raise Unreachable(f"no connection to {self.authority.decode()}: {why}") from None
        return connection


async def probe(pool: Pool, path: bytes, limits: Limits) -> int:
    """Ask an instance how it is; returns the status of its answer, raises InstanceError."""
    request = b"GET %b HTTP/1.1\r\nHost: %b\r\nUser-Agent: aiotwin-proxy\r\n\r\n" % (path, pool.authority)
    for fresh in (False, True):
        connection = await pool.take(fresh)
        kept = connection.used
        try:
            connection.start("GET", limits)
            connection.send(request)
            async with asyncio.timeout(limits.probe):
                message, body = await connection.head(None)
                while not body.is_eof():  # whatever it says beside the status
                    await body.readany()
                body.read_nowait()
            pool.give_back(connection)
        except TimeoutError:
            connection.close()
            raise TooLate(f"no answer within {limits.probe:g} s") from None
        except BODY_ERRORS:
            connection.close()
            raise BrokenOff("its answer to a probe broke off") from None
        except BrokenOff:
            connection.close()
            if not kept:
                raise
        except BaseException:
            connection.close()
            raise
        else:
            return int(message.code)
    raise AssertionError("a fresh connection was never used before")
