"""Instances that fail: who is asked again, who never is, and what the client is told."""

import asyncio
import json
from dataclasses import replace

import pytest
from aiohttp import web
from proxy_stage import QUICK, Backend, RawBackend, get, in_loop, stage, talk, until

from aiotwin_nb.inference.balancing import policies
from aiotwin_nb.inference.balancing.round_robin import RoundRobin
from aiotwin_nb.inference.proxy import FixedSource, Proxy
from aiotwin_nb.inference.services import Instance, Service


def state(proxy, instance):
    return proxy.stats()["services"]["svc"]["instances"][instance]


async def break_off(head, reader, writer):
    """Read a request, then end the connection without a byte of an answer."""
    writer.transport.abort()
    raise ConnectionResetError


def asked(*backends):
    return sum(len(getattr(each, "requests", getattr(each, "heads", None))) for each in backends)


RETRIED = [
    get(method="GET"),
    get(method="HEAD"),
    get(method="OPTIONS"),
    get(method="DELETE"),
    get(method="PUT", body=b"small"),
    get("/", "Idempotency-Key: 7", method="POST", body=b"small"),
    get("/", "Transfer-Encoding: chunked", method="PUT").replace(b"Content-Length: 0\r\n", b"")
    + b"3\r\nabc\r\n0\r\n\r\n",
]


@pytest.mark.parametrize(
    "request_", RETRIED, ids=[each.split(b" ")[0].decode() + str(n) for n, each in enumerate(RETRIED)]
)
@in_loop
async def test_what_may_be_repeated_is_sent_once_more_to_another_instance(request_):
    bad, good = RawBackend(break_off), Backend(lambda request, body: web.Response(body=body or b"-"))
    async with stage(bad, good) as proxy:
        assert (await talk(proxy, request_)).status == 200
        assert (asked(bad), asked(good)) == (1, 1)
        assert proxy.stats()["services"]["svc"]["retries"] == 1
        assert proxy.stats()["services"]["svc"]["failed"] == 0


@pytest.mark.parametrize("request_", [get(method="POST", body=b"order"), get(method="PATCH", body=b"x")])
@in_loop
async def test_nothing_else_is_ever_sent_twice(request_):
    async with stage(RawBackend(break_off), RawBackend(break_off)) as proxy:
        got = await talk(proxy, request_)
        assert got.status == 502
        assert "broke the connection off" in json.loads(got.body)["error"]
    async with stage(RawBackend(break_off), Backend()) as proxy:
        statuses = sorted([(await talk(proxy, request_)).status for _ in range(2)])
        assert statuses == [200, 502]


@in_loop
async def test_a_body_too_large_to_keep_is_not_sent_twice():
    async def after_the_body(head, reader, writer):
        await reader.readexactly(300_000)
        await break_off(head, reader, writer)

    bad = RawBackend(after_the_body)
    async with stage(bad, RawBackend(after_the_body)) as proxy:
        assert (await talk(proxy, get(method="PUT", body=bytes(300_000)))).status == 502
        assert proxy.stats()["services"]["svc"]["retries"] == 0


@in_loop
async def test_a_body_that_is_still_coming_goes_on_to_the_other_instance():
    async def after_the_first_piece(head, reader, writer):
        await reader.readuntil(b"first")
        started.set()
        await break_off(head, reader, writer)

    started = asyncio.Event()
    bad, good = RawBackend(after_the_first_piece), Backend(lambda request, body: web.Response(body=body))
    async with stage(bad, good) as proxy:
        reader, writer = await asyncio.open_connection(*proxy.address)
        head = b"PUT / HTTP/1.1\r\nHost: svc\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
        writer.write(head + b"5\r\nfirst\r\n")
        await asyncio.wait_for(started.wait(), 10)
        await until(lambda: good.requests)
        writer.write(b"7\r\n second\r\n0\r\n\r\n")
        assert (await asyncio.wait_for(reader.read(), 10)).endswith(b"first second")
        writer.close()


@in_loop
async def test_a_second_failure_is_the_answer():
    one, two, three = RawBackend(break_off), RawBackend(break_off), RawBackend(break_off)
    async with stage(one, two, three) as proxy:
        assert (await talk(proxy, get())).status == 502
        assert asked(one, two, three) == 2


@in_loop
async def test_what_was_never_sent_may_go_elsewhere_whatever_its_method():
    gone, good = Backend(), Backend()
    async with stage(gone, good, limits=replace(QUICK, probe_every=600.0)) as proxy:
        await gone.kill()
        for _ in range(4):
            assert (await talk(proxy, get(method="POST", body=b"order"))).status == 200
        assert len(good.requests) == 4
        assert not state(proxy, "i0")["in_rotation"]
        assert "no connection" in state(proxy, "i0")["state"]


@in_loop
async def test_an_instance_that_declines_is_passed_over_where_that_is_safe():
    busy = Backend(lambda *_: web.Response(status=503, text="busy", headers={"Retry-After": "7"}))
    good = Backend()
    async with stage(busy, good) as proxy:
        assert [(await talk(proxy, get())).status for _ in range(4)] == [200] * 4
        assert sorted([(await talk(proxy, get(method="POST"))).status for _ in range(2)]) == [200, 503]
    async with stage(busy) as proxy:  # with nobody else to ask, its own words are passed on
        got = await talk(proxy, get())
        assert (got.status, got.body, got.all(b"retry-after")) == (503, b"busy", [b"7"])
        assert proxy.stats()["services"]["svc"]["failed"] == 1


@in_loop
async def test_a_kept_connection_that_has_ended_is_replaced_by_a_new_one_for_the_only_instance():
    count = 0

    async def answer(head, reader, writer):
        nonlocal count
        count += 1
        if count == 2:  # on the kept connection
            await break_off(head, reader, writer)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    async with stage(RawBackend(answer), limits=replace(QUICK, probe_every=600.0)) as proxy:
        assert [(await talk(proxy, get())).status for _ in range(2)] == [200, 200]
        assert count == 3


@in_loop
async def test_without_an_instance_the_reason_is_said_and_when_to_come_again():
    async with stage() as proxy:
        got = await talk(proxy, get())
        assert (got.status, got.all(b"retry-after")) == (503, [b"1"])
        assert json.loads(got.body) == {"error": "svc has no instance"}
    unready = Backend()
    unready.ready = False
    async with stage(unready) as proxy:
        got = await talk(proxy, get())
        assert got.status == 503
        assert "i0: not ready: it answers 503 to /ready" in json.loads(got.body)["error"]
        unready.ready = True
        await until(lambda: state(proxy, "i0")["in_rotation"])
        assert (await talk(proxy, get())).status == 200
        assert proxy.stats()["services"]["svc"]["failed"] == 1


@in_loop
async def test_an_instance_that_the_platform_holds_unready_is_not_asked():
    backend = await Backend().start()
    source = FixedSource(Service("svc", (Instance("a", backend.url, "n", ready=False),)))
    async with Proxy(source, limits=QUICK) as proxy:
        assert json.loads((await talk(proxy, get())).body) == {"error": "no instance of svc is ready"}
        source.put(Service("svc", (Instance("a", backend.url, "n"),)))
        await until(
            lambda: state(proxy, "a")["in_rotation"] if proxy.stats()["services"]["svc"]["instances"] else False
        )
        assert (await talk(proxy, get())).status == 200
    await backend.kill()


@in_loop
async def test_a_killed_instance_comes_back_when_it_is_ready_again():
    backend = Backend()
    async with stage(backend) as proxy:
        await backend.kill()
        assert (await talk(proxy, get())).status in (502, 503)
        await until(lambda: not state(proxy, "i0")["in_rotation"])
        await backend.start()
        await until(lambda: state(proxy, "i0")["in_rotation"])
        assert (await talk(proxy, get())).status == 200


@in_loop
async def test_an_instance_that_is_silent_is_given_up_and_no_longer_asked():
    async def silent(head, reader, writer):
        await asyncio.sleep(30)

    limits = replace(QUICK, answer=0.1, probe_every=600.0)
    async with stage(RawBackend(silent), limits=limits) as proxy:
        for _ in range(3):
            got = await talk(proxy, get())
            assert got.status == 504
            assert json.loads(got.body)["error"] == "instance i0: no answer within 0.1 s"
        await until(lambda: state(proxy, "i0")["failed"] == 3)


@in_loop
async def test_a_probe_without_an_answer_in_time_is_said_to_be_late():
    backend = await asyncio.start_server(lambda reader, writer: asyncio.sleep(30), "127.0.0.1", 0)
    url = f"http://127.0.0.1:{backend.sockets[0].getsockname()[1]}"
    source = FixedSource(Service("svc", (Instance("i0", url, "n"),)))
    async with Proxy(source, limits=replace(QUICK, probe=0.1)) as proxy:
        await until(lambda: state(proxy, "i0")["state"] == "probe: no answer within 0.1 s")
    backend.close()


@in_loop
async def test_an_answer_that_is_no_http_is_a_bad_gateway():
    async def nonsense(head, reader, writer):
        writer.write(b"220 mail.example ESMTP\r\n\r\n")

    async with stage(RawBackend(nonsense)) as proxy:
        assert (await talk(proxy, get())).status == 502


@in_loop
async def test_an_answer_that_breaks_off_is_not_taken_for_complete():
    async def half(head, reader, writer):
        if b"/chunked" in head:
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n")
        else:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        await writer.drain()
        await asyncio.sleep(0.05)
        await break_off(head, reader, writer)

    async with stage(RawBackend(half)) as proxy:
        for path in ("/length", "/chunked"):
            reader, writer = await asyncio.open_connection(*proxy.address)
            writer.write(get(path))
            data = b""
            try:
                while piece := await asyncio.wait_for(reader.read(1000), 10):
                    data += piece
            except ConnectionError:
                pass
            writer.close()
            assert data.startswith(b"HTTP/1.1 200 OK")
            assert not data.endswith(b"0\r\n\r\n")
        assert proxy.stats()["services"]["svc"]["retries"] == 0


@in_loop
async def test_an_answer_that_stops_coming_is_broken_off():
    async def stall(head, reader, writer):
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        await asyncio.sleep(30)

    async with stage(RawBackend(stall), limits=replace(QUICK, idle=0.2)) as proxy:
        with pytest.raises(ConnectionError):
            await talk(proxy, get())
        await until(lambda: proxy.stats()["in_flight"] == 0)


@in_loop
async def test_requests_in_flight_are_bounded_per_instance_and_in_total():
    release = asyncio.Event()

    async def slow(*_):
        await release.wait()
        return web.Response()

    for limits, said in (
        (replace(QUICK, in_flight_per_instance=2), "every instance of svc has 2 requests in flight"),
        (replace(QUICK, in_flight=2), "2 requests are in flight"),
    ):
        release.clear()
        backend = Backend(slow)
        async with stage(backend, limits=limits) as proxy:
            waiting = [asyncio.create_task(talk(proxy, get())) for _ in range(2)]
            await until(lambda: len(backend.requests) == 2)  # noqa: B023
            got = await talk(proxy, get())
            assert (got.status, got.all(b"retry-after")) == (503, [b"1"])
            assert json.loads(got.body)["error"] == said
            release.set()
            assert [each.status for each in await asyncio.gather(*waiting)] == [200, 200]
            assert (await talk(proxy, get())).status == 200


@in_loop
async def test_a_loop_of_proxies_ends():
    source = FixedSource()
    async with Proxy(source, node="n1", limits=QUICK) as proxy:
        source.put(Service("svc", (Instance("itself", proxy.url, "n1"),)))
        await until(lambda: "svc" in proxy.stats()["services"])
        await until(lambda: state(proxy, "itself")["in_rotation"])
        assert (await talk(proxy, get())).status in (404, 508)  # its own address is no service's name


@in_loop
async def test_what_has_this_proxy_on_its_way_already_is_refused():
    async with stage(Backend(), node="n1") as proxy:
        assert (await talk(proxy, get("/", "Via: 1.1 aiotwin-n1"))).status == 508
        assert (await talk(proxy, get("/", "Via: 1.1 aiotwin-n2"))).status == 200


class Told:
    """Estimates that remember what they were told."""

    def __init__(self):
        self.calls = []

    def sent(self, instance, now):
        self.calls.append(("sent", instance))

    def answered(self, instance, latency_ms, now):
        self.calls.append(("answered", instance, latency_ms))

    def failed(self, instance, now):
        self.calls.append(("failed", instance))

    def pinged(self, instance, latency_ms, now):
        self.calls.append(("pinged", instance, latency_ms))

    def loaded(self, node, share, now):
        self.calls.append(("loaded", node, share))


@in_loop
async def test_the_policy_learns_what_became_of_every_attempt():
    bad, good = RawBackend(break_off), Backend()
    async with stage(bad, good) as proxy:
        route = proxy.routes.by_name["svc"]
        count = route.estimates.number
        told = route.estimates = Told()
        told.number = count
        await talk(proxy, get())
        proxy.source.put(*(each.service for each in proxy.routes.by_name.values()), loads={"n0": 0.5})
        await until(lambda: ("loaded", "n0", 0.5) in told.calls)
        kinds = [call[:2] for call in told.calls if call[0] != "loaded"]
        assert kinds == [("sent", "i0"), ("failed", "i0"), ("sent", "i1"), ("answered", "i1")]
        assert 0 < told.calls[3][2] < 10_000


class Pings(RoundRobin):
    """Wants everything to be pinged once."""

    def probes(self, instances, estimates, now):
        return () if any(call[0] == "pinged" for call in estimates.calls) else instances

    def choose(self, instances, estimates, now):
        return instances[0]


@in_loop
async def test_a_policy_that_wants_pings_gets_them():
    async with stage(Backend(), Backend()) as proxy:
        route = proxy.routes.by_name["svc"]
        route._policy, told = Pings(), Told()
        route.estimates = told
        await talk(proxy, get())
        await until(lambda: len([call for call in told.calls if call[0] == "pinged"]) == 2)
        assert all(0 < call[2] < 10_000 for call in told.calls if call[0] == "pinged")


@pytest.mark.parametrize("policy", policies.names())
@in_loop
async def test_every_policy_drives_the_proxy(policy):
    backends = [Backend(), Backend()]
    async with stage(*backends, policy=policy, node="n0") as proxy:
        for _ in range(10):
            assert (await talk(proxy, get())).status == 200
        assert asked(*backends) == 10


@pytest.mark.slow
@in_loop
async def test_no_request_fails_when_instances_are_killed_one_after_the_other_under_load():
    backends = [Backend(), Backend(), Backend()]
    async with stage(*backends) as proxy:
        statuses, ending = [], asyncio.Event()

        async def client():
            while not ending.is_set():
                statuses.append((await talk(proxy, get())).status)
                await asyncio.sleep(0.01)

        clients = [asyncio.create_task(client()) for _ in range(10)]
        for index, backend in enumerate(backends):
            await until(lambda: all(state(proxy, f"i{n}")["in_rotation"] for n in range(3)))
            enough = len(statuses) + 100
            await until(lambda: len(statuses) > enough)  # noqa: B023
            await backend.kill()
            await until(lambda: not state(proxy, f"i{index}")["in_rotation"])  # noqa: B023
            await backend.start()
        ending.set()
        await asyncio.gather(*clients)
        assert set(statuses) == {200}
