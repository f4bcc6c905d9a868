"""Real instances, a real proxy and raw clients, all on loopback in the test's own event loop."""

import asyncio
import functools
import logging
import os
import time
from contextlib import asynccontextmanager, suppress

import uvloop
from aiohttp import web

from aiotwin_nb.inference.proxy import FixedSource, Limits, Proxy
from aiotwin_nb.inference.services import Instance, Service

SILENT = logging.Logger("instance", logging.CRITICAL + 1)  # what breaks off at an instance is meant to
LOOP = None if os.environ.get("AIOTWIN_TEST_LOOP") == "asyncio" else uvloop.Loop
QUICK = Limits(probe_every=0.2, probe_again=0.1, drain=5.0)


def in_loop(test):
    """Run an asynchronous test, in the loop that the command uses; it must end within a minute."""

    @functools.wraps(test)
    def wrapped(*args, **kwargs):
        with asyncio.Runner(loop_factory=LOOP) as runner:
            runner.run(asyncio.wait_for(test(*args, **kwargs), 60))

    return wrapped


async def until(condition, seconds=20.0):
    """Wait for a condition."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the condition did not come true"
        await asyncio.sleep(0.01)


class Backend:
    """An HTTP instance whose answers a test decides; it remembers what it was asked."""

    def __init__(self, answer=None, port=0):
        self.answer = answer or (lambda request, body: web.Response(text="hello"))
        self.port = port
        self.ready = True
        self.requests = []

    async def start(self):
        server = web.Server(self._handle, access_log=None, logger=SILENT, auto_decompress=False)
        self.server = server
        self.listener = await asyncio.get_running_loop().create_server(server, "127.0.0.1", self.port)
        self.port = self.listener.sockets[0].getsockname()[1]
        return self

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    async def kill(self):
        """No more connections, and those that are open are torn down."""
        self.listener.close()
        for connection in self.server.connections:
            if connection.transport is not None:
                connection.transport.abort()
        await asyncio.sleep(0)

    async def _handle(self, request):
        if request.raw_path == "/ready":
            return web.Response(status=200 if self.ready else 503)
        self.requests.append(request)
        body = await request.content.read()
        answer = self.answer(request, body)
        return await answer if asyncio.iscoroutine(answer) else answer


class RawBackend:
    """An instance that answers probes, and everything else with whatever a test writes to the socket."""

    def __init__(self, talk):
        self.talk = talk
        self.heads = []

    async def start(self):
        self.listener = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self.listener.sockets[0].getsockname()[1]}"
        return self

    async def kill(self):
        self.listener.close()

    async def _connected(self, reader, writer):
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                if head.startswith(b"GET /ready "):
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                    continue
                self.heads.append(head)
                await self.talk(head, reader, writer)
        writer.close()


@asynccontextmanager
async def stage(*backends, limits=QUICK, bound_ms=300.0, policy="round_robin", **options):
    """A proxy before the service `svc` with these backends as its instances i0, i1, …"""
    for backend in backends:
        await backend.start()
    instances = tuple(Instance(f"i{index}", each.url, f"n{index}") for index, each in enumerate(backends))
    source = FixedSource(Service("svc", instances, bound_ms))
    try:
        async with Proxy(source, policy, limits=limits, **options) as proxy:
            proxy.source = source
            yield proxy
    finally:
        for backend in backends:
            await backend.kill()


class Answer:
    """An answer as it came over the wire."""

    def __init__(self, data):
        self.data = data
        head, self.found, self.body = data.partition(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        self.line = lines[0]
        self.status = int(lines[0].split()[1]) if data else None
        self.fields = [tuple(line.split(b": ", 1)) for line in lines[1:]]

    def all(self, name):
        return [value for key, value in self.fields if key.lower() == name.lower()]


async def talk(proxy, data, *, end=False, seconds=10.0):
    """Send bytes and read until the proxy closes; `end` closes the own half after sending."""
    reader, writer = await asyncio.open_connection(*proxy.address)
    try:
        writer.write(data)
        if end:
            writer.write_eof()
        return Answer(await asyncio.wait_for(reader.read(), seconds))
    finally:
        writer.close()


def get(path="/", *fields, method="GET", host="svc", body=b"", close=True):
    """A request as bytes."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", *fields]
    if body or method in ("POST", "PUT"):
        lines.append(f"Content-Length: {len(body)}")
    if close:
        lines.append("Connection: close")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body
