"""Sites for tests, and what is left of them."""

import os
from pathlib import Path

from aiotwin_nb.inference.site import SiteSpec

BASE = {
    "name": "test",
    "service": {"name": "counting", "service_ms": 2, "max_latency_ms": 400},
    "policy": "round_robin",
    "nodes": [{"id": "a", "rtt_ms": {"b": 4}}, {"id": "b"}],
    "clients": [{"id": "cameras", "node": "a", "rate": 40}],
    "placement": {"a": 1, "b": 1},
    "window_s": 0.3,
    "labels": {"share": 1.0, "delay_s": 0.1, "size": 10},
}


def site_spec(**changes):
    return SiteSpec.model_validate({**BASE, **changes})


def children():
    """Process ids of all living children of this process."""
    return {pid for pid, (parent, alive) in _processes().items() if parent == os.getpid() and alive}


def is_alive(pid):
    """Whether a process is there and not only waits to be reaped."""
    return _processes().get(pid, (0, False))[1]


def _processes():
    """{process id: (its parent's, whether it is no zombie)}."""
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        found[int(stat.parent.name)] = int(fields[1]), fields[0] != "Z"
    return found
