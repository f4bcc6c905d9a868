"""Sites for tests, and what is left of them."""

import os
from pathlib import Path

from aiotwin_nb.inference.site import SiteSpec

BASE = {
    "name": "test",
    "service": {"name": "counting", "service_ms": 2, "max_latency_ms": 400},
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
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == os.getpid() and fields[0] != "Z":
            found.add(int(stat.parent.name))
    return found
