"""Whether starved pods are taken for lost: `python tests/benchmarks/bench_stress.py [--minutes 30] [--write]`.

The hands-on on two nodes of the test bed while busy loops, more of them than cores, run in pods on both nodes. Nobody fails,
so every loss is a false one: exit 1 with the first. `--write` writes results/kubernetes-stress.md. Upstream Kubernetes
1.20.2, not K3s.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE.parent / "k3s"), str(HERE.parent)]

from conftest import cluster  # noqa: E402
from k3s_support import IMAGES, NAMESPACE, Bed, LiveRun  # noqa: E402

from aiotwin_nb.cluster.manifests import CONTAINER_SECURITY, POD_SECURITY  # noqa: E402

RESULTS = HERE / "results" / "kubernetes-stress.md"
NODES = ("n1", "n2")
LOOPS = 2  # per node: twice the cores of a 2-core machine in all, beside the FL pods and the control plane
ENDLESS = ("events=[]", "training.max_rounds=1000000", "training.epochs=20", "objective.budget=1e12")


def stress_pod(node: str, number: int) -> dict:
    """A pod under the same policy as FL pods that does nothing but use a core."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"stress-{node}-{number}", "namespace": NAMESPACE},
        "spec": {
            "nodeSelector": {"kubernetes.io/hostname": node},
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 0,
            "securityContext": POD_SECURITY,
            "containers": [
                {
                    "name": "stress",
                    "image": IMAGES["aggregator_image"],
                    "imagePullPolicy": "IfNotPresent",
                    "command": ["python3", "-c", "while True: pass"],
                    "securityContext": CONTAINER_SECURITY,
                    "resources": {"requests": {"cpu": "100m", "memory": "16Mi"}},
                }
            ],
        },
    }


def stress(bed: Bed) -> list[str]:
    """Start the busy loops and wait until they run; returns their names."""
    pods = [stress_pod(node, number) for node in NODES for number in range(LOOPS)]
    path = f"/api/v1/namespaces/{NAMESPACE}/pods"
    for pod in pods:
        bed.connection.request("POST", path, None, pod)
    names = [pod["metadata"]["name"] for pod in pods]
    until = time.monotonic() + 120
    while any(bed.connection.request("GET", f"{path}/{n}")["status"].get("phase") != "Running" for n in names):
        assert time.monotonic() < until, "the busy loops do not start"
        time.sleep(0.5)
    return names


def watch(run: LiveRun, seconds: float) -> list[float]:
    """Look on for a time; returns the machine's load, once a minute."""
    loads, until = [], time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        time.sleep(min(60.0, left))
        assert run.process.poll() is None, run.log.read_text()[-2000:]
        loads.append(os.getloadavg()[0])
        print(f"{left / 60:.0f} min to go, round {run.rounds()[-1]}, load {loads[-1]:.1f}", flush=True)
    return loads


def report(run: LiveRun, minutes: float, loads: list[float], before: int) -> tuple[str, int]:
    """The result in words, and how many were taken for lost."""
    told = Counter(event.standing for event in run.events("member_changed"))
    results = [event.result for event in run.events("round_finished") if event.result.round > before]
    seconds = [result.seconds for result in results]
    incomplete = sum(bool(result.problems) for result in results)
    changes = len(run.summary()["reconfigurations"])
    lines = [
        "# A run on starved nodes",
        "",
        f"The hands-on (8 FL pods, digits, 20 epochs) for {minutes:g} minutes on two nodes of the test bed (upstream "
        f"Kubernetes 1.20.2, not K3s), {LOOPS} busy loops in pods on each, {os.cpu_count()} cores in all: load "
        f"{min(loads):.1f} to {max(loads):.1f}, median {statistics.median(loads):.1f}.",
        "",
        "| | | target | |",
        "|---|---:|---:|---|",
        f"| taken for lost | {told['lost']} | 0 | {'**missed**' if told['lost'] else 'met'} |",
        f"| reconfigurations | {changes} | 0 | {'**missed**' if changes else 'met'} |",
        f"| shown as late, and back | {told['late']}, {told['back']} | | |",
        f"| rounds | {len(results)} | | |",
        f"| rounds without some client | {incomplete} | | |",
        f"| seconds of a round: median, longest | {statistics.median(seconds):.2f}, {max(seconds):.2f} | | |",
    ]
    return "\n".join(lines) + "\n", told["lost"] + changes


def main() -> int:
    """Measure; 1 when somebody was taken for lost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    with cluster() as (bed, reason), tempfile.TemporaryDirectory() as folder:
        if bed is None:
            print(f"not measured: {reason}")
            return 0
        run = LiveRun(bed, Path(folder) / "stress", "hands-on", *(w for value in ENDLESS for w in ("--set", value)))
        try:
            run.wait_round(2)
            names, before = stress(bed), run.rounds()[-1]
            loads = watch(run, 60 * options.minutes)
            for name in names:
                bed.connection.request("DELETE", f"/api/v1/namespaces/{NAMESPACE}/pods/{name}")
        finally:
            run.stop()
        text, missed = report(run, options.minutes, loads, before)
    print(text)
    if options.write:
        RESULTS.write_text(text)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
