"""A small run of plain processes (no PyTorch anywhere) for the tests of faults."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from fl_service.local_cluster import LocalCluster
from fl_service.spec import ClientNode, Plan, TrainingSpec
from fl_service.transport.liveness import Timings

HERE = Path(__file__).parent
CLIENTS = ["c1", "c2", "c3", "c4", "c5"]
NODES = ["ga", "la1", "la2", *CLIENTS]
PLAN = Plan("ga", (("la1", ("c1", "c2", "c3")), ("la2", ("c4", "c5"))), epochs=1, local_rounds=2)
PARAMETERS = 10_000


def spec(parameters: int = PARAMETERS, **changes) -> TrainingSpec:
    return TrainingSpec(1, {"name": "plain", "model": str(parameters)}, **changes)


def nodes(*names: str) -> list[ClientNode]:
    return [ClientNode(name) for name in names or CLIENTS]


def plain_cluster(folder: Path, plan: Plan = PLAN, training: TrainingSpec | None = None, **options) -> LocalCluster:
    return LocalCluster(
        training or spec(),
        plan,
        folder,
        client_app=(HERE / "plain_client.py", "app"),
        command=(sys.executable, str(HERE / "plain_roles.py")),
        timings=options.pop("timings", Timings(gather=30.0, lost_broken=5.0)),
        **options,
    )


def until(holds, seconds: float = 10.0, what: str = "it") -> float:
    """Wait until something holds; returns the seconds that it took."""
    began = time.monotonic()
    while not holds():
        assert time.monotonic() < began + seconds, f"{what} did not come to be in {seconds} s"
        time.sleep(0.01)
    return time.monotonic() - began


class Events:
    """The events of a pipeline as they come, with the time at which they came."""

    def __init__(self):
        self.all = []

    def __call__(self, event):
        self.all.append((time.monotonic(), event))

    def of(self, node, *kinds):
        return [event.kind for _, event in self.all if event.node == node and (not kinds or event.kind in kinds)]

    def standings(self, node):
        return self.of(node, "joined", "late", "back", "lost")
