"""How fast and how big runs on real nodes are: `python tests/benchmarks/bench_kubernetes.py [--repeats N] [--write]`.

1 when a target is missed. Brings up the test bed (two nodes, images of this checkout) unless TESTBED_UP says that it is
up. `--write` writes the table to results/kubernetes.md. The cluster is upstream Kubernetes 1.20.2, not K3s.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE.parent / "k3s"), str(HERE.parent)]

from conftest import cluster  # noqa: E402
from k3s_support import Bed, LiveRun, processes  # noqa: E402

from aiotwin_nb.api import attach  # noqa: E402

RESULTS = HERE / "results" / "kubernetes.md"
NEW = {"id": "n9", "role": "client", "links": {"n1": 150, "n2": 120, "n3": 100}, "data": {7: 40, 8: 40, 9: 40}}
LONG = ("--set", "events=[]", "--set", "training.max_rounds=1000", "--set", "training.epochs=20")
TARGETS = {
    "deploy from nothing to the first round started (s)": 30.0,
    "reconfiguration with a move (s)": 2.0,
    "reconfiguration with a new pod (s)": 15.0,
    "killed client noticed (s)": 1.0,
    "frozen client shown late (s)": 5.0,
    "aggregator container, RSS (MB)": 110.0,
    "evaluator container, RSS (MB)": 350.0,
    "client container, RSS (MB)": 350.0,
}


@dataclass(frozen=True)
class Row:
    """What was measured, repeatedly."""

    name: str
    values: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def met(self) -> bool:
        return self.median <= TARGETS[self.name]


def times_of(run: LiveRun, kind: str) -> list[float]:
    """When the events of a kind were put on record (seconds since the epoch)."""
    from datetime import datetime

    return [datetime.fromisoformat(entry.time).timestamp() for entry in run.entries() if entry.type == kind]


def reconfiguration_seconds(run: LiveRun, before: int) -> float:
    """From the decision for a configuration to the start of the round after it, all members in place."""
    run.wait_for("deployed", lambda: len(times_of(run, "deployed")) > before)
    decided = times_of(run, "deployed")[before]
    run.wait_for("the next round's end", lambda: any(at > decided for at in times_of(run, "round_finished")))
    entries = run.entries()
    rounds = [entry for entry in entries if entry.type == "round_finished"]
    finished = next(e for e in rounds if e.time > [d for d in entries if d.type == "deployed"][before].time)
    from datetime import datetime

    return datetime.fromisoformat(finished.time).timestamp() - decided - finished.event.result.seconds


def noticed_after(run: LiveRun, node: str, began: float) -> float:
    """Seconds from then until a member's being late was on record here."""
    from datetime import datetime

    def seen() -> list[float]:
        told = [e for e in run.entries() if e.type == "member_changed" and e.event.node == node]
        late = [datetime.fromisoformat(e.time).timestamp() for e in told if e.event.standing in ("late", "lost")]
        return [at for at in late if at > began]

    return run.wait_for(f"{node} late", seen, 30)[0] - began


def rss(run: LiveRun, bed: Bed) -> dict[str, float]:
    """{container: resident memory (MB)}, the largest of each kind."""
    found: dict[str, float] = {}
    for pod in bed.pods(run.id):
        for pid in processes(pod["metadata"]["uid"]):
            command = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
            kind = command[command.index("fl_service") + 1].replace("global-", "").replace("local-", "")
            status = Path(f"/proc/{pid}/status").read_text()
            found[kind] = max(found.get(kind, 0.0), int(status.split("VmRSS:")[1].split()[0]) * 1024 / 1e6)
    return found


def one_run(bed: Bed, folder: Path, number: int) -> dict[str, float]:
    """Everything that is measured, once."""
    run = LiveRun(bed, folder / f"bench-{number}", "hands-on", *LONG)
    try:
        run.wait_round(2)
        handle, measured = attach(run.path), {}
        started = times_of(run, "run_started")[0]
        measured["deploy from nothing to the first round started (s)"] = times_of(run, "round_started")[0] - started
        memory = rss(run, bed)
        for kind in ("aggregator", "evaluator", "client"):
            measured[f"{kind} container, RSS (MB)"] = memory[kind]
        before = len(times_of(run, "deployed"))
        handle.inject(link={"n4": {"n2": 200}})
        measured["reconfiguration with a move (s)"] = reconfiguration_seconds(run, before)
        run.wait_round(run.rounds()[-1] + 8)  # its window is over
        before = len(times_of(run, "deployed"))
        handle.inject(add=[NEW])
        measured["reconfiguration with a new pod (s)"] = reconfiguration_seconds(run, before)
        began = time.time()
        bed.signal(run.id, "n7", signal.SIGSTOP)
        measured["frozen client shown late (s)"] = noticed_after(run, "n7", began)
        bed.signal(run.id, "n7", signal.SIGCONT)
        run.wait_for("n7 back", lambda: run.standings("n7")[-1] == "back", 30)
        began = time.time()
        bed.signal(run.id, "n8", signal.SIGKILL)
        measured["killed client noticed (s)"] = noticed_after(run, "n8", began)
        return measured
    finally:
        run.stop()
        run.nothing_left(120)


def table(rows: list[Row], load: tuple[float, float]) -> str:
    lines = [
        "# Runs on real nodes",
        "",
        "The hands-on (9 nodes, digits) on two nodes of the test bed: upstream Kubernetes 1.20.2, not K3s; images present,",
        f"{os.cpu_count()} cores shared by control plane, nodes and pods. Load of the machine: {load[0]:.1f} before, "
        f"{load[1]:.1f} after. Median of {len(rows[0].values)}.",
        "",
        "| | median | min–max | target | |",
        "|---|---:|---:|---:|---|",
    ]
    for row in rows:
        spread = f"{min(row.values):.2f}–{max(row.values):.2f}"
        verdict = "met" if row.met else "**missed**"
        lines.append(f"| {row.name} | {row.median:.2f} | {spread} | ≤ {TARGETS[row.name]:g} | {verdict} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    before = os.getloadavg()[0]
    with cluster() as (bed, reason):
        if bed is None:
            print(f"skipped: {reason}")
            return 0
        with tempfile.TemporaryDirectory() as folder:
            runs = [one_run(bed, Path(folder), number) for number in range(options.repeats)]
    rows = [Row(name, tuple(run[name] for run in runs)) for name in TARGETS]
    text = table(rows, (before, os.getloadavg()[0]))
    print(text)
    if options.write:
        RESULTS.write_text(text, encoding="utf-8")
    return int(not all(row.met for row in rows))


if __name__ == "__main__":
    sys.exit(main())
