"""What the live plots take: `python tests/benchmarks/bench_lab_plots.py [repeats] [rounds]`.

All of it is measured in real Jupyter kernels. Latency and CPU: a process runs rounds of one second without training but
with W&B's own writer (wandb-core), and notes in every row when it logged it; a kernel watches with the panel
`MetricsPanel` and notes when a picture with that round goes to the page. The kernel's CPU seconds are those of the whole
process: reading, drawing, sending. Update: CPU of one more round at 100 points in four plots. Re-attaching: a new kernel
on a finished run of 500 rounds (trained and tracked for real), from the first import to the first picture.
"""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

HERE = Path(__file__).resolve()
POINTS, LONG_RUN, PACE = 100, 500, 1.0
WARM_UP = 5  # rounds that are not counted while W&B opens its log
MOST = {"metric logged → on the plot, s": 1.5}
TARGETS = {
    "metric logged → on the plot, s": 0.5,
    "CPU of an update, ms": 15,
    "CPU while watching, % of a core": 5,
    "re-attached, s": 3,
}


# The process that is watched.


def write(directory: Path, rounds: int) -> None:
    """Run rounds of `PACE` seconds: no training, everything else as ever."""
    from aiotwin_nb.orchestration.loop import Orchestrator
    from aiotwin_nb.orchestration.ports import ClientResult, RoundResult
    from aiotwin_nb.orchestration.rundir import RunDirectory
    from aiotwin_nb.orchestration.state import Rules
    from aiotwin_nb.orchestration.store import DirectoryStore
    from aiotwin_nb.scenario import load_scenario
    from aiotwin_nb.tracking import WandbTracker

    class Idle:
        """A runtime without training: accuracies from a formula."""

        name = "idle"

        def start(self, infrastructure: Any, configuration: Any) -> RoundResult:
            self.apply(infrastructure, configuration)
            return RoundResult(0, 10.0, 2.3, 0.0)

        def apply(self, infrastructure: Any, configuration: Any) -> None:
            self.parents = configuration.parents

        def run_round(self, number: int) -> RoundResult:
            time.sleep(PACE)
            clients = (ClientResult(c, a, 0, 100, 2 / number, 0.1, 1.0) for c, a in self.parents.items())
            return RoundResult(number, 10 + 15 * math.log(1 + number), 2.3 / (1 + number), PACE, tuple(clients))

        def save(self, path: Path) -> None:
            path.write_bytes(b"{}")

        def close(self) -> None:
            pass

    class Stamped(WandbTracker):
        """Notes in every row when it was logged."""

        def log(self, row: Any) -> None:
            super().log({**row, "bench/logged": time.time()})

    scenario = load_scenario("improvement", overrides={"training.max_rounds": rounds, "objective.budget": 10**7})
    folder = RunDirectory.create(directory, scenario, {"runtime": "idle", "tracking": "offline"})
    tracker = Stamped("offline")
    tracker.start(folder.run_id, directory, {})
    Orchestrator(Rules.of(scenario), Idle(), DirectoryStore(folder, lambda _: None), tracker).run(folder.run_id)


# What is run in a kernel.


def watch(directory: Path) -> dict[str, Any]:
    """Watch a run to its end: the latency of every round, and the share of a core that this process took."""
    from aiotwin_nb.widgets.metrics import MetricsPanel
    from aiotwin_nb.widgets.session import Session

    painted: dict[int, float] = {}

    def note(change: Any) -> None:
        now, found = time.time(), re.search(r"Round (\d+)", change["new"])
        if found:
            painted.setdefault(int(found[1]), now)

    session = Session("improvement")
    panel = MetricsPanel(session)
    panel.image.observe(note, "alt")
    session.attach(directory)
    while len(painted) < WARM_UP:
        time.sleep(0.1)
    first = max(painted) + 1
    cpu, began = time.process_time(), time.monotonic()
    while session.snapshot.live:
        time.sleep(PACE)
    cpu, wall = time.process_time() - cpu, time.monotonic() - began
    until = time.monotonic() + 10  # the last rows may still be on their way
    while "bench/logged" not in session.snapshot.rows[-1] and time.monotonic() < until:
        time.sleep(0.1)
    rows = [row for row in session.snapshot.rows if row["round"] >= first]
    if not all("bench/logged" in row for row in rows):
        raise SystemExit(f"not all rows came from W&B ({session.snapshot.problem})")
    while max(painted) < rows[-1]["round"]:
        time.sleep(0.1)
    shown = [min(at for number, at in painted.items() if number >= row["round"]) for row in rows]
    panel.close()
    session.close()
    return {"latency": [at - row["bench/logged"] for at, row in zip(shown, rows, strict=True)], "share": cpu / wall}


def update(directory: Path, repeats: int) -> list[float]:
    """CPU seconds of drawing and sending one more round, up to `POINTS` points in the four default plots."""
    from aiotwin_nb.widgets.curves import DEFAULT, Story
    from aiotwin_nb.widgets.live_figure import LiveFigure
    from aiotwin_nb.widgets.live_picture import LivePicture
    from aiotwin_nb.widgets.session import Session

    session = Session("improvement")
    session.attach(directory)
    session.close()
    snapshot, image, spent = replace(session.snapshot, status="running"), LivePicture(), []
    figure = LiveFigure(DEFAULT)
    for _ in range(repeats):
        for points in range(POINTS - 20, POINTS + 1):
            began = time.process_time()
            story = Story.of_run(replace(snapshot, rows=snapshot.rows[:points]))
            image.png = figure.paint(story)
            spent.append(time.process_time() - began)
    return spent


def attach(directory: Path) -> dict[str, float]:
    """Seconds from nothing imported to the run's history, and to its first picture."""
    began = time.monotonic()
    from aiotwin_nb.widgets.metrics import MetricsPanel
    from aiotwin_nb.widgets.session import Session

    imported = time.monotonic()
    session = Session("improvement")
    panel = MetricsPanel(session)
    session.attach(directory)
    attached = time.monotonic()
    assert len(session.snapshot.rows) == LONG_RUN + 1
    while not panel.image.png:
        time.sleep(0.005)
    painted = time.monotonic()
    panel.close()
    session.close()
    return {"import": imported - began, "attach": attached - imported, "picture": painted - attached}


# Around them.


def in_kernel(call: str) -> Any:
    """What a call of this module returns in a new kernel, as after a restart."""
    from jupyter_client.manager import start_new_kernel

    manager, client = start_new_kernel(
        kernel_name="python3", env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    )
    code = (
        f"import sys, json; from pathlib import Path; sys.path.insert(0, {str(HERE.parent)!r})\n"
        f"import bench_lab_plots as bench; print('=' + json.dumps(bench.{call}))"
    )
    printed: list[str] = []

    def hear(message: Any) -> None:
        content = message["content"]
        if message["msg_type"] == "stream" and content["name"] == "stdout":
            printed.append(content["text"])
        elif message["msg_type"] == "error":
            raise SystemExit("\n".join(content["traceback"]))

    try:
        client.execute_interactive(code, output_hook=hear, timeout=600)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    return json.loads("".join(printed).rpartition("=")[2])


def main(repeats: int, rounds: int) -> int:
    """Print the table; 1 when a target is missed."""
    with tempfile.TemporaryDirectory() as folder:
        live, long = Path(folder) / "live", Path(folder) / "long"
        command = [sys.executable, "-m", "aiotwin_nb", "run", "improvement", "--runtime", "stacked", "--no-progress"]
        command += ["--tracking", "offline", "--out", str(long), "--set", f"training.max_rounds={LONG_RUN}"]
        subprocess.run([*command, "--set", "objective.budget=10000000"], check=True, stdout=subprocess.DEVNULL)
        writer = subprocess.Popen([sys.executable, str(HERE), "--write", str(live), str(rounds)])
        while not (live / "scenario.yaml").exists():
            if writer.poll() is not None:
                raise SystemExit("the run that was to be watched did not begin")
            time.sleep(0.05)
        watched = in_kernel(f"watch(Path({str(live)!r}))")
        writer.wait()
        updates = in_kernel(f"update(Path({str(long)!r}), {repeats})")
        attached = [in_kernel(f"attach(Path({str(long)!r}))") for _ in range(repeats)]
    values = {
        "metric logged → on the plot, s": watched["latency"],
        "CPU of an update, ms": [1000 * seconds for seconds in updates],
        "CPU while watching, % of a core": [100 * watched["share"]],
        "re-attached, s": [sum(parts.values()) for parts in attached],
        "  of it importing": [parts["import"] for parts in attached],
        "  reading 500 rounds": [parts["attach"] for parts in attached],
        "  the first picture": [parts["picture"] for parts in attached],
    }
    print(f"{'':<34}{'median':>9}{'least':>9}{'most':>9}{'target':>9}   ({rounds} rounds, {repeats} repeats)")
    missed = 0
    for name, found in values.items():
        target, most = TARGETS.get(name, math.inf), MOST.get(name, math.inf)
        late = median(found) > target or max(found) > most
        missed += late
        columns = "".join(f"{value:>9.3f}" for value in (median(found), min(found), max(found)))
        wanted = f"{target:>9}" if math.isfinite(target) else ""
        wanted += f", most {most:g}" if math.isfinite(most) else ""
        print(f"{name:<34}{columns}{wanted}{'  MISSED' if late else ''}")
    return int(missed > 0)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--write"]:
        write(Path(sys.argv[2]), int(sys.argv[3]))
        sys.exit(0)
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 5, int(sys.argv[2]) if len(sys.argv) > 2 else 60))
