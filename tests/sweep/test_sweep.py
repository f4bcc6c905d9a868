"""Sweeps: real runs in worker processes, kept, not repeated, and failures that stop nothing."""

import csv
import json
import os
from pathlib import Path

import nbformat
import pandas as pd
import pytest

from aiotwin_nb import api
from aiotwin_nb.cli import main
from aiotwin_nb.errors import InvalidInput
from aiotwin_nb.sweep import Cell, run_cells

ROOT = Path(__file__).resolve().parents[2]
SHORT = {"objective.budget": 14000, "events[0].after_round": 3, "validation.window": 2}
SETS = [word for key, value in SHORT.items() for word in ("--set", f"{key}={value}")]


@pytest.fixture(scope="module", autouse=True)
def workers_find_the_package():
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), before] if before else [str(ROOT)])
    yield
    os.environ.pop("PYTHONPATH") if before is None else os.environ.update(PYTHONPATH=before)


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """`aiotwin sweep` of four short runs, with what it said and left."""
    folder = tmp_path_factory.mktemp("sweep") / "out"
    arguments = ["sweep", "improvement", "--grid", "strategy.name=min_comm_cost,flat", "--seeds", "1-2", *SETS]
    assert main([*arguments, "--out", str(folder), "--no-progress"]) == 0
    return folder, arguments


def rows_of(folder):
    with (folder / "results.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_the_table_has_a_row_for_each_run_and_reconfiguration(swept):
    rows = rows_of(swept[0])
    assert [(row["strategy.name"], row["seed"]) for row in rows] == [
        ("min_comm_cost", "1"), ("min_comm_cost", "2"), ("flat", "1"), ("flat", "2"),
    ]  # fmt: skip
    for row in rows:
        assert row["status"] == "finished"
        assert 0 < float(row["total_cost"]) <= 14000
        assert 0 < float(row["final_accuracy"]) <= float(row["best_accuracy"]) <= 100
        assert (row["reconfiguration"], row["after_round"], row["error"]) == ("1", "3", "")
        assert row["decision"] in ("kept", "reverted", "refused", "pending")


@pytest.mark.slow
def test_a_cell_is_what_the_run_alone_gives(swept):
    row = rows_of(swept[0])[1]
    state = api.simulate(api.resolve("improvement", {**SHORT, "seed": 2}), "stacked")
    assert float(row["final_accuracy"]) == state.history[-1].accuracy
    assert int(row["rounds"]) == state.round
    assert float(row["total_cost"]) == float(state.spent)


@pytest.mark.slow
def test_pictures_are_drawn(swept):
    for name in ("results.png", "curves.png"):
        assert (swept[0] / name).read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_what_is_done_is_not_repeated_and_another_grid_uses_it(swept, capsys):
    folder, arguments = swept
    before = {path: path.stat().st_mtime_ns for path in (folder / "cells").iterdir()}
    table = (folder / "results.csv").read_bytes()
    assert main([*arguments, "--out", str(folder), "--json", "--no-progress"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["cells"], told["reused"], told["failed"]) == (4, 4, [])
    assert told["runtime"] == "stacked"
    assert len(told["rows"]) == 4
    assert "final accuracy" in told["pictures"]["results.png"]
    assert {path: path.stat().st_mtime_ns for path in (folder / "cells").iterdir()} == before
    assert (folder / "results.csv").read_bytes() == table
    fewer = api.sweep("improvement", {"strategy.name": ["flat"]}, seeds=[2], out=folder, **SHORT)
    assert isinstance(fewer, pd.DataFrame)
    assert fewer.shape[0] == 1
    assert {path: path.stat().st_mtime_ns for path in (folder / "cells").iterdir()} == before


@pytest.mark.slow
def test_the_summary_tells_means_and_decisions(swept, capsys):
    folder, arguments = swept
    assert main([*arguments, "--out", str(folder)]) == 0
    said = capsys.readouterr()
    assert "runtime: stacked" in said.out
    assert "4 cells, 4 of them from before, 0 failed" in said.out
    mean = pd.read_csv(folder / "results.csv").groupby("strategy.name")["final_accuracy"].mean()
    assert f"{mean['flat']:,.2f}" in next(line for line in said.out.splitlines() if line.startswith("flat"))
    assert "4 of 4: strategy.name=flat, seed=2" in said.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--grid", "validation.windw=3,5"], "--grid validation.windw: validation.windw: unknown field"),
        (["--grid", "validation.window=3,x"], "--grid validation.window: validation.window: is 'x'"),
        (["--grid", "strategy.name=flat,flta"], "Did you mean 'flat'?"),
        (["--grid", "objective.budget=20000,100"], "--grid objective.budget=100: objective.budget: is 100, below"),
        (["--grid", "seed=1,2", "--seeds", "1-3"], "--seeds: the grid has the key seed as well"),
        (["--set", "validation.windw=3", "--seeds", "1-2"], "--set validation.windw: "),
        (["--seeds", "1-2", "--runtime", "fast"], "--runtime 'fast'"),
        (["--seeds", "1-2", "--runtime", "stacked", "--set", "task.model=cnn"], "--runtime stacked: task.model"),
        (["--seeds", "1-2", "--workers", "0"], "--workers 0"),
        ([], "give --grid KEY=VALUE,VALUE or --seeds 1-5"),
    ],
)
def test_mistakes_are_told_before_anything_runs(arguments, words, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["sweep", "improvement", *arguments]) == 2
    assert words in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_off_is_a_value(tmp_path):
    grid = api.read_grid("improvement", ["validation.policy=off,rva"])
    assert grid == {"validation.policy": ["off", "rva"]}
    assert api.resolve("improvement", {"validation.policy": "off"}).validation.policy == "off"


def test_a_changed_task_of_ones_own_is_another_cell(tmp_path):
    file = tmp_path / "task.py"
    file.write_text("one")
    scenario = api.resolve("improvement", {})
    own = scenario.model_copy(update={"task": scenario.task.model_copy(update={"file": str(file)})})
    first = api._task_digest(own)
    file.write_text("two")
    assert api._task_digest(own) != first


def test_a_worker_that_dies_is_one_failed_cell(tmp_path, monkeypatch):
    """The others go on, in a new process."""
    fake = tmp_path / "aiotwin_nb"
    fake.mkdir()
    (fake / "__init__.py").write_text("")
    (fake / "worker.py").write_text(
        "import json, os, sys\n"
        "for line in sys.stdin:\n"
        "    request = json.loads(line)\n"
        "    if request['n'] == 1:\n"
        "        print('out of memory', file=sys.stderr, flush=True)\n"
        "        os._exit(9)\n"
        "    print(json.dumps({'result': {'n': request['n']}}), flush=True)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    cells = [Cell({"n": n}, {"n": n}, str(n)) for n in range(4)]
    seen = []
    outcomes = run_cells(cells, tmp_path / "out", 1, lambda outcome, done, total: seen.append((done, total)))
    assert [outcome.result for outcome in outcomes] == [{"n": 0}, None, {"n": 2}, {"n": 3}]
    assert outcomes[1].error == "its process died (exit code 9): out of memory"
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    again = run_cells(cells, tmp_path / "out", 2, lambda outcome, done, total: None)
    assert [outcome.reused for outcome in again] == [True, False, True, True]


def small_notebook(path):
    cells = [
        nbformat.v4.new_code_cell("seed = 1\nname = 'a'", metadata={"tags": ["parameters"]}),
        nbformat.v4.new_code_cell(
            "from aiotwin_nb.notebook import record\n"
            "if name == 'bad':\n    raise ValueError('no such thing')\n"
            "record(score=seed * 10, parts={'name': name}, list=[1, 2], seed=seed)"
        ),
    ]
    document = nbformat.v4.new_notebook(cells=cells)
    document.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(document, path)


@pytest.mark.slow
def test_a_notebook_is_swept_and_a_failing_cell_is_reported(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small_notebook(tmp_path / "small.ipynb")
    assert main(["sweep", "small.ipynb", "--grid", "name=a,bad", "--seeds", "1-2", "--no-progress"]) == 1
    said = capsys.readouterr()
    assert "4 cells, 0 of them from before, 2 failed" in said.out
    assert "aiotwin: name=bad, seed=2: " in said.err
    assert "ValueError: no such thing" in said.err
    folder = tmp_path / "runs" / "sweep-small-name"
    rows = rows_of(folder)
    assert [row["status"] for row in rows] == ["finished", "finished", "failed", "failed"]
    first = {key: rows[0][key] for key in ("name", "seed", "score", "parts.name", "list", "result.seed", "error")}
    assert first == {
        "name": "a", "seed": "1", "score": "10.0", "parts.name": "a", "list": "[1, 2]", "result.seed": "1.0", "error": "",
    }  # fmt: skip
    assert "no such thing" in rows[2]["error"]
    assert (folder / "results.png").is_file()
    assert len(list((folder / "cells").glob("*.ipynb"))) == 4


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["--grid", "sed=1,2"],
            "--grid sed: small.ipynb has no such parameter; it has seed, name. Did you mean 'seed'?",
        ),
        (["--grid", "name=a,[b]"], "--grid name: is ['b']; it must be text"),
        (["--set", "name=a", "--set", "nme=b", "--seeds", "1"], "--set nme: small.ipynb has no such parameter"),
        (["--seeds", "1-2", "--runtime", "stacked"], "a notebook chooses its own"),
    ],
)
def test_mistakes_about_notebooks_are_told_before_anything_runs(arguments, words, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small_notebook(tmp_path / "small.ipynb")
    assert main(["sweep", "small.ipynb", *arguments]) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_from_python_an_empty_list_of_values_is_refused():
    with pytest.raises(InvalidInput, match="has no values"):
        api.sweep("improvement", {"validation.window": []})
