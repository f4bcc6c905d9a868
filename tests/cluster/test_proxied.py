"""The proxy's services from a real API server, also through one that does everything wrong in front of it."""

import asyncio
import contextlib
import time

import pytest

from aiotwin_nb.errors import AIoTwinError
from aiotwin_nb.inference.proxy import Limits, Proxy
from aiotwin_nb.inference.proxy.cluster_source import ClusterSource, connect
from aiotwin_nb.inference.proxy.endpoints import PROXIED

pytestmark = pytest.mark.k3s


def put(connection, kind, name, content, label=PROXIED, **annotations):
    item = {
        "apiVersion": "v1",
        "kind": kind,
        "metadata": {"name": name, "labels": {label: "true"}, "annotations": annotations},
        **content,
    }
    path = f"/api/v1/namespaces/{connection.namespace}/{'services' if kind == 'Service' else 'endpoints'}/{name}"
    query = {"fieldManager": "tests", "force": "true"}
    connection.request("PATCH", path, query, item, "application/apply-patch+yaml")


def put_service(connection, name="counting", **annotations):
    put(
        connection,
        "Service",
        name,
        {"spec": {"ports": [{"name": "http", "port": 80, "protocol": "TCP"}]}},
        **annotations,
    )


def put_endpoints(connection, *addresses, name="counting", port=8000):
    subset = {
        "addresses": [{"ip": ip} for ip in addresses],
        "ports": [{"name": "http", "port": port, "protocol": "TCP"}],
    }
    put(connection, "Endpoints", name, {"subsets": [subset] if addresses else []})


@contextlib.asynccontextmanager
async def proxy_of(connection):
    async with Proxy(ClusterSource(connection), limits=Limits(probe_every=0.2, probe_again=0.1)) as inference:
        yield inference


async def until(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the condition did not come true"
        await asyncio.sleep(0.01)


def services(inference):
    return inference.stats()["services"]


def call(function, *arguments, **named):
    return asyncio.to_thread(function, *arguments, **named)


def test_services_and_endpoints_are_followed(connection):
    async def story():
        put_service(connection, maxLatency="120")
        put(connection, "Service", "aside", {"spec": {"ports": [{"port": 80, "protocol": "TCP"}]}}, label="other")
        async with proxy_of(connection) as inference:
            assert {name: each["max_latency_ms"] for name, each in services(inference).items()} == {"counting": 120}
            await call(put_endpoints, connection, "10.1.1.1", "10.1.1.2")
            await until(lambda: len(services(inference)["counting"]["instances"]) == 2)
            await call(put_endpoints, connection, "10.1.1.2")
            await until(lambda: list(services(inference)["counting"]["instances"]) == ["10.1.1.2:8000"])
            await call(put_service, connection, maxLatency="soon")
            await until(lambda: services(inference)["counting"]["max_latency_ms"] == 300)
            await until(lambda: "'soon' must be a number" in inference.stats()["source_problem"])
            await call(put_service, connection, "second", maxLatency="40")
            await until(lambda: "second" in services(inference))
            await call(connection.request, "DELETE", f"/api/v1/namespaces/{connection.namespace}/services/counting")
            await until(lambda: list(services(inference)) == ["second"])
            await until(lambda: inference.stats()["source_problem"] == "")

    asyncio.run(story())


@pytest.mark.parametrize("form", ["status", "event"])
def test_410_leads_to_a_new_list(connection, through, proxy, form):
    async def story():
        put_service(connection)
        proxy.gone = [form, form]
        async with proxy_of(through) as inference:
            await until(lambda: proxy.watches >= 2 and not proxy.gone)
            await call(put_endpoints, connection, "10.1.1.1")
            await until(lambda: services(inference)["counting"]["instances"])

    asyncio.run(story())


def test_while_the_api_server_is_away_the_last_word_holds(connection, through, proxy):
    async def story():
        put_service(connection)
        put_endpoints(connection, "10.1.1.1")
        async with proxy_of(through) as inference:
            await until(lambda: proxy.watches >= 2)
            proxy.down = True
            proxy.cut()
            await until(lambda: "what was in force stays in force" in inference.stats()["source_problem"])
            assert list(services(inference)["counting"]["instances"]) == ["10.1.1.1:8000"]
            await call(put_endpoints, connection, "10.1.1.2")
            proxy.down = False
            await until(lambda: list(services(inference)["counting"]["instances"]) == ["10.1.1.2:8000"])
            await until(lambda: inference.stats()["source_problem"] == "")

    asyncio.run(story())


def test_without_rights_it_does_not_start(connection, through, proxy):
    proxy.answers = [403, 403]
    with pytest.raises(AIoTwinError, match=r"in namespace test-.*refused: made up 403"):
        asyncio.run(ClusterSource(through).current())


def test_in_no_pod_the_kubeconfig_is_taken(api_server, state):
    assert connect(api_server, None, "some").namespace == "some"
