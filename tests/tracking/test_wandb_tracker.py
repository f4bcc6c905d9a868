"""The tracker against the real W&B client, offline."""

import contextlib
import logging
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from aiotwin_nb.errors import InvalidInput
from aiotwin_nb.orchestration.ports import Tracker
from aiotwin_nb.tracking import NullTracker, WandbLogSource, WandbTracker, make_tracker

KEY = "0123456789abcdef0123456789abcdef01234567"


def row(number: int, accuracy: float = 0.0) -> dict[str, object]:
    return {"round": number, "global/accuracy": accuracy, "cost/total": 12.5 * number, "client/n4/loss": 0.25}


def wait_for(condition: Callable[[], object], seconds: float = 20.0) -> float:
    begun = time.monotonic()
    while not condition():
        assert time.monotonic() - begun < seconds, "waited in vain"
        time.sleep(0.01)
    return time.monotonic() - begun


def alive(pid: int | None) -> bool:
    """Not gone; a zombie is gone, its new parent only has not noticed."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    return False


def started(run_dir: Path, rows: int = 3, time_limit: float = 30.0) -> WandbTracker:
    """A tracker that has recorded rows 0 … rows-1."""
    tracker = WandbTracker(time_limit=time_limit)
    tracker.start("run-1", run_dir, {"seed": 1})
    for number in range(rows):
        tracker.log(row(number))
    wait_for(lambda: len(WandbLogSource(run_dir).rows()) == rows)
    return tracker


def test_rows_written_are_rows_read_and_nothing_is_left(run_dir: Path, clean_user: Path):
    before = random.getstate()
    tracker = WandbTracker()
    tracker.start("run-1", run_dir, {"seed": 1, "nested": {"a": [1, 2]}})
    rows = [row(number, accuracy=10.0 * number) for number in range(200)]  # more than one 32 KiB block
    for each in rows:
        tracker.log(each)
    tracker.summary({"final_accuracy": 1990.0})
    wait_for(lambda: tracker._service)
    service = tracker._service
    tracker.finish()
    tracker.finish()
    tracker.log(row(200))  # after the end: dropped

    assert tracker.problem is None
    assert WandbLogSource(run_dir).rows() == rows
    assert not alive(service)
    assert random.getstate() == before
    assert "WANDB_SERVICE" not in os.environ
    assert {path.name for path in clean_user.rglob("*")} == {"home", "cwd"}
    assert [path.name for path in run_dir.iterdir()] == ["wandb"]


def test_no_call_but_finish_waits(run_dir: Path):
    tracker = WandbTracker()
    begun = time.monotonic()
    tracker.start("run-1", run_dir, {})
    for number in range(100):
        tracker.log(row(number))
    assert time.monotonic() - begun < 0.5
    tracker.finish()
    assert len(WandbLogSource(run_dir).rows()) == 100


def test_a_row_is_visible_within_two_seconds(run_dir: Path):
    tracker = started(run_dir)
    source = WandbLogSource(run_dir)
    assert [each["round"] for each in source.poll()] == [0, 1, 2]
    tracker.log(row(3))
    assert wait_for(lambda: [each["round"] for each in source.poll()] == [3]) < 2.0
    assert source.poll() == []
    assert [each["round"] for each in source.rows()] == [0, 1, 2, 3]
    tracker.finish()


def test_numpy_values_and_not_a_number(run_dir: Path):
    numpy = pytest.importorskip("numpy")
    tracker = WandbTracker()
    tracker.start("run-1", run_dir, {"size": numpy.float64(3.3)})
    tracker.log({"round": numpy.int64(0), "global/accuracy": numpy.float32(0.5), "global/loss": float("nan")})
    tracker.finish()
    (read,) = WandbLogSource(run_dir).rows()
    assert (read["round"], read["global/accuracy"]) == (0, 0.5)
    assert read["global/loss"] != read["global/loss"]


@pytest.mark.parametrize("victim", ["writer", "service"])
def test_a_kill_does_not_hurt_the_training(run_dir: Path, victim: str, caplog: pytest.LogCaptureFixture):
    tracker = started(run_dir)
    assert tracker._writer
    writer, service = tracker._writer.pid, tracker._service
    os.kill(writer if victim == "writer" else int(service or 0), signal.SIGKILL)
    time.sleep(0.2)
    begun = time.monotonic()
    for number in range(3, 6):
        tracker.log(row(number))
    tracker.summary({"final_accuracy": 1.0})
    tracker.finish()
    assert time.monotonic() - begun < 3.0
    assert tracker.problem
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    wait_for(lambda: not alive(service))
    assert [each["round"] for each in WandbLogSource(run_dir).rows()] == [0, 1, 2]


def test_a_hanging_service_is_given_up(run_dir: Path, caplog: pytest.LogCaptureFixture):
    tracker = started(run_dir, time_limit=1.0)
    scratch = Path(tracker._scratch.name if tracker._scratch else "")
    assert scratch.is_dir()
    service = int(tracker._service or 0)
    os.kill(service, signal.SIGSTOP)
    tracker.log(row(3))
    begun = time.monotonic()
    tracker.finish()
    assert time.monotonic() - begun < 4.0
    assert "did not finish in 1 s" in str(tracker.problem)
    assert not scratch.exists()
    assert len(caplog.records) == 1
    wait_for(lambda: not alive(service))


@pytest.fixture
def fake_wandb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module `wandb` that hides the real one from the writer."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "fake"))
    (tmp_path / "fake").mkdir()
    return tmp_path / "fake" / "wandb.py"


def test_a_hanging_start_is_given_up(run_dir: Path, fake_wandb: Path):
    fake_wandb.write_text("import time\ntime.sleep(60)\n")
    tracker = WandbTracker(time_limit=0.5)
    tracker.start("run-1", run_dir, {})
    tracker.log(row(0))
    time.sleep(0.6)
    begun = time.monotonic()
    tracker.log(row(1))
    tracker.finish()
    assert time.monotonic() - begun < 1.0
    assert "did not answer for 0.5 s" in str(tracker.problem)


def test_absent_wandb_gives_one_warning(run_dir: Path, fake_wandb: Path, caplog: pytest.LogCaptureFixture):
    fake_wandb.write_text("raise ModuleNotFoundError(\"No module named 'wandb'\")\n")
    tracker = make_tracker("offline")
    tracker.start("run-1", run_dir, {})
    for number in range(3):
        tracker.log(row(number))
    tracker.summary({})
    tracker.finish()
    assert [record.getMessage() for record in caplog.records] == [tracker.problem]
    assert "No module named 'wandb'" in tracker.problem
    assert WandbLogSource(run_dir).rows() == []


def test_an_unwritable_run_directory_does_not_raise(run_dir: Path):
    run_dir.parent.mkdir()
    run_dir.write_text("a file where the directory should be")
    tracker = WandbTracker()
    tracker.start("run-1", run_dir, {})
    tracker.log(row(0))
    tracker.finish()
    assert "could not be started" in str(tracker.problem)


def test_the_segment_is_closed_when_the_orchestrator_dies(run_dir: Path):
    tracker = started(run_dir)
    writer, service = tracker._writer, tracker._service
    assert writer
    tracker._orders.put(None)  # standard input ends, as at the death of this process
    assert writer.wait(10) == 0
    assert not alive(service)
    tracker.finish()


def test_the_key_is_in_no_file(run_dir: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    tracker = make_tracker("offline")
    tracker.start("run-1", run_dir, {"environment": {"WANDB_API_KEY": KEY}, "note": f"my key is {KEY}"})
    tracker.log({"round": 0, "note": KEY})
    tracker.summary({"note": KEY})
    tracker.finish()
    assert tracker.problem is None
    assert WandbLogSource(run_dir).rows() == [{"round": 0, "note": "[secret]"}]
    files = [path for path in run_dir.rglob("*") if path.is_file()]
    assert files
    assert not [path for path in files if KEY.encode() in path.read_bytes()]


@pytest.mark.parametrize(
    ("mode", "environment", "expected"),
    [
        (None, {}, "offline"),
        ("auto", {"WANDB_API_KEY": KEY}, "online"),
        ("auto", {"WANDB_API_KEY": KEY, "WANDB_MODE": "offline"}, "offline"),
        ("auto", {"WANDB_API_KEY": KEY, "WANDB_MODE": "disabled"}, "off"),
        ("online", {"WANDB_MODE": "offline"}, "online"),
        (None, {"AIOTWIN_TRACKING": "off"}, "off"),
        ("offline", {"AIOTWIN_TRACKING": "off"}, "offline"),
    ],
)
def test_modes(mode: str | None, environment: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    tracker = make_tracker(mode)
    assert isinstance(tracker, Tracker)
    assert (tracker.mode if isinstance(tracker, WandbTracker) else "off") == expected


def test_an_unknown_mode_is_an_error():
    with pytest.raises(InvalidInput, match="Did you mean 'offline'"):
        make_tracker("ofline")


def test_online_without_a_key_records_offline(run_dir: Path):
    tracker = make_tracker("online")
    tracker.start("run-1", run_dir, {})
    tracker.log(row(0))
    tracker.finish()
    assert "wandb login" in str(tracker.problem)
    assert len(WandbLogSource(run_dir).rows()) == 1


def test_null_tracker_does_nothing(run_dir: Path):
    tracker = make_tracker("off")
    assert isinstance(tracker, NullTracker)
    tracker.start("run-1", run_dir, {})
    tracker.log(row(0))
    tracker.summary({})
    tracker.finish()
    assert not run_dir.exists()
