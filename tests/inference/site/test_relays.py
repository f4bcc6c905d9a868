"""A link with latency delays bytes, not what they are, and measures requests."""

import asyncio
import time

from aiohttp import ClientSession, web

from aiotwin_nb.inference.site.relays import Relay


async def served(handler):
    app = web.Application(client_max_size=2**26)
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return runner, runner.addresses[0][1]


async def echo(request):
    return web.Response(body=await request.read(), status=503 if request.path == "/full" else 200)


def test_delay_changes_live_and_bodies_arrive_whole():
    async def story():
        runner, port = await served(echo)
        seen = []
        relay = await Relay(port, 0, lambda ms, ok: seen.append((ms, ok))).start()
        body = bytes(range(256)) * 12_000  # more than all queues hold
        took = []
        async with ClientSession() as session:
            for rtt in (0, 200, 0):
                relay.rtt_ms = rtt
                start = time.monotonic()
                async with session.post(f"{relay.url}/x", data=b"small") as answer:
                    assert await answer.read() == b"small"
                took.append(time.monotonic() - start)
            async with session.post(f"{relay.url}/x", data=body) as answer:
                assert await answer.read() == body
            async with session.get(f"{relay.url}/ready") as answer:
                assert answer.status == 200
            async with session.post(f"{relay.url}/full", data=b"") as answer:
                assert answer.status == 503
        await relay.close()
        await relay.close()
        await runner.cleanup()
        return took, seen

    took, seen = asyncio.run(story())
    assert took[1] >= 0.2
    assert [ok for _, ok in seen] == [True, True, True, True, False]  # the probe counts for nothing
    assert seen[1][0] >= 99  # half of the way back lies after the first byte out


def test_nobody_at_the_other_end():
    async def story():
        relay = await Relay(1, 0).start()
        reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
        async with asyncio.timeout(5):
            assert await _end(reader) == b""
        writer.close()
        await relay.close()

    asyncio.run(story())


def test_a_broken_answer_is_a_failure():
    async def story():
        async def cut(reader, writer):
            await reader.read(10)
            writer.transport.abort()

        server = await asyncio.start_server(cut, "127.0.0.1", 0)
        seen = []
        relay = await Relay(server.sockets[0].getsockname()[1], 0, lambda ms, ok: seen.append(ok)).start()
        reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
        writer.write(b"POST /predict HTTP/1.1\r\n\r\n")
        async with asyncio.timeout(5):
            assert await _end(reader) == b""
        writer.close()
        await relay.close()
        server.close()
        return seen

    assert asyncio.run(story()) == [False]


async def _end(reader):
    try:
        return await reader.read()
    except ConnectionError:
        return b""
