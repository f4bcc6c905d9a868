"""What processes and gRPC cost per global round: `python tests/benchmarks/bench_transport.py [rounds] [--no-superlink]`.

2 local aggregators × 4 clients × 2 local rounds, all roles as processes on loopback with mutual TLS, an evaluator
included; clients do no training, so what is measured is messages, checks, strategies and averaging. Beside it Flower's
own SuperLink with 8 SuperNodes (two rounds of flat FedAvg make one of ours). Then: how fast a killed client is noticed,
how long a client's move to another parent takes, and the memory of every role.
Ends with 1 when a target is missed.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "fl_service"))

from pods import Events, nodes, plain_cluster, spec
from superlink_rounds import superlink_rounds

from fl_service.local_cluster import LocalCluster
from fl_service.remote import RemotePipeline
from fl_service.spec import ClientNode, Plan, TrainingSpec

CLIENTS = [f"c{i}" for i in range(1, 9)]
NODES = ["ga", "la1", "la2", *CLIENTS]
PLAN = Plan("ga", (("la1", tuple(CLIENTS[:4])), ("la2", tuple(CLIENTS[4:]))), epochs=1, local_rounds=2)
MOVED = Plan("ga", (("la1", tuple(CLIENTS[:3])), ("la2", tuple(CLIENTS[3:]))), epochs=1, local_rounds=2)
SMALL, LARGE = 62_006, 825_000  # parameters: 0.25 MB and 3.3 MB
SUPERLINK_SECONDS = 120.0

missed: list[str] = []


def row(name: str, values: list[float], target: float | None, unit: str = "ms") -> None:
    """Print median and spread of one measurement, and whether its target is met."""
    verdict = ""
    if target is not None:
        met = median(values) <= target
        verdict = f"target {target:g} {unit}{'' if met else '  MISSED'}"
        if not met:
            missed.append(name)
    columns = "".join(f"{value:>10.1f}" for value in (median(values), min(values), max(values)))
    print(f"{name:<46}{columns}   {verdict}", flush=True)


def megabytes(pid: int) -> float:
    """Return a process's resident memory."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def cpu_seconds(cluster: LocalCluster) -> float:
    """Return the CPU time that all processes have used: what a busy machine does not hide as much as wall time."""
    total = 0.0
    for name in (*NODES, "@evaluator"):
        fields = Path(f"/proc/{cluster.pid(name)}/stat").read_text().rpartition(")")[2].split()
        total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total


def rounds_of(pipeline: RemotePipeline, first: int, count: int) -> list[float]:
    """Return the milliseconds of each of some rounds."""
    milliseconds = []
    for number in range(first, first + count):
        began = time.perf_counter()
        report = pipeline.run_round(number)
        milliseconds.append(1000 * (time.perf_counter() - began))
        assert not report.problems, report.problems
    return milliseconds


def measure(parameters: int, rounds: int, target: float, folder: Path) -> None:
    """Measure rounds of one size of model; for the small one the faults and the memory of the aggregators, too."""
    with plain_cluster(folder, PLAN, spec(parameters)) as cluster:
        events = Events()
        pipeline = cluster.pipeline(on_event=events)
        pipeline.start(nodes(*CLIENTS), NODES, PLAN)
        rounds_of(pipeline, 1, 3)
        label = f"round, {parameters * 4 / 1e6:.2f} MB"
        before = cpu_seconds(cluster)
        row(label, rounds_of(pipeline, 4, rounds), target)
        used = 1000 * (cpu_seconds(cluster) - before) / rounds
        row("    CPU time of it in all processes, by core", [used / (os.cpu_count() or 1)], None)
        if parameters == SMALL:
            for name in ("ga", "la1", "la2"):
                row(f"memory of {name} (MB)", [megabytes(cluster.pid(name))], 110, "MB")
            row("a client's move, its acknowledgement included", moves(pipeline), None)
            row("killed client noticed", kills(cluster, events), 1000)


def moves(pipeline: RemotePipeline) -> list[float]:
    """Return the milliseconds of some plans that each move one client to the other aggregator."""
    milliseconds = []
    for number in range(10):
        began = time.perf_counter()
        pipeline.apply(nodes(*CLIENTS), NODES, PLAN if number % 2 else MOVED)
        milliseconds.append(1000 * (time.perf_counter() - began))
    return milliseconds


def kills(cluster: LocalCluster, events: Events) -> list[float]:
    """Return the milliseconds from SIGKILL to the orchestrator's listener, for some clients."""
    milliseconds = []
    for client in CLIENTS[:5]:
        began = time.monotonic()
        cluster.kill(client)
        while "late" not in events.of(client):
            time.sleep(0.001)
        told = next(at for at, event in events.all if (event.node, event.kind) == (client, "late"))
        milliseconds.append(1000 * (told - began))
    return milliseconds


def measure_torch(folder: Path) -> None:
    """Measure the memory of a client and of the evaluator that train for real (the digits)."""
    plan = Plan("ga", (("ga", ("c1",)),), epochs=1, local_rounds=1)
    training = TrainingSpec(1, {"name": "digits", "test_samples": 500})
    with LocalCluster(training, plan, folder) as cluster:
        pipeline = cluster.pipeline()
        pipeline.start([ClientNode("c1", ((0, 40), (1, 40)))], ["ga", "c1"], plan)
        rounds_of(pipeline, 1, 3)
        for name in ("c1", "@evaluator"):
            row(f"memory of {name}, with PyTorch (MB)", [megabytes(cluster.pid(name))], 350, "MB")


def measure_superlink(parameters: int) -> None:
    """Measure Flower's own way; says how long was waited where no pair of rounds was finished."""
    seconds, waited, problem = superlink_rounds(len(CLIENTS), parameters, 6, SUPERLINK_SECONDS)
    label = f"SuperLink, 8 SuperNodes, {parameters * 4 / 1e6:.2f} MB"
    pairs = [1000 * (a + b) for a, b in zip(seconds[::2], seconds[1::2], strict=False)]
    if pairs:
        row(label, pairs, None)
    else:
        print(f"{label:<46}   {len(seconds)} rounds finished in {waited:.0f} s {problem}", flush=True)


def main(arguments: list[str]) -> int:
    """Print the table; 1 when a target is missed."""
    rounds = int(next((a for a in arguments if a.isdigit()), 30))
    print(f"{rounds} rounds; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores before the start")
    print(f"{'':<46}{'median':>10}{'least':>10}{'most':>10}")
    with tempfile.TemporaryDirectory() as folder:
        measure(SMALL, rounds, 60, Path(folder) / "small")
        measure(LARGE, rounds, 200, Path(folder) / "large")
        measure_torch(Path(folder) / "torch")
    if "--no-superlink" not in arguments:
        measure_superlink(SMALL)
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
