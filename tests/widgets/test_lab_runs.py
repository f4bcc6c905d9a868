"""Labs on real runs: they start, end without a trace, outlive kernels, and are seen by everybody who looks."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import threading
import time
import uuid
from pathlib import Path

import pytest
from widgets_support import until

from aiotwin_nb import Lab
from aiotwin_nb.errors import InvalidInput, RunFailed

pytestmark = pytest.mark.slow

MARK = "AIOTWIN_TEST_MARK"
SHORT = {"objective__budget": 30_000}
LONG = {"objective__budget": 5_000_000, "training__max_rounds": 3000}


@pytest.fixture
def mark(monkeypatch):
    """A word in the environment by which every process of a run can be told, whoever started it."""
    word = uuid.uuid4().hex
    monkeypatch.setenv(MARK, word)
    return word


@pytest.fixture
def lab(tmp_path, mark):
    made = Lab("improvement", runs=tmp_path / "runs", **SHORT)
    yield made
    run = made.session.run
    made.close()
    if run is not None and run.status == "running":
        os.kill(owner(run.path), signal.SIGKILL)


def owner(path):
    return int(json.loads((Path(path) / "state.json").read_text())["pid"])


def processes(word):
    """{pid: command} of other processes with a mark, and of this one's children that nobody has reaped."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        pid = int(folder.name)
        try:
            status = (folder / "stat").read_text().rpartition(")")[2].split()
            marked = word.encode() in (folder / "environ").read_bytes()
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if pid != os.getpid() and (marked or (status[0] == "Z" and int(status[1]) == os.getpid())):
            found[pid] = command or "zombie"
    return found


def test_starting_returns_at_once_and_the_lab_shows_the_whole_run(lab):
    began = time.monotonic()
    lab.run.start()
    assert time.monotonic() - began < 0.3
    assert lab.session.phase == "starting"
    assert lab.wait(60) is lab
    summary = lab.session.run.summary
    assert summary["status"] == "finished"
    assert "finished: the budget does not cover another round" in lab.run.describe()
    assert summary["rounds"] == lab.strategy.plan_now().rounds_with_changes  # what the plan promised
    assert [run.status for run in lab.run.listed] == ["finished"]


def test_none_of_a_runs_processes_remain(lab, mark):
    lab.run.start()
    until(lambda: lab.session.phase == "attached", 60)
    assert any("aiotwin_nb" in command for command in processes(mark).values())
    lab.wait(60)
    until(lambda: not processes(mark), 15)


def test_a_stopped_run_is_resumed(lab, mark):
    lab.session.change(
        {"objective.budget": LONG["objective__budget"], "training.max_rounds": LONG["training__max_rounds"]}
    )
    lab.run.start()
    until(lambda: lab.session.snapshot and lab.session.snapshot.state.round >= 3, 60)
    with pytest.raises(InvalidInput, match="is running"):
        lab.run.start()
    lab.run._stop.click()
    lab.run._stop.click()  # the second click of a double one
    until(lambda: lab.session.snapshot.status == "stopped", 30)
    stopped_at = lab.session.snapshot.state.round
    lab.run.resume()  # although the process may not have ended yet
    until(lambda: lab.session.snapshot.live and lab.session.snapshot.state.round > stopped_at, 60)
    assert [sent.command["command"] for sent in lab.session.snapshot.commands] == ["stop"]
    lab.run.stop()
    lab.wait(30)


def test_a_run_that_dies_is_shown_within_three_seconds_and_can_be_resumed(lab):
    lab.session.change(
        {"objective.budget": LONG["objective__budget"], "training.max_rounds": LONG["training__max_rounds"]}
    )
    lab.run.start()
    until(lambda: lab.session.snapshot and lab.session.snapshot.state.round >= 2, 60)
    os.kill(owner(lab.session.run.path), signal.SIGKILL)
    until(lambda: "its process has died" in lab.run._status.value, 3)
    until(lambda: not lab.run._resume.disabled, 1)
    with pytest.raises(RunFailed, match="its process died"):
        lab.wait(5)
    lab.run._resume.click()
    until(lambda: lab.session.snapshot.live, 60)
    lab.run.stop()
    lab.wait(30)


def test_two_labs_on_one_run_both_see_it_and_closing_one_disturbs_nobody(lab):
    lab.session.change(
        {"objective.budget": LONG["objective__budget"], "training.max_rounds": LONG["training__max_rounds"]}
    )
    lab.run.start()
    until(lambda: lab.session.snapshot and lab.session.snapshot.state.round >= 2, 60)
    other = Lab.attach(runs=lab.session.runs)
    assert other.session.scenario == lab.session.scenario
    journal = lab.session.run.path / "journal.jsonl"
    other.close()
    size = journal.stat().st_size
    until(lambda: journal.stat().st_size > size, 10)  # the run goes on
    third = Lab.attach(lab.session.run.path.name, runs=lab.session.runs)
    third.run.stop()
    lab.wait(30)
    third.wait(30)
    assert len(third.session.snapshot.rows) == len(lab.session.snapshot.rows) == lab.session.snapshot.state.round + 1
    third.close()
    assert not [
        t for t in threading.enumerate() if t.name == "aiotwin-follow" and t is not lab.session._follower._thread
    ]


def test_a_lab_can_be_awaited(lab):
    async def story():
        lab.run.start()
        return await lab

    assert asyncio.run(story()) is lab
    assert lab.session.snapshot.status == "finished"


def test_a_draft_made_of_a_live_run_starts_beside_it(lab):
    lab.session.change(
        {"objective.budget": LONG["objective__budget"], "training.max_rounds": LONG["training__max_rounds"]}
    )
    lab.run.start()
    until(lambda: lab.session.snapshot and lab.session.snapshot.state.round >= 1, 60)
    first = lab.session.run
    lab.strategy._again.click()
    lab.session.change({"objective.budget": 10_000, "seed": 5})
    lab.finish(60)
    assert lab.session.run.path != first.path
    assert first.status == "running"
    lab.run.attach(first.path)
    assert lab.session.scenario.seed == 1
    lab.run.stop()
    lab.wait(30)


@pytest.fixture
def kernel(tmp_path, mark):
    """A real kernel in an empty folder."""
    from jupyter_client.manager import KernelManager

    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root), "IPYTHONDIR": str(tmp_path / "ipython")}
    manager = KernelManager(kernel_name="python3")
    manager.start_kernel(cwd=str(tmp_path), env=environment)
    yield manager
    manager.shutdown_kernel(now=True)


def ask(manager, code, timeout=60):
    """Execute code in a kernel; returns what it printed."""
    client = manager.blocking_client()
    client.start_channels()
    client.wait_for_ready(timeout=60)
    printed = []

    def collect(message):
        kind, content = message["header"]["msg_type"], message["content"]
        assert kind != "error", content
        if kind == "stream" and content["name"] == "stdout":
            printed.append(content["text"])

    client.execute_interactive(code, timeout=timeout, output_hook=collect)
    client.stop_channels()
    return "".join(printed)


def test_a_run_outlives_the_kernel_and_is_found_again(kernel, tmp_path, mark):
    changes = ", ".join(f"{name}={value}" for name, value in LONG.items())
    ask(
        kernel,
        f"from aiotwin_nb import Lab\nimport time\nlab = Lab('improvement', {changes})\nlab.run.start()\n"
        "while not (lab.session.snapshot and lab.session.snapshot.state.round >= 3): time.sleep(0.05)",
    )
    (run,) = (tmp_path / "runs").iterdir()
    pid = owner(run)
    kernel.interrupt_kernel()
    kernel.restart_kernel(now=True)
    assert (Path("/proc") / str(pid)).exists()
    found = ask(
        kernel,
        "from aiotwin_nb import Lab\nimport json, time\nbegan = time.monotonic()\nlab = Lab.attach()\n"
        "seen = lab.session.snapshot\n"
        "print(json.dumps([lab.session.run.path.name, seen.status, len(seen.state.history), seen.state.round]))\n"
        "lab.run.stop()\nlab.wait(60)\nprint(Lab.runs().to_csv(index=False))",
    )
    name, status, history, round_ = json.loads(found.splitlines()[0])
    assert (name, status) == (run.name, "running")
    assert history == round_ + 1 >= 4
    assert f"{run.name},improvement,stopped" in found
    kernel.shutdown_kernel(now=True)
    until(lambda: not {pid: c for pid, c in processes(mark).items() if "zombie" not in c}, 15)
