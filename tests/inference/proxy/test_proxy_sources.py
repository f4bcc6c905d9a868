"""Which services there are: the file, and what is said when it is wrong."""

import asyncio

import pytest
from proxy_stage import QUICK, Backend, get, in_loop, talk, until

from aiotwin_nb.errors import InvalidInput
from aiotwin_nb.inference.proxy import FileSource, Proxy
from aiotwin_nb.inference.proxy.sources import read_services
from aiotwin_nb.inference.services import Instance, Service

GOOD = """
services:
  counting:
    max_latency_ms: 250
    instances:
      - {id: a, url: "http://10.0.0.2:8000", node: n2}
      - {id: 2, url: "http://[::1]:8000/", node: n3, ready: false}
  empty: {instances: []}
nodes: {n2: {load: 0.4}}
"""


def test_a_file_says_services_instances_and_loads(tmp_path):
    path = tmp_path / "services.yaml"
    path.write_text(GOOD)
    directory = read_services(path)
    assert directory.services == (
        Service(
            "counting",
            (Instance("a", "http://10.0.0.2:8000", "n2"), Instance("2", "http://[::1]:8000/", "n3", ready=False)),
            250.0,
        ),
        Service("empty", (), 300.0),
    )
    assert directory.loads == {"n2": 0.4}


ONE = 'services: {a: {instances: [{id: i, url: "http://h:1", node: n}]}}'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "the file: must be a mapping with services"),
        ("services: {a: {instances: [", "is not YAML"),
        ("service: {}", "unknown key 'service'; allowed: services, nodes. Did you mean 'services'?"),
        ("nodes: {}", "lacks 'services'"),
        ("services: []", "services: must be a mapping"),
        ("services: {A b: {instances: []}}", "services.A b: a name is a host name"),
        ("services: {a: {}}", "services.a: lacks 'instances'"),
        ("services: {a: {instances: {}}}", "services.a.instances: must be a list"),
        ("services: {a: {max_latency_ms: 0, instances: []}}", "services.a.max_latency_ms: 0 must be above 0"),
        ("services: {a: {max_latency_ms: true, instances: []}}", "services.a.max_latency_ms: True must be a number"),
        ("services: {a: {max_latency_ms: .nan, instances: []}}", "must be a number"),
        (ONE.replace("id: i, ", ""), "services.a.instances[0]: lacks 'id'"),
        (ONE.replace("http://h:1", "https://h:1"), "must be http://HOST:PORT"),
        (ONE.replace("http://h:1", "http://h:99999"), "is not a URL"),
        (ONE.replace("http://h:1", "http://h:1/deep"), "must be http://HOST:PORT"),
        (ONE.replace("node: n", "node: [n]"), "services.a.instances[0].node: ['n'] must be text"),
        (ONE.replace("node: n", "node: n, ready: maybe"), "ready: 'maybe' must be true or false"),
        (ONE.replace("]}}", ', {id: i, url: "http://h:2", node: n}]}}'), "the id 'i' is there twice"),
        ("services: {}\nnodes: {n: {load: 2}}", "nodes.n.load: 2 must be between 0 and 1"),
    ],
)
def test_a_wrong_file_is_refused_with_place_and_reason(tmp_path, text, said):
    path = tmp_path / "services.yaml"
    path.write_text(text)
    with pytest.raises(InvalidInput) as error:
        read_services(path)
    assert str(path) in str(error.value)
    assert said in str(error.value)


def test_a_missing_file_and_one_that_is_no_text_are_refused(tmp_path):
    with pytest.raises(InvalidInput, match="No such file"):
        read_services(tmp_path / "none.yaml")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InvalidInput, match="not UTF-8"):
        read_services(tmp_path / "binary")


def written(path, **urls):
    lines = [f"  {name}: {{instances: [{{id: i, url: '{url}', node: n}}]}}" for name, url in urls.items()]
    temporary = path.with_suffix(".new")
    temporary.write_text("services:\n" + "\n".join(lines))
    temporary.replace(path)


@in_loop
async def test_a_changed_file_is_in_force_at_once_and_a_broken_one_never(tmp_path):
    first = await Backend(lambda *_: _text("first")).start()
    second = await Backend(lambda *_: _text("second")).start()
    path = tmp_path / "services.yaml"
    written(path, svc=first.url)
    async with Proxy(FileSource(path), limits=QUICK) as proxy:
        assert (await talk(proxy, get())).body == b"first"
        written(path, svc=second.url, more=first.url)
        await until(lambda: "more" in proxy.stats()["services"])
        await until(lambda: proxy.stats()["services"]["svc"]["instances"]["i"]["in_rotation"])
        assert (await talk(proxy, get())).body == b"second"
        assert (await talk(proxy, get(host="more"))).body == b"first"
        path.write_text("services: {svc: {instances: nonsense}}")
        await until(lambda: "must be a list" in proxy.stats()["source_problem"])
        assert (await talk(proxy, get())).body == b"second"
        path.unlink()
        await until(lambda: "No such file" in proxy.stats()["source_problem"])
        assert (await talk(proxy, get())).body == b"second"
        written(path, more=first.url)
        await until(lambda: set(proxy.stats()["services"]) == {"more"})
        assert proxy.stats()["source_problem"] == ""
        assert (await talk(proxy, get())).status == 404
    await first.kill()
    await second.kill()


@in_loop
async def test_a_request_in_flight_survives_the_removal_of_its_instance(tmp_path):
    release = asyncio.Event()

    async def slow(*_):
        await release.wait()
        return _text("late")

    backend = await Backend(slow).start()
    path = tmp_path / "services.yaml"
    written(path, svc=backend.url)
    async with Proxy(FileSource(path), limits=QUICK) as proxy:
        asked = asyncio.create_task(talk(proxy, get()))
        await until(lambda: backend.requests)
        written(path, other=backend.url)
        await until(lambda: "svc" not in proxy.stats()["services"])
        release.set()
        assert (await asked).body == b"late"
    await backend.kill()


def _text(text):
    from aiohttp import web

    return web.Response(text=text)
