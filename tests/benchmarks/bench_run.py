"""What a whole run takes: `python tests/benchmarks/bench_run.py [repeats]`, from starting Python to the summary.

Runs `aiotwin run improvement --json` in new processes. Memory is the resident set of the run and of every process it
started, added up and sampled from /proc (pages that they share count more than once: an upper bound); where there is no
/proc, it is that of the largest of them.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter, sleep

LAB = "improvement"
TARGETS = {"wall s": 12, "peak MB": 700}
SAMPLE = 0.05  # seconds


def tree_mb(root: int) -> float:
    """Resident set of a process and its descendants, in MB."""
    parents, sizes = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:  # it ended meanwhile
            continue
        pid = int(folder.name)
        parents[pid], sizes[pid] = int(fields[1]), int(fields[21])
    family = {root}
    while grown := {pid for pid, parent in parents.items() if parent in family} - family:
        family |= grown
    return sum(sizes.get(pid, 0) for pid in family) * resource.getpagesize() / 1e6


def largest_child_mb() -> float:
    """Largest resident set that an ended process of this one's had, in MB."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit / 1e6


def one_run(directory: Path) -> tuple[float, float]:
    """Wall time in seconds and peak memory in MB of one run."""
    command = [sys.executable, "-m", "aiotwin_nb", "run", LAB, "--json", "--out", str(directory)]
    with tempfile.TemporaryFile() as output:
        began, peak = perf_counter(), 0.0
        process = subprocess.Popen(command, stdout=output)
        while process.poll() is None:
            peak = max(peak, tree_mb(process.pid))
            sleep(SAMPLE)
        seconds = perf_counter() - began
        output.seek(0)
        if process.returncode or json.load(output)["status"] != "finished":
            raise SystemExit(f"the run ended with exit code {process.returncode}")
    return seconds, max(peak, largest_child_mb())


def main(repeats: int) -> int:
    """Print the table; 1 when a median misses its target."""
    with tempfile.TemporaryDirectory() as folder:
        rows = [one_run(Path(folder) / str(i)) for i in range(repeats)]
    print(f"{LAB:<14}{'median':>9}{'least':>9}{'most':>9}{'target':>9}   ({repeats} repeats)")
    missed = 0
    for (name, target), values in zip(TARGETS.items(), zip(*rows, strict=True), strict=True):
        middle = median(values)
        missed += middle > target
        columns = "".join(f"{value:>9.1f}" for value in (middle, min(values), max(values), target))
        print(f"{name:<14}{columns}{'' if middle <= target else '  MISSED'}")
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 5))
