"""CPU and memory of cluster nodes: how much there is, and how much is in use as far as the cluster tells."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from aiotwin_nb.cluster.connection import Connection
from aiotwin_nb.errors import AIoTwinError

METRICS = "/apis/metrics.k8s.io/v1beta1/nodes"
_UNITS = {"n": "1e-9", "u": "1e-6", "m": "1e-3", "k": "1e3", "M": "1e6", "G": "1e9", "T": "1e12", "P": "1e15"}
_UNITS |= {f"{unit}i": str(1024**power) for power, unit in enumerate("KMGTP", start=1)}


@dataclass(frozen=True)
class Usage:
    """What a node uses: cores, bytes; None where it is not known. `source`: metrics API, kubelet, or nothing."""

    cores: float | None = None
    memory: int | None = None
    source: str = ""


UNKNOWN = Usage()


def quantity(text: object) -> float | None:
    """A Kubernetes quantity as a number: 250m is 0.25, 1Ki is 1024; None for what is none."""
    digits = str(text).rstrip("numkKMGTPi")
    unit = str(text)[len(digits) :]
    if unit and unit not in _UNITS:
        return None
    try:
        return float(Decimal(digits) * Decimal(_UNITS.get(unit, "1")))
    except InvalidOperation:
        return None


def usage(connection: Connection, nodes: Iterable[str]) -> dict[str, Usage]:
    """What each node uses: by the metrics API, else by the node's kubelet, else UNKNOWN."""
    names = list(nodes)
    told = by_metrics(connection)
    others = [name for name in names if name not in told]
    if others:
        with ThreadPoolExecutor(8) as pool:
            told |= dict(zip(others, pool.map(lambda name: _by_kubelet(connection, name), others), strict=True))
    return {name: told[name] for name in names}


def by_metrics(connection: Connection) -> dict[str, Usage]:
    """From metrics.k8s.io; nothing where there is none: it answers 404 with plain text, 403 or 503."""
    answer = _ask(connection, METRICS)
    return {
        item["metadata"]["name"]: Usage(
            quantity(item["usage"].get("cpu")), _whole(quantity(item["usage"].get("memory"))), "metrics API"
        )
        for item in answer.get("items") or []
    }


def _by_kubelet(connection: Connection, name: str) -> Usage:
    node = _ask(connection, f"/api/v1/nodes/{name}/proxy/stats/summary").get("node", {})
    nanocores = node.get("cpu", {}).get("usageNanoCores")
    memory = node.get("memory", {}).get("workingSetBytes")
    if nanocores is None and memory is None:
        return UNKNOWN
    return Usage(None if nanocores is None else nanocores / 1e9, _whole(memory), "kubelet")


def _ask(connection: Connection, path: str) -> Mapping[str, Any]:
    """The answer, or nothing when there is none: usage is good to know, not more."""
    try:
        with connection.asking("asking for usage"):
            return connection.request("GET", path, tries=1, timeout=(3, 5))
    except (AIoTwinError, ValueError):
        return {}


def _whole(number: float | None) -> int | None:
    return None if number is None else int(number)
