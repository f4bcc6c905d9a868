"""A run of processes is the embedded run: the same numbers bit for bit, the same checkpoints byte for byte."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from fl_support import spec, steady
from pods import until

from fl_service.local_cluster import LocalCluster
from fl_service.pipeline import Pipeline
from fl_service.spec import ClientNode, Plan
from fl_service.transport.liveness import Timings

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

LABELS = {"c1": (0, 1), "c2": (2, 3), "c3": (4, 5), "c4": (6, 7), "c5": (8, 9), "c6": (0, 9)}
CLIENTS = {name: ClientNode(name, tuple((label, 10) for label in labels)) for name, labels in LABELS.items()}
FIVE = [CLIENTS[f"c{i}"] for i in range(1, 6)]
START = Plan("ga", (("la1", ("c1", "c2", "c3")), ("la2", ("c4", "c5"))), epochs=1, local_rounds=2)
MOVED = replace(START, clusters=(("la1", ("c1", "c2")), ("la2", ("c3", "c4", "c5"))))
JOINED = replace(START, clusters=(("la1", ("c1", "c2", "c6")), ("la2", ("c3", "c4", "c5"))))
NODES = ["ga", "la1", "la2", "c1", "c2", "c3", "c4", "c5"]


def drive(pipeline, folder, join=lambda: None):
    """Six rounds with a move after the second and a join after the fourth; returns reports and checkpoints."""
    reports = [pipeline.start(FIVE, NODES, START)]
    for number in range(1, 7):
        reports.append(pipeline.run_round(number))
        if number == 2:
            pipeline.apply(FIVE, NODES, MOVED)
        if number == 4:
            join()
            pipeline.apply(list(CLIENTS.values()), [*NODES, "c6"], JOINED)
        pipeline.save(folder / f"{number}.npz")
    return reports


def test_processes_give_what_the_embedded_pipeline_gives_bit_for_bit(tmp_path):
    training = spec(
        report_updates=True, aggregation_global=("FedAdam", {}), aggregation_local=("FedAvgM", {"server_momentum": 0.3})
    )
    for folder in ("here", "there"):
        (tmp_path / folder).mkdir()
    embedded = Pipeline(training)
    expected = drive(embedded, tmp_path / "here")
    # Nobody is to be late here because the machine is busy.
    timings = Timings(late=20, lost_broken=30, lost_silent=60, gather=120)
    with LocalCluster(training, START, tmp_path / "cluster", timings=timings) as cluster:
        pipeline = cluster.pipeline()
        size = pipeline.model_bytes
        got = drive(pipeline, tmp_path / "there", join=lambda: cluster.add_client("c6", "la2"))
        until(lambda: cluster.ready("c6"))
        assert size == pipeline.model_bytes == embedded.model_bytes
    assert [steady(report) for report in got] == [steady(report) for report in expected]
    assert [report.updates for report in got] == [report.updates for report in expected]
    assert got[-1].updates.keys() == CLIENTS.keys()
    assert any(c.client == "c6" for c in got[-1].clients)
    for number in range(1, 7):
        with np.load(tmp_path / f"here/{number}.npz") as here, np.load(tmp_path / f"there/{number}.npz") as there:
            assert here.files == there.files
            assert all(here[name].tobytes() == there[name].tobytes() for name in here.files)
