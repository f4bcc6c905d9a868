"""What notebooks record, and the file made of it."""

import json
from decimal import Decimal

import nbformat
import numpy as np
import pandas as pd
import pytest

from aiotwin_nb.cli import main
from aiotwin_nb.errors import InvalidInput, RunFailed
from aiotwin_nb.notebook import execute_notebook, record, results_path
from aiotwin_nb.notebook.results import MIME, plain

PARAMETERS = "seed = 1\nrounds: int | None = 3"
BODY = """
from aiotwin_nb.notebook import record
record(accuracy=90 + seed / 10, rounds=rounds)
record(rounds=rounds + 1, curve=[1, 2])
"""


@pytest.fixture
def notebook(tmp_path):
    def make(name="small.ipynb", body=BODY):
        cells = [
            nbformat.v4.new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]}),
            nbformat.v4.new_code_cell(body),
        ]
        document = nbformat.v4.new_notebook(cells=cells)
        document.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
        nbformat.write(document, tmp_path / name)
        return tmp_path / name

    return make


def test_numbers_of_every_kind_become_json():
    table = pd.DataFrame({"round": [1, 2], "accuracy": [50.5, np.nan]})
    values = {
        "d": Decimal("1.5"),
        "f": np.float32(0.5),
        "a": np.arange(2),
        "t": (1, None),
        "n": float("nan"),
        "p": table,
    }
    assert plain(values, "x") == {
        "d": 1.5, "f": 0.5, "a": [0, 1], "t": [1, None], "n": None,
        "p": [{"round": 1, "accuracy": 50.5}, {"round": 2, "accuracy": None}],
    }  # fmt: skip


def test_what_json_has_no_form_for_is_refused_by_name():
    with pytest.raises(InvalidInput, match=r"record: runs\[1\]\.made is a object"):
        record(runs=[1, {"made": object()}])


def test_recorded_values_are_shown(capsys):
    record(accuracy=94.0, name="x" * 100)
    shown = capsys.readouterr().out
    assert "recorded: accuracy = 94.0, name = " in shown
    assert len(shown) < 120


def test_results_stand_beside_the_copy_and_name_what_they_come_from(notebook, tmp_path, capsys):
    path, output = notebook(), tmp_path / "out" / "copy.ipynb"
    assert main(["notebook", str(path), "-p", "seed", "7", "-o", str(output)]) == 0
    assert capsys.readouterr().out.strip() == str(output)
    results = json.loads((tmp_path / "out" / "copy.results.json").read_text())
    assert results["notebook"] == "small.ipynb"
    assert results["parameters"] == {"seed": 7, "rounds": 3}
    assert results["seed"] == 7
    assert results["results"] == {"accuracy": 90.7, "rounds": 4, "curve": [1, 2]}
    assert set(results["versions"]) >= {"aiotwin-nb", "python", "torch", "flwr", "numpy"}
    found = [o for cell in nbformat.read(output, 4).cells for o in cell.get("outputs", []) if MIME in o.get("data", {})]
    assert [o.data["text/plain"] for o in found] == [
        "recorded: accuracy = 90.7, rounds = 3",
        "recorded: rounds = 4, curve = [1, 2]",
    ]


def test_a_notebook_that_fails_leaves_no_results_of_an_earlier_one(notebook, tmp_path):
    output = tmp_path / "copy.ipynb"
    results_path(output).write_text("{}")
    with pytest.raises(RunFailed, match="cell 2 failed: ZeroDivisionError"):
        execute_notebook(notebook(body="1 / 0"), {}, output)
    assert output.is_file()
    assert not results_path(output).exists()


def test_an_ill_typed_parameter_is_refused_before_anything_is_written(notebook, tmp_path, capsys, monkeypatch):
    path = notebook()
    monkeypatch.chdir(tmp_path)
    assert main(["notebook", str(path), "-p", "seed", "abc"]) == 2
    message = capsys.readouterr().err
    assert message == (
        "aiotwin: -p seed: is 'abc'; it must be a whole number. small.ipynb has seed (a whole number), "
        "rounds (a whole number or null).\n"
    )
    assert [p.name for p in tmp_path.iterdir()] == ["small.ipynb"]
