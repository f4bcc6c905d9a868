"""Measurements are in the journal and, the same numbers, in W&B's log."""

import pytest

from aiotwin_nb.errors import InvalidInput
from aiotwin_nb.inference.monitoring import Answer, Labels, Windows
from aiotwin_nb.inference.monitoring.events import AccuracyMeasured, DriftFound, WindowClosed
from aiotwin_nb.inference.monitoring.metrics import window_row
from aiotwin_nb.inference.monitoring.recorder import Recorder, read_record
from aiotwin_nb.tracking import WandbLogSource


def some_windows():
    windows, labels = Windows(), Labels(size=1)
    for k in range(2):
        windows.add(Answer("west", "a", "n1", 20 + k, bound_ms=20))
        labels.predicted(f"p{k}", 1, now=k)
        labels.labelled(f"p{k}", k, now=k + 1)
        yield windows.close(k + 1.0, {"n1": 0.25}), labels.window()


def record(folder, tracking):
    recorder = Recorder(folder, "counting", tracking=tracking)
    measured = list(some_windows())
    for window, accuracy in measured:
        recorder.window(window, accuracy)
    recorder.event(DriftFound("cusum", "errors rose"))
    recorder.close()
    recorder.close()
    recorder.event(DriftFound("cusum", "too late"))
    return measured


def test_the_journal_gives_back_what_was_measured(tmp_path):
    measured = record(tmp_path / "m", "off")
    entries = read_record(tmp_path / "m")
    assert [e.type for e in entries] == [
        "monitoring_started", *["window_closed", "accuracy_measured"] * 2, "drift_found", "monitoring_ended",
    ]  # fmt: skip
    assert [e.event.window for e in entries if isinstance(e.event, WindowClosed)] == [w for w, _ in measured]
    assert [e.event.accuracy for e in entries if isinstance(e.event, AccuracyMeasured)] == [a for _, a in measured]


@pytest.mark.slow
def test_wandb_has_the_same_rows(tmp_path):
    measured = record(tmp_path / "m", "offline")
    rows = WandbLogSource(tmp_path / "m").rows()
    assert rows == [window_row(*pair) for pair in measured]
    assert rows[0]["inference/qos_share"] == 1.0
    assert rows[1]["inference/accuracy"] == 100.0


def test_a_folder_in_use_is_refused(tmp_path):
    (tmp_path / "something").touch()
    with pytest.raises(InvalidInput, match="not empty"):
        Recorder(tmp_path, "counting")
    assert [p.name for p in tmp_path.iterdir()] == ["something"]
