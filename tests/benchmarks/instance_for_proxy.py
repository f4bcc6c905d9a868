"""An instance for bench_proxy.py: `python instance_for_proxy.py PORT`. 1 KB on every path, 100 MB on /large."""

from __future__ import annotations

import asyncio
import sys

import uvloop
from aiohttp import web

KILOBYTE = bytes(1024)
LARGE = 100_000_000
PIECE = bytes(100_000)


async def answer(request: web.BaseRequest) -> web.StreamResponse:
    """Answer with a body of the size that the path asks for, after the whole request has been read."""
    while await request.content.readany():
        pass
    if request.raw_path != "/large":
        return web.Response(body=KILOBYTE)
    response = web.StreamResponse()
    response.content_length = LARGE
    await response.prepare(request)
    for _ in range(LARGE // len(PIECE)):
        await response.write(PIECE)
    return response


async def main(port: int) -> None:
    """Listen until killed."""
    server = web.Server(answer, access_log=None)
    listener = await asyncio.get_running_loop().create_server(server, "127.0.0.1", port, backlog=1024)
    await listener.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
