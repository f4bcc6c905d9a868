"""The roads not taken: run by another process, seen by everybody on the run."""

import json
import time
from pathlib import Path

import pytest

import aiotwin_nb as at
from aiotwin_nb.errors import InvalidInput
from aiotwin_nb.widgets.session import Session
from aiotwin_nb.widgets.truth import begin_truth, read_truth


def test_nothing_is_known_at_first(tmp_path):
    assert read_truth(tmp_path).status == "none"
    assert read_truth(tmp_path / "gone").status == "none"


@pytest.mark.parametrize("content", ["", "{", "[]", '{"branches": 3}', '{"branches": [{}]}'])
def test_a_result_that_is_none_is_a_failure_with_its_last_words(tmp_path, content):
    (tmp_path / "compare.json").write_text(content)
    assert "damaged" in read_truth(tmp_path).problem
    (tmp_path / "compare.log").write_text("working\naiotwin: no space left\n")
    assert read_truth(tmp_path).status == "failed"
    assert read_truth(tmp_path).problem == "no space left"


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    with pytest.raises(InvalidInput, match="cannot be written"):
        begin_truth(tmp_path / "gone")


def test_a_run_that_is_none_fails_with_the_reason(tmp_path):
    begin_truth(tmp_path)
    assert read_truth(tmp_path).status == "running"
    until = time.monotonic() + 60
    while read_truth(tmp_path).status == "running":
        assert time.monotonic() < until
        time.sleep(0.1)
    assert read_truth(tmp_path).status == "failed"
    assert str(tmp_path.name) in read_truth(tmp_path).problem


def test_there_is_nothing_to_compare_without_a_run():
    with pytest.raises(InvalidInput, match="no run yet"):
        Session("improvement").compare()


@pytest.mark.slow
def test_both_roads_of_a_run_are_known_to_everybody_on_it(tmp_path):
    run = at.run("wrong-keep", out=tmp_path / "run", tracking="off", training__max_rounds=20).wait()
    first, second = Session("wrong-keep"), Session("wrong-keep")
    first.attach(run.path)
    first.compare()
    first.compare()  # a second click starts no second process
    second.attach(run.path)
    assert first.truth.status == second.truth.status == "running"
    assert read_truth(run.path).seconds < 30
    until = time.monotonic() + 120
    while "running" in (first.truth.status, second.truth.status):
        assert time.monotonic() < until
        time.sleep(0.2)
    assert first.truth == second.truth == read_truth(run.path)
    known = first.truth.of(10)
    assert known["kept"]["final_accuracy"] > 0
    assert known["reverted"]["final_accuracy"] > 0
    expected = at.api.compare_run(run.path)["branches"]
    assert json.loads((run.path / "compare.json").read_text())["branches"] == expected
    for session in (first, second):
        session.close()
    assert not [process for process in Path("/proc").glob("[0-9]*") if _compares(process, run.path)]


def _compares(process, path):
    try:
        words = (process / "cmdline").read_text().split("\0")
    except OSError:
        return False
    return "compare" in words and str(path) in words
