"""Requests and answers pass through unchanged but for what belongs to one connection."""

import asyncio
import json

import pytest
from aiohttp import ClientSession, web
from proxy_stage import QUICK, Backend, RawBackend, get, in_loop, stage, talk, until


@in_loop
async def test_status_reason_and_repeated_fields_are_the_instances_own():
    async def answer(head, reader, writer):
        writer.write(
            b"HTTP/1.1 299 Rather Good\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nX-Latin: \xe9\r\n"
            b"Connection: X-Hop\r\nX-Hop: 1\r\nContent-Length: 2\r\n\r\nok"
        )

    backend = RawBackend(answer)
    async with stage(backend, node="n 7") as proxy:
        got = await talk(proxy, get("/a//b/../c?", "X-Latin: \xe9", "X-Forwarded-For: 1.2.3.4"))
    assert got.line == b"HTTP/1.1 299 Rather Good"
    assert got.all(b"set-cookie") == [b"a=1", b"b=2"]
    assert got.all(b"x-latin") == [b"\xe9"]
    assert got.all(b"via") == [b"1.1 aiotwin-n-7"]
    assert not {name for name, _ in got.fields} & {b"X-Hop", b"Server", b"Date", b"Content-Type"}
    assert got.body == b"ok"
    sent = backend.heads[0].split(b"\r\n")
    assert sent[0] == b"GET /a//b/../c? HTTP/1.1"
    assert b"X-Latin: \xe9" in sent
    assert b"X-Forwarded-For: 1.2.3.4, 127.0.0.1" in sent
    assert b"X-Forwarded-Host: svc" in sent
    assert not [line for line in sent if line.lower().startswith((b"user-agent", b"accept", b"connection"))]


@pytest.mark.parametrize("host", ["svc", "SVC", "svc:8080", "svc.default.svc.cluster.local", "svc."])
@in_loop
async def test_the_host_names_the_service(host):
    async with stage(Backend()) as proxy:
        assert (await talk(proxy, get(host=host))).body == b"hello"


@in_loop
async def test_an_unknown_host_is_told_the_known_ones():
    async with stage(Backend()) as proxy:
        got = await talk(proxy, get(host="svd"))
        assert got.status == 404
        assert json.loads(got.body) == {"error": "unknown host 'svd'. Did you mean 'svc'?", "services": ["svc"]}
        assert (await talk(proxy, get(host="x." * 4000))).status == 404
        assert (await talk(proxy, b"GET / HTTP/1.0\r\n\r\n")).status == 404


@in_loop
async def test_the_absolute_form_names_host_and_path():
    backend = Backend(lambda request, body: web.Response(text=request.raw_path))
    async with stage(backend) as proxy:
        assert (await talk(proxy, get("http://svc:1/p?q", host="other"))).body == b"/p?q"
        assert (await talk(proxy, get("http://svc", host="other"))).body == b"/"


@in_loop
async def test_bodies_of_every_framing_arrive_whole_in_both_directions():
    async def echo(request, body):
        answer = web.StreamResponse()
        if "Chunked" in request.headers:
            answer.enable_chunked_encoding()
        else:
            answer.content_length = len(body)
        await answer.prepare(request)
        await answer.write(body)
        return answer

    backend = Backend(echo)
    small, large = bytes(range(256)), bytes(range(256)) * 8000  # 2 MB: above what is kept
    async with stage(backend) as proxy, ClientSession() as session:
        for body in (b"", small, large):
            for data in (body, _pieces(body)):
                for fields in ({"Host": "svc"}, {"Host": "svc", "Chunked": "1"}):
                    async with session.post(proxy.url, data=data, headers=fields) as got:
                        assert got.status == 200
                        assert await got.read() == body
                    data = body if data is body else _pieces(body)
        assert len(proxy._doors.connections_open) == 1  # one connection was enough


async def _pieces(body):
    for start in range(0, len(body), 50_000):
        yield body[start : start + 50_000]


@in_loop
async def test_answers_without_a_body_have_none():
    def answer(request, body):
        if request.method == "HEAD":
            return web.Response(headers={"Content-Length": "1234"})
        return web.Response(status=int(request.raw_path[1:]), headers={"ETag": "x"})

    async with stage(Backend(answer)) as proxy:
        got = await talk(proxy, get("/", method="HEAD"))
        assert (got.status, got.all(b"content-length"), got.body) == (200, [b"1234"], b"")
        for status in (204, 304):
            got = await talk(proxy, get(f"/{status}"))
            assert (got.status, got.all(b"etag"), got.body) == (status, [b"x"], b"")
            assert not got.all(b"transfer-encoding")
        both = await talk(proxy, get("/204", close=False) + get("/304"))
        assert both.data.count(b"HTTP/1.1 ") == 2


@in_loop
async def test_an_old_client_gets_no_chunks():
    async def answer(head, reader, writer):
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        await writer.drain()
        await asyncio.sleep(0.05)  # so that it is not here at once
        writer.write(b"3\r\ndef\r\n0\r\n\r\n")

    async with stage(RawBackend(answer)) as proxy:
        got = await talk(proxy, b"GET / HTTP/1.0\r\nHost: svc\r\nConnection: keep-alive\r\n\r\n")
        assert got.body == b"abcdef"
        assert not got.all(b"transfer-encoding")
        assert got.all(b"connection") == [b"close"]


@in_loop
async def test_an_old_client_keeps_its_connection_when_it_asks_for_it():
    async with stage(Backend()) as proxy:
        once = b"GET / HTTP/1.0\r\nHost: svc\r\nConnection: keep-alive\r\n\r\n"
        got = await talk(proxy, once + b"GET / HTTP/1.0\r\nHost: svc\r\n\r\n")
        assert got.data.count(b"200 OK") == 2
        assert got.data.count(b"Connection: keep-alive") == 1


@in_loop
async def test_an_answer_that_ends_with_its_connection_is_passed_on_whole():
    async def answer(head, reader, writer):
        writer.write(b"HTTP/1.0 200 OK\r\n\r\nuntil the end")
        writer.close()

    async with stage(RawBackend(answer)) as proxy:
        got = await talk(proxy, get())
        assert b"until the end" in got.body


@in_loop
async def test_pipelined_requests_are_answered_in_order():
    backend = Backend(lambda request, body: web.Response(text=request.raw_path))
    async with stage(backend) as proxy:
        got = await talk(proxy, b"".join(get(f"/{n}", close=n == 9) for n in range(10)))
    assert [int(part[:1]) for part in got.data.split(b"\r\n\r\n/")[1:]] == list(range(10))


@in_loop
async def test_connections_to_an_instance_are_used_again():
    ports = set()

    def answer(request, body):
        ports.add(request.transport.get_extra_info("peername")[1])
        return web.Response()

    async with stage(Backend(answer)) as proxy:
        for _ in range(20):
            await talk(proxy, get())
    assert len(ports) <= 2  # the probes' one, and perhaps one more


@in_loop
async def test_a_client_that_waits_for_the_go_ahead_gets_it_and_another_expectation_is_refused():
    backend = Backend(lambda request, body: web.Response(text=f"{body.decode()} {request.headers.get('Expect')}"))
    async with stage(backend) as proxy:
        reader, writer = await asyncio.open_connection(*proxy.address)
        writer.write(get("/", "Expect: 100-continue", "Content-Length: 4"))
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"body")
        assert (await reader.read()).endswith(b"body None")
        writer.close()
        assert (await talk(proxy, get("/", "Expect: tea", "Content-Length: 4"), end=True)).status == 417


@in_loop
async def test_an_answer_that_comes_before_the_whole_request_is_passed_on():
    async def answer(head, reader, writer):
        writer.write(b"HTTP/1.1 413 Too Much\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")
        await writer.drain()
        await reader.read(100)

    backend = RawBackend(answer)
    async with stage(backend) as proxy:
        reader, writer = await asyncio.open_connection(*proxy.address)
        writer.write(get("/", "Transfer-Encoding: chunked", method="PATCH", close=False) + b"5\r\nhello\r\n")
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\nno"), 10)
        assert head.startswith(b"HTTP/1.1 413 Too Much")
        assert b"Connection: close" in head
        writer.close()
        await until(lambda: proxy.stats()["in_flight"] == 0)


@in_loop
async def test_interim_answers_are_not_taken_for_the_answer():
    async def answer(head, reader, writer):
        writer.write(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    async with stage(RawBackend(answer)) as proxy:
        assert (await talk(proxy, get())).line == b"HTTP/1.1 200 OK"


@in_loop
async def test_upgrades_and_tunnels_are_refused():
    async with stage(Backend()) as proxy:
        upgrade = await talk(proxy, get("/", "Upgrade: websocket", "Connection: upgrade", close=False), end=True)
        assert upgrade.status == 501
        assert (await talk(proxy, get("svc:443", method="CONNECT"), end=True)).status in (400, 501)
        assert proxy.stats()["services"]["svc"]["requests"] == 0


@in_loop
async def test_a_slow_reader_holds_the_instance_back_instead_of_filling_the_memory():
    sent = 0

    async def endless(request, body):
        nonlocal sent
        answer = web.StreamResponse()
        answer.content_length = 500_000_000
        await answer.prepare(request)
        while True:
            await answer.write(bytes(100_000))
            sent += 100_000

    async with stage(Backend(endless)) as proxy:
        _, writer = await asyncio.open_connection(*proxy.address, limit=1000)
        writer.write(get())
        before = -1
        while sent != before or not sent:  # until nothing moves any more
            before = sent
            await asyncio.sleep(0.3)
        assert sent < 50_000_000  # what the sockets of three connections hold
        writer.transport.abort()
        await until(lambda: proxy.stats()["in_flight"] == 0)


@in_loop
async def test_a_slow_instance_holds_the_client_back_instead_of_filling_the_memory():
    release = asyncio.Event()

    async def wait(head, reader, writer):
        await release.wait()

    async with stage(RawBackend(wait)) as proxy:
        _, writer = await asyncio.open_connection(*proxy.address)
        writer.write(get("/", "Content-Length: 500000000", method="PATCH"))
        sent, piece = 0, bytes(100_000)
        try:
            while True:
                writer.write(piece)
                await asyncio.wait_for(writer.drain(), 1.0)
                sent += len(piece)
        except TimeoutError:
            assert sent < 50_000_000
        writer.transport.abort()
        release.set()
        await until(lambda: proxy.stats()["in_flight"] == 0)


@in_loop
async def test_clients_are_told_apart_by_their_name_or_their_address():
    async with stage(Backend()) as proxy:
        await talk(proxy, get("/", "X-Client-Id: cam-1"))
        await talk(proxy, get("/", "X-Client-Id: cam-1"))
        await talk(proxy, get("/", "X-Client-Id: " + "x" * 1000))
        await talk(proxy, get())
        clients = proxy.stats()["services"]["svc"]["clients"]
        assert {name: each["requests"] for name, each in clients.items()} == {"cam-1": 2, "x" * 64: 1, "127.0.0.1": 1}
        assert clients["cam-1"]["share_within_bound"] == 1.0


@in_loop
async def test_the_admin_listener_tells_how_it_is_and_the_clients_one_does_not():
    async with stage(Backend(), admin=("127.0.0.1", 0), limits=QUICK) as proxy, ClientSession() as session:
        await talk(proxy, get("/", "X-Client-Id: cam-1"))
        async with session.get(f"{proxy.admin_url}/stats") as got:
            stats = await got.json()
        assert stats["services"]["svc"]["clients"]["cam-1"]["requests"] == 1
        assert stats["services"]["svc"]["instances"]["i0"]["in_rotation"] is True
        async with session.get(f"{proxy.admin_url}/metrics") as got:
            assert got.content_type == "text/plain"
            lines = (await got.text()).splitlines()
        assert 'aiotwin_proxy_requests_total{service="svc"} 1' in lines
        assert 'aiotwin_proxy_instance_in_rotation{service="svc",instance="i0",node="n0"} 1' in lines
        assert 'aiotwin_proxy_latency_seconds_bucket{service="svc",le="+Inf"} 1' in lines
        for path in ("/health", "/ready"):
            async with session.get(f"{proxy.admin_url}{path}") as got:
                assert got.status == 200
        assert (await talk(proxy, get("/stats"))).body == b"hello"  # the instance's
