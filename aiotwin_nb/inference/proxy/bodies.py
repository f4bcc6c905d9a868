"""Bodies on their way: from a client to an instance and back, never more of them in memory than the limits allow."""

from __future__ import annotations

import asyncio
import socket
import struct

from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.streams import StreamReader
from aiohttp.web_protocol import RequestHandler, RequestPayloadError

from aiotwin_nb.inference.proxy.headers import CHUNKED, length_field
from aiotwin_nb.inference.proxy.limits import Limits
from aiotwin_nb.inference.proxy.upstream import Connection

LAST_CHUNK = b"0\r\n\r\n"


class BadBody(Exception):
    """The client sent no proper body: it stopped, broke off, or its framing is wrong."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


class RequestBody:
    """The body of one request: read once from the client, kept while it is small so that it can be sent again."""

    __slots__ = ("_content", "_kept", "_limits", "_size", "framing", "length", "replayable")

    def __init__(self, content: StreamReader, length: int | None, limits: Limits) -> None:
        self._content = content
        self._limits = limits
        self._kept: list[bytes] = []
        self._size = 0
        self.replayable = True
        none = length is None and content.at_eof()
        self.length = 0 if none else length
        self.framing = b"" if none else CHUNKED if length is None else length_field(length)

    @property
    def here(self) -> bool:
        """Whether nothing of it is still to come."""
        return self._content.at_eof()

    @property
    def small(self) -> bool:
        """Whether it is known to be so small that it is better waited for than passed on in pieces."""
        return self.length is not None and self.length <= self._limits.replay

    async def receive(self) -> None:
        """Wait for all of a small one; raises BadBody."""
        while not self._content.at_eof():
            await self._next()

    def whole(self) -> bytes:
        """Return all of it as it is sent, once it is here."""
        if self.length is None:
            return b"".join((*map(chunk, self._kept), LAST_CHUNK))
        return b"".join(self._kept)

    async def send(self, connection: Connection) -> None:
        """Write it, with what has been received already first; raises BadBody, InstanceError."""
        framed = self.length is None
        for piece in tuple(self._kept):
            await self._write(connection, piece, framed)
        while not self._content.at_eof():
            if piece := await self._next():
                await self._write(connection, piece, framed)
        if framed:
            connection.send(LAST_CHUNK)

    async def _write(self, connection: Connection, piece: bytes, framed: bool) -> None:
        connection.send(chunk(piece) if framed else piece)
        await connection.drained(self._limits.idle)

    async def _next(self) -> bytes:
        """Read a piece; it is kept before anything else happens to it."""
        try:
            piece = self._content.read_nowait(-1)
            if not piece and not self._content.at_eof():
                async with asyncio.timeout(self._limits.idle):
                    piece = await self._content.readany()
        except TimeoutError:
            raise BadBody(408, f"nothing of the body came for {self._limits.idle:g} s") from None
        except (RequestPayloadError, HttpProcessingError, ConnectionError) as error:
            self._content.feed_eof()  # nobody has to wait for the rest
            raise BadBody(400, f"the body is incomplete or wrongly framed: {error}") from None
        self._keep(piece)
        return piece

    def _keep(self, piece: bytes) -> None:
        self._size += len(piece)
        if self.replayable and self._size <= self._limits.replay:
            self._kept.append(piece)
        else:
            self.replayable = False
            self._kept.clear()


def chunk(piece: bytes) -> bytes:
    """Return a piece of a body as a chunk (RFC 9112, section 7.1)."""
    return b"%x\r\n%b\r\n" % (len(piece), piece)


async def send_to_client(door: RequestHandler, data: bytes, idle: float) -> None:
    """Write to a client and wait until it has taken most of it.

    Raises:
        ConnectionError: it is gone
        TimeoutError: it took nothing for `idle` seconds
    """
    transport = door.transport
    if transport is None or transport.is_closing():
        raise ConnectionResetError("the client is gone")
    transport.write(data)
    if door.writing_paused:
        async with asyncio.timeout(idle):
            await door._drain_helper()


def break_off(door: RequestHandler) -> None:
    """End a client's connection by a reset: an answer that the connection's end would complete is not complete."""
    transport = door.transport
    if transport is None:
        return
    if (channel := transport.get_extra_info("socket")) is not None:
        channel.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
