"""Clients that are slow, wrong, gone or too many: bounded, and answered where anybody listens."""

import asyncio
import json
import random
import socket
import struct
from dataclasses import replace

import pytest
from aiohttp import web
from proxy_stage import QUICK, Backend, RawBackend, get, in_loop, stage, talk, until


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/9.9\r\nHost: svc\r\n\r\n", 400),
        (b"BREW / HTTP/1.1\r\nHost: svc\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: svc\r\nno colon\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: svc\r\nA : b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET nonsense HTTP/1.1\r\nHost: svc\r\n\r\n", 400),
        (b"GET http://[bad/ HTTP/1.1\r\nHost: svc\r\n\r\n", 400),
        (b"GET http:/// HTTP/1.1\r\nHost: svc\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: svc\r\nHost: other\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: svc\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: svc\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx", 400),
        (b"POST / HTTP/1.1\r\nHost: svc\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: svc\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: svc\r\nX: " + b"a" * 9000 + b"\r\n\r\n", 431),
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: svc\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: svc\r\n" + b"".join(b"X-%d: a\r\n" % n for n in range(200)) + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: svc\r\n" + b"X: " + b"a" * 200_000, 431),
    ],
)
@in_loop
async def test_what_is_no_proper_request_is_answered_and_goes_to_no_instance(data, status):
    backend = Backend()
    async with stage(backend) as proxy:
        got = await talk(proxy, data)
        assert got.status == status
        assert json.loads(got.body)["error"]
        assert not backend.requests
        assert (await talk(proxy, get())).status == 200  # it goes on


@in_loop
async def test_whatever_comes_the_proxy_answers_or_closes_and_goes_on(caplog):
    draw = random.Random(7)
    whole = get("/a?b", "X-One: 1", "Transfer-Encoding: chunked", method="PATCH") + b"5\r\nhello\r\n0\r\n\r\n"
    async with stage(Backend()) as proxy:
        for _ in range(300):
            data = bytearray(whole)
            for _ in range(draw.randint(1, 4)):
                place = draw.randrange(len(data))
                data[place : place + draw.randint(0, 3)] = draw.choice([b"", b"\r\n", b":", b"\x00", draw.randbytes(2)])
            got = await talk(proxy, bytes(data), end=True)
            assert got.status in (None, 200, 400, 404, 405, 408, 417, 431, 501)
        assert (await talk(proxy, get())).status == 200
        await until(lambda: proxy.connections == 0)
        assert proxy.stats()["in_flight"] == 0
    assert not [record.message for record in caplog.records if record.levelname in ("ERROR", "CRITICAL")]


@in_loop
async def test_a_head_that_comes_drop_by_drop_is_ended_in_time():
    async with stage(Backend(), limits=replace(QUICK, receive_head=0.3)) as proxy:
        reader, writer = await asyncio.open_connection(*proxy.address)
        dropping = asyncio.create_task(_drop_by_drop(writer, get("/", "X: " + "a" * 1000)))
        data = await asyncio.wait_for(reader.read(), 10)
        assert data.startswith(b"HTTP/1.1 408 Request Timeout")
        await dropping
        await until(lambda: proxy.connections == 0)


async def _drop_by_drop(writer, data):
    for letter in data:
        if writer.transport.is_closing():
            return
        writer.write(bytes([letter]))
        await asyncio.sleep(0.02)


@in_loop
async def test_a_body_that_stops_coming_is_ended_in_time():
    backend = Backend()
    async with stage(backend, limits=replace(QUICK, idle=0.2)) as proxy:
        got = await talk(proxy, get("/", "Content-Length: 10") + b"half")
        assert got.status == 408
        assert not backend.requests  # a small body is waited for before an instance is asked
        got = await talk(proxy, get("/", "Content-Length: 1000000") + b"half")
        assert got.status == 408
        await until(lambda: proxy.stats()["in_flight"] == 0)
        assert proxy.stats()["services"]["svc"]["failed"] == 0  # the client's fault


@in_loop
async def test_a_client_that_closes_its_half_after_its_requests_is_answered():
    async def slow(request, body):
        await asyncio.sleep(0.1)
        return web.Response(text=request.raw_path)

    async with stage(Backend(slow)) as proxy:
        got = await talk(proxy, get("/1", close=False) + get("/2", close=False), end=True)
        assert got.data.count(b"200 OK") == 2
        assert got.data.endswith(b"/2")
        await until(lambda: proxy.connections == 0)


@in_loop
async def test_a_client_that_closes_its_half_within_a_request_is_told_so():
    backend = Backend()
    async with stage(backend) as proxy:
        assert (await talk(proxy, b"GET / HTTP/1.1\r\nHo", end=True)).status == 400
        for fields in (("Content-Length: 10",), ("Content-Length: 1000000",), ("Transfer-Encoding: chunked",)):
            got = await talk(proxy, get("/", *fields, method="PATCH") + b"3\r\nabc", end=True)
            assert got.status == 400, fields
        assert (await talk(proxy, b"", end=True)).data == b""
        assert not [each for each in backend.requests if each.content.is_eof()]
        await until(lambda: proxy.connections == 0)


@in_loop
async def test_the_instance_is_left_alone_when_the_client_is_gone():
    gone = asyncio.Event()

    async def wait(head, reader, writer):
        await reader.read()
        gone.set()
        raise ConnectionResetError

    async with stage(RawBackend(wait)) as proxy:
        _, writer = await asyncio.open_connection(*proxy.address)
        writer.write(get())
        await until(lambda: proxy.stats()["in_flight"] == 1)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
        await asyncio.wait_for(gone.wait(), 10)
        await until(lambda: proxy.stats()["in_flight"] == 0)
        instance = proxy.stats()["services"]["svc"]["instances"]["i0"]
        assert (instance["in_flight"], instance["in_rotation"]) == (0, True)


@in_loop
async def test_a_client_that_takes_nothing_of_its_answer_is_cut_off():
    backend = Backend(lambda *_: web.Response(body=bytes(30_000_000)))
    async with stage(backend, limits=replace(QUICK, idle=0.2)) as proxy:
        _, writer = await asyncio.open_connection(*proxy.address, limit=1000)
        writer.write(get())
        await until(lambda: backend.requests)
        await until(lambda: proxy.connections == 0)
        writer.close()


@in_loop
async def test_idle_connections_end_and_too_many_are_turned_away():
    async with stage(Backend(), limits=replace(QUICK, keep_alive=0.3, connections=2)) as proxy:
        one = await asyncio.open_connection(*proxy.address)
        two = await asyncio.open_connection(*proxy.address)
        two[1].write(get(close=False))
        await two[0].readuntil(b"hello")
        turned_away = await talk(proxy, b"")
        assert turned_away.status == 503
        assert turned_away.all(b"retry-after") == [b"1"]
        assert await asyncio.wait_for(one[0].read(), 10) == b""
        assert await asyncio.wait_for(two[0].read(), 10) == b""
        assert (await talk(proxy, get())).status == 200
        for _, writer in (one, two):
            writer.close()


@in_loop
async def test_draining_ends_what_is_idle_lets_requests_end_and_takes_no_more():
    release = asyncio.Event()

    async def slow(request, body):
        await release.wait()
        return web.Response(body=body)

    backend = Backend(slow)
    async with stage(backend) as proxy:
        address = proxy.address
        idle = await asyncio.open_connection(*address)
        answering = asyncio.create_task(talk(proxy, get(close=False)))
        sending = await asyncio.open_connection(*address)
        sending[1].write(
            get("/", "Content-Length: 8", method="PUT", close=False).replace(b"Content-Length: 0\r\n", b"")
        )
        await until(lambda: backend.requests and proxy.stats()["in_flight"] == 2)
        closing = asyncio.create_task(proxy.close())
        assert await asyncio.wait_for(idle[0].read(), 10) == b""
        assert proxy.ready is False
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(*address)
        sending[1].write(b"the rest")
        release.set()
        got = await answering
        assert (got.status, got.all(b"connection")) == (200, [b"close"])
        assert (await asyncio.wait_for(sending[0].read(), 10)).endswith(b"the rest")
        assert await closing == 0
        for _, writer in (idle, sending):
            writer.close()


@in_loop
async def test_draining_does_not_wait_for_ever():
    async def never(*_):
        await asyncio.sleep(60)

    backend = Backend(never)
    async with stage(backend) as proxy:
        asked = asyncio.create_task(talk(proxy, get()))
        await until(lambda: backend.requests)
        assert await proxy.close(drain=0.1) == 1
        assert (await asked).data == b""
