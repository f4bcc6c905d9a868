"""What can be called: inference services and their instances."""

from __future__ import annotations

from dataclasses import dataclass

DEFAULT_MAX_LATENCY_MS = 300.0  # the original's


@dataclass(frozen=True, slots=True)
class Instance:
    """One running copy of a service.

    Attributes:
        id: unique within its service
        url: where it answers, e.g. http://10.42.1.7:8000
        node: the node that it runs on
        ready: whether the platform says that it takes requests
    """

    id: str
    url: str
    node: str
    ready: bool = True


@dataclass(frozen=True, slots=True)
class Service:
    """A service: clients name it by the Host header, and its requests are due within `max_latency_ms`."""

    name: str
    instances: tuple[Instance, ...] = ()
    max_latency_ms: float = DEFAULT_MAX_LATENCY_MS
