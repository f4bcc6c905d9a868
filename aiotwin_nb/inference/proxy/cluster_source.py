"""Which services a Kubernetes cluster has: Services and Endpoints of one namespace, watched, and how loaded nodes are.

Only imported where a cluster is used: the client library is large.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from aiotwin_nb.cluster.connection import DEFAULT_NAMESPACE, Connection
from aiotwin_nb.cluster.permissions import Need
from aiotwin_nb.cluster.records import open_connection
from aiotwin_nb.cluster.usage import Usage, by_metrics, quantity
from aiotwin_nb.cluster.watching import ObjectWatch
from aiotwin_nb.errors import AIoTwinError
from aiotwin_nb.inference.proxy.endpoints import PROXIED, services_of
from aiotwin_nb.inference.proxy.sources import Directory

KINDS = ("services", "endpoints")
SELECTOR = {"labelSelector": f"{PROXIED}=true"}  # Kubernetes gives Endpoints the labels of their Service
LOOK = 1.0  # seconds between two looks at whether the watches are well; changes themselves come at once
LOADS_EVERY = 15.0  # seconds; the metrics server has new figures about as often
NODES = "/api/v1/nodes"

# What a proxy may do: the same as the Role and the ClusterRole in k3s/inference.
NEEDS = (
    Need("", "services", ("list", "watch"), "which services there are"),
    Need("", "endpoints", ("list", "watch"), "which instances they have"),
    Need("", "nodes", ("list",), "how large nodes are", namespaced=False, optional=True),
    Need("metrics.k8s.io", "nodes", ("list",), "CPU and memory in use", namespaced=False, optional=True),
)

_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")

Objects = Mapping[str, Mapping[str, Any]]


def connect(kubeconfig: Path | None = None, context: str | None = None, namespace: str | None = None) -> Connection:
    """Connect by the service account when this is a pod and nothing is named, else by a kubeconfig.

    Raises InvalidInput saying which contexts there are, MissingDependency without the client library.
    """
    if kubeconfig is None and context is None and "KUBERNETES_SERVICE_HOST" in os.environ:
        own = _NAMESPACE.read_text(encoding="utf-8").strip() if _NAMESPACE.is_file() else ""
        return Connection.in_cluster(namespace or own or DEFAULT_NAMESPACE)
    return open_connection(kubeconfig, context, namespace)


class ClusterSource:
    """The services of a connection's namespace that are for proxies.

    While the API server is away, what it said last stays in force, and the directory's `problem` says so.
    """

    def __init__(self, connection: Connection, *, loads_every: float = LOADS_EVERY) -> None:
        self._connection = connection
        self._loads_every = loads_every
        self._objects: dict[str, Objects] = {kind: {} for kind in KINDS}
        self._loads = Loads(connection)
        self._last = Directory()

    async def current(self) -> Directory:
        """Return what the cluster has now; raises AIoTwinError when it does not answer or refuses."""
        lists = await asyncio.gather(*(asyncio.to_thread(self._list, kind) for kind in KINDS))
        self._objects = dict(zip(KINDS, lists, strict=True))
        self._last = self._directory({})
        return self._last

    async def changes(self) -> AsyncIterator[Directory]:
        """Yield what the cluster has whenever it changes."""
        loop, changed = asyncio.get_running_loop(), asyncio.Event()

        def tell(kind: str, objects: Objects) -> None:  # in the watch's thread
            self._objects[kind] = objects
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(changed.set)

        watches = {
            kind: ObjectWatch(self._connection, self._path(kind), partial(tell, kind), selectors=SELECTOR).start()
            for kind in KINDS
        }
        loads = asyncio.create_task(self._follow_loads(changed))
        try:
            while True:
                with suppress(TimeoutError):
                    async with asyncio.timeout(LOOK):
                        await changed.wait()
                changed.clear()
                directory = self._directory({kind: watch.problem for kind, watch in watches.items()})
                if directory != self._last:
                    self._last = directory
                    yield directory
        finally:
            loads.cancel()
            await asyncio.gather(*(asyncio.to_thread(watch.close) for watch in watches.values()))

    def _directory(self, problems: Mapping[str, str]) -> Directory:
        services, wrong = services_of(self._objects["services"], self._objects["endpoints"])
        away = [f"{kind}: {why}; what was in force stays in force" for kind, why in problems.items() if why]
        return Directory(services, self._loads.shares, problem="; ".join([*away, *filter(None, [wrong])]))

    def _list(self, kind: str) -> Objects:
        with self._connection.asking(f"listing {kind} in namespace {self._connection.namespace}"):
            answer = self._connection.request("GET", self._path(kind), SELECTOR)
        return {item["metadata"]["name"]: item for item in answer["items"]}

    def _path(self, kind: str) -> str:
        return f"/api/v1/namespaces/{self._connection.namespace}/{kind}"

    async def _follow_loads(self, changed: asyncio.Event) -> None:
        while True:
            if await asyncio.to_thread(self._loads.look):
                changed.set()
            await asyncio.sleep(self._loads_every)


class Loads:
    """How loaded nodes are, as far as a metrics server tells and this account may ask.

    `shares`: by node, what is in use of its CPU or its memory, whichever is more, 0 to 1; without metrics, none.
    """

    def __init__(self, connection: Connection) -> None:
        self.shares: Mapping[str, float] = {}
        self._connection = connection
        self._sizes: dict[str, Usage] = {}

    def look(self) -> bool:
        """Ask again; returns whether anything is different. A node that is no longer told of counts as idle."""
        used = by_metrics(self._connection)
        if not used.keys() <= self._sizes.keys():
            self._sizes = self._list_sizes()
        shares = dict.fromkeys(self.shares, 0.0) | {
            node: share_in_use(usage, self._sizes[node]) for node, usage in used.items() if node in self._sizes
        }
        before, self.shares = self.shares, shares
        return shares != before

    def _list_sizes(self) -> dict[str, Usage]:
        try:
            with self._connection.asking("listing nodes"):
                items = self._connection.request("GET", NODES, tries=1)["items"]
        except AIoTwinError:  # this account may not: then loads mean nothing
            return {}
        return {item["metadata"]["name"]: _size(item.get("status") or {}) for item in items}


def share_in_use(used: Usage, size: Usage) -> float:
    """The share of CPU or memory that is in use, whichever is larger, 0 to 1."""
    pairs = ((used.cores, size.cores), (used.memory, size.memory))
    return min(1.0, max((part / whole for part, whole in pairs if part is not None and whole), default=0.0))


def _size(status: Mapping[str, Any]) -> Usage:
    size = status.get("allocatable") or status.get("capacity") or {}
    memory = quantity(size.get("memory"))
    return Usage(quantity(size.get("cpu")), None if memory is None else int(memory))
