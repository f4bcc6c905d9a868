"""Services and instances as Kubernetes objects tell of them; nothing is asked of a cluster here.

A Service is for proxies when it bears the label ``aiotwin.io/proxied: "true"``. Its annotation ``maxLatency`` is its
latency bound in milliseconds. Its instances are the addresses of the core/v1 Endpoints of the same name.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from aiotwin_nb.inference.services import DEFAULT_MAX_LATENCY_MS, Instance, Service

Object = Mapping[str, Any]

PROXIED = "aiotwin.io/proxied"
MAX_LATENCY = "maxLatency"
PORT_NAME = "http"  # of several ports, the one with this name is taken, else the first


def services_of(services: Mapping[str, Object], endpoints: Mapping[str, Object]) -> tuple[tuple[Service, ...], str]:
    """Return the services of {name: Service} and {name: Endpoints}, and what is wrong with annotations, "" if nothing.

    A service without Endpoints has no instance; one whose bound cannot be understood has the default bound.
    """
    found, wrong = [], []
    for name in sorted(services):
        bound, problem = _bound(services[name])
        found.append(Service(name, tuple(_instances(endpoints.get(name) or {})), bound))
        if problem:
            wrong.append(f"Service {name}: {problem}")
    return tuple(found), "; ".join(wrong)


def _bound(service: Object) -> tuple[float, str]:
    text = (service["metadata"].get("annotations") or {}).get(MAX_LATENCY)
    if text is None:
        return DEFAULT_MAX_LATENCY_MS, ""
    try:
        bound = float(text)
    except ValueError:
        bound = math.nan
    if math.isfinite(bound) and bound > 0:
        return bound, ""
    default = f"{DEFAULT_MAX_LATENCY_MS:g}"
    return (
        DEFAULT_MAX_LATENCY_MS,
        f"annotation {MAX_LATENCY}: {text!r} must be a number of milliseconds above 0, such as '{default}'; "
        f"{default} ms are in force",
    )


def _instances(endpoints: Object) -> Iterator[Instance]:
    """Every address once, however many subsets it is in."""
    found: dict[str, Instance] = {}
    for subset in endpoints.get("subsets") or ():
        port = _port(subset.get("ports") or ())
        if port is None:
            continue
        for key, ready in (("addresses", True), ("notReadyAddresses", False)):
            for address in subset.get(key) or ():
                instance = _instance(address, port, ready)
                found.setdefault(instance.id, instance)
    yield from (found[key] for key in sorted(found))


def _instance(address: Object, port: int, ready: bool) -> Instance:
    ip = address["ip"]
    place = f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"
    name = (address.get("targetRef") or {}).get("name") or place
    return Instance(name, f"http://{place}", address.get("nodeName") or "", ready)


def _port(ports: Any) -> int | None:
    over_tcp = [port for port in ports if port.get("protocol", "TCP") == "TCP"]
    named = [port for port in over_tcp if port.get("name") == PORT_NAME]
    return next((int(port["port"]) for port in named or over_tcp), None)
