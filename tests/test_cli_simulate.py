"""`aiotwin simulate` as it is typed."""

import inspect
import json

import pytest

from aiotwin_nb.cli import main
from aiotwin_nb.inference.simulator import scenario as scenario_module


@pytest.fixture
def file(tmp_path):
    text = inspect.getdoc(scenario_module)
    path = tmp_path / "two-sites.yaml"
    path.write_text(inspect.cleandoc(text[text.index("    name: two-sites") :]))
    return path


def test_a_file_is_simulated_the_same_each_time(file, capsys):
    arguments = ["simulate", str(file), "--policy", "qos_bandit,round_robin,oracle", "--seed", "3", "--json"]
    printed = []
    for _ in range(2):
        assert main(arguments) == 0
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1]
    found = json.loads(printed[0])
    assert (found["scenario"], found["seed"]) == ("two-sites", 3)
    qos = {r["policy"]: r["qos"] for r in found["results"]}
    assert qos["round_robin"] < qos["qos_bandit"] <= qos["oracle"]


def test_a_table_names_the_policies(file, capsys):
    assert main(["simulate", str(file), "--policy", "all"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("two-sites: ")
    assert "qedgeproxy" in {line.split()[0] for line in lines[1:]}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["drfit"], "unknown family 'drfit'; known are overload, failure, drift, burst, calm. Did you mean 'drift'?"),
        (["missing.yaml"], "missing.yaml: cannot be read"),
        (["calm", "--policy", "qos_bandit,nearst"], "unknown balancing policy 'nearst'"),
        (["calm", "--seed", "-1"], "--seed -1: must be 0 or more"),
    ],
)
def test_bad_input_is_told(arguments, message, capsys):
    assert main(["simulate", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_a_wrong_field_is_named_with_its_file(file, capsys):
    file.write_text(file.read_text().replace("bound_ms", "bound"))
    assert main(["simulate", str(file)]) == 2
    assert "two-sites.yaml: bound_ms: Field required; bound: Unexpected" in capsys.readouterr().err
