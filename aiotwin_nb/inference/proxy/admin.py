"""The proxy's own paths, on a listener of their own: /health, /ready, /stats (JSON), /metrics (Prometheus)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from aiohttp import web

from aiotwin_nb.inference.proxy.accounts import Tally, number, prometheus_label

if TYPE_CHECKING:
    from aiotwin_nb.inference.proxy.proxy import Proxy

PREFIX = "aiotwin_proxy"
_COUNTERS: dict[str, tuple[str, Callable[[Tally], float]]] = {
    "requests_total": ("Requests.", lambda tally: tally.requests),
    "within_bound_total": ("Requests answered within the service's latency bound.", lambda tally: tally.within),
    "failed_total": ("Requests refused, or answered 502, 503 or 504.", lambda tally: tally.failed),
}


def application(proxy: Proxy) -> web.Application:
    """Return the application that answers them."""

    async def health(_: web.Request) -> web.Response:
        return web.json_response({"status": "alive"})

    async def ready(_: web.Request) -> web.Response:
        return web.json_response({"ready": proxy.ready}, status=200 if proxy.ready else 503)

    async def stats(_: web.Request) -> web.Response:
        return web.json_response(proxy.stats())

    async def metrics(_: web.Request) -> web.Response:
        text = "\n".join(exposition(proxy)) + "\n"
        return web.Response(body=text.encode(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

    app = web.Application()
    app.router.add_get("/health", health)
    app.router.add_get("/ready", ready)
    app.router.add_get("/stats", stats)
    app.router.add_get("/metrics", metrics)
    return app


def exposition(proxy: Proxy) -> Iterator[str]:
    """Yield the lines of the text format; clients are in /stats only, there are too many for time series."""
    routes = proxy.routes.by_name
    of_services = [(_labels(service=name), route.tally) for name, route in routes.items()]
    of_instances = [
        (_labels(service=name, instance=key, node=each.instance.node), each)
        for name, route in routes.items()
        for key, each in route.upstreams.items()
    ]
    for name, (text, value) in _COUNTERS.items():
        yield from _samples(name, text, "counter", [(labels, value(tally)) for labels, tally in of_services])
        yield from _samples(
            f"instance_{name}", text, "counter", [(labels, value(each.tally)) for labels, each in of_instances]
        )
    retries = [(_labels(service=name), route.retries) for name, route in routes.items()]
    yield from _samples("retries_total", "Requests sent once more, to another instance.", "counter", retries)
    busy = [(labels, each.in_flight) for labels, each in of_instances]
    yield from _samples("instance_in_flight", "Requests on their way.", "gauge", busy)
    turning = [(labels, int(not each.state)) for labels, each in of_instances]
    yield from _samples("instance_in_rotation", "Whether it takes requests.", "gauge", turning)
    yield from _samples("connections", "Open client connections.", "gauge", [("", proxy.connections)])
    problem = int(bool(proxy.routes.problem))
    yield from _samples("source_problem", "Whether the services' source is broken.", "gauge", [("", problem)])
    yield from _histogram(of_services)


def _histogram(tallies: list[tuple[str, Tally]]) -> Iterator[str]:
    name = f"{PREFIX}_latency_seconds"
    yield f"# HELP {name} From a request's arrival to the end of its answer's head."
    yield f"# TYPE {name} histogram"
    for labels, tally in tallies:
        cumulative = tally.cumulative()
        for bound, count in cumulative:
            yield f'{name}_bucket{labels[:-1]},le="{bound}"}} {count}'
        yield f"{name}_sum{labels} {number(tally.latency_sum / 1000)}"
        yield f"{name}_count{labels} {cumulative[-1][1]}"


def _samples(name: str, text: str, kind: str, samples: Sequence[tuple[str, float]]) -> Iterator[str]:
    yield f"# HELP {PREFIX}_{name} {text}"
    yield f"# TYPE {PREFIX}_{name} {kind}"
    for labels, value in samples:
        yield f"{PREFIX}_{name}{labels} {number(value)}"


def _labels(**labels: str) -> str:
    return "{" + ",".join(f'{key}="{prometheus_label(value)}"' for key, value in labels.items()) + "}"
