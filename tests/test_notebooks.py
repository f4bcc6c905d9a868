"""The shipped notebooks run headless with the command line's numbers, and show something without a kernel."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parent.parent
FIRST_RUN = ROOT / "notebooks" / "01-first-run.ipynb"
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
MACHINE = re.compile(r"(?:^|[\s\"'(=])/(?:home|root|tmp|usr|work|Users|opt|var)/|[A-Z]:\\\\")


def aiotwin(*arguments, cwd):
    environment = {"PYTHONPATH": str(ROOT), "AIOTWIN_TRACKING": "off"}
    return subprocess.run(
        [sys.executable, "-m", "aiotwin_nb", *arguments],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )


def code_cells(path):
    return [cell for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]


def outputs(path):
    return [output for cell in code_cells(path) for output in cell.outputs]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_committed_outputs_exist_and_hold_pictures(path):
    found = outputs(path)
    assert found
    assert not [output for output in found if output.output_type == "error"]
    pictures = [output for output in found if "image/png" in output.get("data", {})]
    assert pictures
    for picture in pictures:
        assert picture.metadata["image/png"]["alt"]
        assert "<img alt=" in picture.data["text/html"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_committed_notebooks_name_no_machine(path):
    notebook = nbformat.read(path, 4)
    assert set(notebook.metadata) <= {"kernelspec", "language_info"}
    for cell in notebook.cells:
        assert set(cell.metadata) <= {"tags"}
    for output in outputs(path):
        texts = [output.get("text", "")] + [str(v) for k, v in output.get("data", {}).items() if k != "image/png"]
        text = re.sub(r"base64,[^\"]*", "", "\n".join(texts))
        assert not MACHINE.search(text)
        assert not re.search(r"\d{8}T\d{6}Z", text), "a run's name, which differs from run to run"


def test_the_parameters_are_plain_assignments_with_a_comment_each():
    (cell,) = (cell for cell in code_cells(FIRST_RUN) if "parameters" in cell.metadata.get("tags", []))
    assert all("  # " in line for line in cell.source.splitlines())
    statements = ast.parse(cell.source).body
    targets = [s.target if isinstance(s, ast.AnnAssign) else s.targets[0] for s in statements]
    values = {t.id: ast.literal_eval(s.value) for t, s in zip(targets, statements, strict=True)}
    assert values == {"scenario": "improvement", "seed": 1, "budget": 100000, "strategy": "min_comm_cost"}


@pytest.mark.slow
def test_first_run_gives_the_command_lines_numbers(tmp_path):
    done = aiotwin("notebook", str(FIRST_RUN), "-p", "seed", "3", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    executed = tmp_path / done.stdout.strip()
    assert executed.is_relative_to(tmp_path / "runs")
    (folder,) = (path.parent for path in (tmp_path / "runs").glob("*/summary.json"))
    from_notebook = json.loads((folder / "summary.json").read_text())
    by_command = json.loads(aiotwin("run", "improvement", "--seed", "3", "--json", cwd=tmp_path).stdout)
    for field in ("seed", "final_accuracy", "ledger", "reconfigurations", "rounds"):
        assert from_notebook[field] == by_command[field]
    printed = "".join(output.text for output in outputs(executed) if output.output_type == "stream")
    assert f"accuracy {by_command['final_accuracy']:.2f} %" in printed


@pytest.mark.slow
def test_a_wrong_value_is_one_readable_message(tmp_path):
    done = aiotwin("notebook", str(FIRST_RUN), "-p", "scenario", "improvemnt", cwd=tmp_path)
    assert done.returncode == 1
    message = [line for line in done.stderr.splitlines() if line.startswith("aiotwin: ")]
    assert len(message) == 1
    assert "Did you mean 'improvement'?" in message[0]
    assert "Traceback" not in done.stderr


def test_an_unknown_parameter_is_refused_before_anything_runs(tmp_path):
    done = aiotwin("notebook", str(FIRST_RUN), "-p", "sead", "3", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.strip().count("\n") == 0
    assert "Did you mean 'seed'?" in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_same_parameters_give_the_same_results(tmp_path):
    """Two executions of a notebook that trains, in two folders: equal to the byte."""
    found = []
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        done = aiotwin("notebook", str(FIRST_RUN), "-p", "seed", "2", "-p", "budget", "30000", cwd=folder)
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        found.append((folder / "runs" / "01-first-run-executed.results.json").read_bytes())
    assert found[0] == found[1]
    content = json.loads(found[0])
    assert content["parameters"] == {
        "scenario": "improvement", "seed": 2, "budget": 30000, "strategy": "min_comm_cost",
    }  # fmt: skip
    assert content["results"]["final_accuracy"] > 50
    assert content["results"]["total_cost"] <= 30000
    assert [record["after_round"] for record in content["results"]["decisions"]] == [10]
    text = found[0].decode()
    assert not MACHINE.search(text)
    assert not re.search(r"\d{8}T\d{6}Z", text)


@pytest.mark.parametrize("name", ["01-first-run", "03-strategies", "07-when-to-revert"])
def test_committed_notebooks_record_results(name):
    recorded = [
        o.data["application/vnd.aiotwin.results+json"]
        for o in outputs(ROOT / "notebooks" / f"{name}.ipynb")
        if "application/vnd.aiotwin.results+json" in o.get("data", {})
    ]
    assert recorded
    assert all(values for values in recorded)


@pytest.mark.slow
def test_without_a_cluster_the_notebook_says_so_and_ends_well(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    notebook = str(ROOT / "notebooks" / "10-on-k3s.ipynb")
    done = aiotwin("notebook", notebook, "-o", str(tmp_path / "out.ipynb"), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = outputs(tmp_path / "out.ipynb")
    assert not [output for output in found if output.output_type == "error"]
    assert "There is no cluster for this notebook" in "".join(o.get("text", "") for o in found)
    assert not (tmp_path / "runs").exists()
