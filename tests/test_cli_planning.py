"""`aiotwin plan --strategies` and `aiotwin calibrate`."""

import json

import pytest

from aiotwin_nb import api
from aiotwin_nb.cli import main
from aiotwin_nb.scenario import load_scenario


def test_all_strategies_on_the_lab_as_json(capsys, tmp_path):
    assert main(["plan", "cluster-24", "--strategies", "all", "--json", "--picture", str(tmp_path / "p.png")]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)["strategies"]}
    assert {"min_comm_cost", "min_comm_cost_open", "min_kld", "share", "random", "flat"} <= {
        n for n in rows if "error" not in rows[n]
    }
    best = rows["min_comm_cost"]
    assert (best["gap"], best["optimal"]) == (0, True)
    assert sorted(client for clients in best["clusters"].values() for client in clients) == sorted(
        f"n{i}" for i in range(7, 31)
    )
    assert {"round_cost", "aggregation_cost", "imbalance", "seconds", "pareto"} <= best.keys()
    assert "last-layer update" in rows["shape"]["error"]
    assert any(row.get("pareto") for row in rows.values())
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")


def test_plan_says_that_nothing_is_trained(capsys):
    assert main(["plan", "improvement", "--json", "--set", "strategy.name=shape"]) == 0
    shape = capsys.readouterr()
    assert "nothing is trained here" in shape.err
    assert main(["plan", "improvement", "--json"]) == 0
    plain = capsys.readouterr()
    assert plain.err == ""
    assert json.loads(shape.out) == json.loads(plain.out)


def test_the_table_marks_the_front(capsys):
    assert main(["plan", "cluster-24", "--strategies", "min_comm_cost,share,min_kld,min_comm_cost_greedy"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("* share") for line in lines)
    assert "0.00 %" in next(line for line in lines if "min_comm_cost " in line)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--strategies", "min_kl"], "Did you mean 'min_kld'"),
        (["--picture", "x.png"], "give --strategies"),
        (["--strategies", "flat", "--picture", "no/such/folder/x.png"], "cannot be written"),
        (["--set", "cost.model=energy"], "needs the energy of every node"),
        (["--set", "cost.args={image: 3}"], "cost.*has no argument 'image'"),
        (
            ["--set", "strategy={name: min_comm_cost_open, args: {capacity: 4}}"],
            "capacities add up to 20, but there are 24",
        ),
        (["--set", "objective={type: both}"], "both needs target_accuracy"),
    ],
)
def test_bad_input_exits_with_2(capsys, arguments, words):
    import re

    assert main(["plan", "cluster-24", *arguments]) == 2
    assert re.search(words, capsys.readouterr().err, re.S)


def test_unknown_labels_are_reported_not_raised():
    scenario = load_scenario("cluster-24")
    nodes = [node.model_copy(update={"data": {}}) for node in scenario.nodes]
    rows = api.compare_plans(scenario.model_copy(update={"nodes": nodes}), "min_kld,min_comm_cost")["strategies"]
    assert "n7, n8" in rows[0]["error"]
    assert (rows[1]["imbalance"], rows[1]["pareto"]) == (None, False)


def test_the_lab_is_what_its_script_writes(tmp_path):
    import importlib.util
    from pathlib import Path

    labs = Path(__file__).resolve().parents[1] / "labs"
    spec = importlib.util.spec_from_file_location("make_cluster_24", labs / "make_cluster_24.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.__file__ = str(tmp_path / "make_cluster_24.py")
    module.main()
    assert (tmp_path / "cluster-24.yaml").read_text() == (labs / "cluster-24.yaml").read_text()


def test_calibrate_measures_and_writes(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("AIOTWIN_TRACKING", "off")
    run = str(tmp_path / "run")
    sets = ["--set", "training.max_rounds=2", "--set", "events=[]"]
    assert main(["run", "improvement", "--out", run, "--no-progress", *sets]) == 0
    capsys.readouterr()
    assert main(["calibrate", run, "-o", str(tmp_path / "measured.yaml"), "--json"]) == 0
    speeds = json.loads(capsys.readouterr().out)["speeds"]
    assert set(speeds) == {"n4", "n5", "n6", "n7", "n8"}
    assert all(entry["declared"] is None and entry["measured"] > 0 for entry in speeds.values())
    scenario = load_scenario(tmp_path / "measured.yaml")
    declared = {node.id: node.speed for node in scenario.nodes if node.speed is not None}
    assert {client: float(speed) for client, speed in declared.items()} == {c: s["measured"] for c, s in speeds.items()}
    assert api.plan(scenario, cost__model="computation_time")["initial"]["round_cost"] > 0
