"""Online mode, syncing and reading back, against a server on the loopback."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from wandb_stub import StubRun, WandbStub

from aiotwin_nb.errors import AIoTwinError, InvalidInput
from aiotwin_nb.tracking import Pace, WandbApiSource, WandbLogSource, make_tracker

pytestmark = pytest.mark.online
KEY = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Iterator[WandbStub]:
    with WandbStub() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        yield server


def write(run_dir: Path, mode: str, rounds: range, life: int) -> str | None:
    tracker = make_tracker(mode)
    tracker.start("run-1", run_dir, {"seed": 1})
    for number in rounds:
        tracker.log({"round": number, "life": life})
    tracker.summary({"final_accuracy": 90.0})
    tracker.finish()
    return tracker.problem


def check_history(run: StubRun) -> None:
    assert [(row["round"], row["life"]) for row in run.history] == [(0, 0), (1, 0), (2, 0), (1, 1), (2, 1), (3, 1)]
    assert [row["_step"] for row in run.history] == list(range(6))
    assert run.summary["final_accuracy"] == 90.0
    assert run.finished


def test_two_lives_are_one_run(stub: WandbStub, run_dir: Path, clean_user: Path):
    assert write(run_dir, "auto", range(3), life=0) is None
    assert write(run_dir, "auto", range(1, 4), life=1) is None
    assert list(stub.runs) == ["run-1"]
    check_history(stub.runs["run-1"])
    assert [row["life"] for row in WandbLogSource(run_dir).rows()] == [0, 1, 1, 1]
    assert KEY not in str(stub.queries)
    assert not [path for path in run_dir.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]
    assert not list((clean_user / "home").iterdir())
    assert not list((clean_user / "cwd").iterdir())


def test_offline_segments_sync_into_one_run(stub: WandbStub, run_dir: Path):
    assert write(run_dir, "offline", range(3), life=0) is None
    assert write(run_dir, "offline", range(1, 4), life=1) is None
    segments = sorted(map(str, run_dir.glob("wandb/offline-run-*")))
    environment = {**os.environ, "WANDB_ERROR_REPORTING": "false"}
    command = [sys.executable, "-m", "wandb", "sync", *segments]
    subprocess.run(command, check=True, env=environment, capture_output=True, timeout=60)
    check_history(stub.runs["run-1"])


def test_offline_contacts_nobody(run_dir: Path, monkeypatch: pytest.MonkeyPatch):
    """Whatever the client wanted from the network would go through this proxy."""
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.getsockname()[1]}")
        assert write(run_dir, "offline", range(3), life=0) is None
        proxy.setblocking(False)
        with pytest.raises(BlockingIOError):
            proxy.accept()


@pytest.mark.slow
def test_a_server_that_is_away_means_offline(run_dir: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    problem = write(run_dir, "auto", range(3), life=0)
    assert "recording offline" in str(problem)
    assert [row["round"] for row in WandbLogSource(run_dir).rows()] == [0, 1, 2]


def test_reading_from_the_server(stub: WandbStub, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    wandb = pytest.importorskip("wandb")
    run = stub.runs["run-1"] = StubRun("run-1", "aiotwin")
    now = [0.0]
    source = WandbApiSource("team/aiotwin/run-1", pace=Pace(clock=lambda: now[0]))
    try:
        assert source.rows() == []
        run.history += [{"_step": step, "round": step, "life": 0} for step in range(3)]
        now[0] += 1000
        assert [row["round"] for row in source.poll()] == [0, 1, 2]
        run.history.append({"_step": 3, "round": 2, "life": 1})
        asked = len(stub.queries)
        now[0] += 5
        assert source.poll() == []  # too early to ask again
        assert len(stub.queries) == asked
        now[0] += 1000
        assert source.poll() == [{"round": 2, "life": 1}]
        assert [row["life"] for row in source.rows()] == [0, 0, 1]
    finally:
        wandb.teardown()


def test_reading_without_a_key_does_not_ask_for_one():
    with pytest.raises(InvalidInput, match="wandb login"):
        WandbApiSource("team/aiotwin/run-1").rows()


def test_errors_of_the_server_say_what_to_check():
    class Broken:
        def flush(self) -> None:
            raise ConnectionError("no route to host")

    with pytest.raises(AIoTwinError, match=r"no route to host.*check the path"):
        WandbApiSource("team/aiotwin/run-1", api=Broken()).rows()


# Limits of the server.


@pytest.mark.slow
def test_a_reader_that_is_refused_waits_and_then_has_everything(stub: WandbStub, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    wandb = pytest.importorskip("wandb")
    run = stub.runs["run-1"] = StubRun("run-1", "aiotwin")
    run.history += [{"_step": step, "round": step} for step in range(3)]
    now = [0.0]
    pace = Pace(clock=lambda: now[0], vary=lambda low, high: 1.0)
    source = WandbApiSource("team/aiotwin/run-1", pace=pace)
    try:
        assert len(source.rows()) == 3
        now[0] += 1000
        run.history.append({"_step": 3, "round": 3})
        stub.refusals["/graphql"] = 2
        assert len(source.rows()) == 4
        assert pace.pause > 20  # wandb's client has waited some seconds, so we wait for more
    finally:
        wandb.teardown()


@pytest.mark.slow
def test_a_writer_that_is_refused_loses_no_row(stub: WandbStub, run_dir: Path):
    stub.refusals["/file_stream"] = 2
    assert write(run_dir, "online", range(20), life=0) is None
    assert [row["round"] for row in stub.runs["run-1"].history] == list(range(20))
    assert stub.runs["run-1"].finished
    assert not stub.refusals


def test_a_fast_run_sends_no_more_than_two_messages_a_second(stub: WandbStub, run_dir: Path):
    """W&B's documented limit of file stream requests for a run."""
    tracker = make_tracker("online")
    tracker.start("run-1", run_dir, {})
    for number in range(60):
        tracker.log({"round": number})
        time.sleep(0.03)
    tracker.finish()
    assert len(stub.runs["run-1"].history) == 60
    times = [moment for moment, path in stub.asked if path.endswith("/file_stream")]
    assert times
    assert all(sum(t <= other < t + 1 for other in times) <= 2 for t in times)


@pytest.mark.slow
def test_a_run_that_the_server_refuses_is_recorded_offline(stub: WandbStub, run_dir: Path):
    stub.refusals["/graphql"] = 1000
    problem = write(run_dir, "online", range(3), life=0)
    assert "recording offline" in str(problem)
    assert [row["round"] for row in WandbLogSource(run_dir).rows()] == [0, 1, 2]


@pytest.mark.slow
def test_runs_in_folders_of_the_same_name_are_two_runs(stub: WandbStub, tmp_path: Path):
    """As in a room that shares a key, where everybody runs the same command."""
    from aiotwin_nb import api

    scenario = api.resolve("improvement", {"objective.budget": 4000, "events": []})
    for person in ("ada", "grace"):
        api.execute(scenario, tmp_path / person / "runs" / "improvement", tracking="online")
    assert len(stub.runs) == 2
    assert all(name.startswith("improvement-") for name in stub.runs)
    assert [len(run.history) for run in stub.runs.values()] == [4, 4]
