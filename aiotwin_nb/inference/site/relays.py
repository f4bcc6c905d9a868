"""Links with latency: a TCP relay that delays what it passes on, and measures what passes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

CHUNK = 65_536
QUEUED = 64  # chunks on their way in one direction of a connection

Seen = Callable[[float, bool], None]


@dataclass
class _Exchange:
    """A request on a connection that waits for its answer; HTTP/1.1 without pipelining has at most one."""

    since: float | None = None


class Relay:
    """Listens on loopback and passes connections on to a port there; bytes need half of `rtt_ms` each way.

    `rtt_ms` may be changed while connections are open; what is on its way keeps its delay. `seen` is called with every
    POST request's latency in ms, from its first byte in to its answer's first byte out, and whether it was answered,
    and not with a 5xx status. (Probes are GET requests, and count for nothing.)
    """

    def __init__(self, port: int, rtt_ms: float = 0.0, seen: Seen | None = None) -> None:
        self.target = port
        self.rtt_ms = rtt_ms
        self._seen = seen or (lambda latency_ms, ok: None)
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.port = 0

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> Relay:
        """Listen on a free port."""
        self._server = await asyncio.start_server(self._took, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def close(self) -> None:
        """Stop to listen and cut all connections; safe to call twice."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _took(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        exchange = _Exchange()
        upstream: asyncio.StreamWriter | None = None
        try:
            answers, upstream = await asyncio.open_connection("127.0.0.1", self.target)
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pass_on(reader, upstream, lambda data: self._asked(exchange, data)))
                both.create_task(self._pass_on(answers, writer, lambda data: None, self._answered_on(exchange)))
        except* (OSError, EOFError):
            pass
        except* asyncio.CancelledError:
            pass
        finally:
            if exchange.since is not None:
                self._end(exchange, ok=False)
            for each in (writer, upstream):
                if each is not None:
                    each.transport.abort()
            self._tasks.discard(task)

    async def _pass_on(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        came: Callable[[bytes], None],
        went: Callable[[bytes], None] = lambda data: None,
    ) -> None:
        """Pass one direction on, each chunk after its delay; a closed end closes the connection (EOFError)."""
        queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(QUEUED)

        async def deliver() -> None:
            while True:
                due, data = await queue.get()
                if (wait := due - time.monotonic()) > 0:
                    await asyncio.sleep(wait)
                if not data:
                    raise EOFError
                went(data)
                writer.write(data)
                await writer.drain()

        async with asyncio.TaskGroup() as group:
            delivering = group.create_task(deliver())
            while data := await reader.read(CHUNK):
                came(data)
                await queue.put((time.monotonic() + self.rtt_ms / 2000, data))
            await queue.put((time.monotonic() + self.rtt_ms / 2000, b""))
            await delivering

    def _asked(self, exchange: _Exchange, data: bytes) -> None:
        if exchange.since is None and data.startswith(b"POST "):
            exchange.since = time.monotonic()

    def _answered_on(self, exchange: _Exchange) -> Callable[[bytes], None]:
        def answered(data: bytes) -> None:
            if exchange.since is not None:
                self._end(exchange, ok=not data.startswith(b"HTTP/1.1 5"))

        return answered

    def _end(self, exchange: _Exchange, *, ok: bool) -> None:
        since, exchange.since = exchange.since, None
        assert since is not None
        with suppress(Exception):  # a measurement must not break what it measures
            self._seen(1000 * (time.monotonic() - since), ok)
