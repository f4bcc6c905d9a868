import json
from decimal import Decimal

import pytest
import yaml

from aiotwin_nb.cli import main
from aiotwin_nb.continuum import Role
from aiotwin_nb.errors import InvalidInput
from aiotwin_nb.orchestration.rundir import scenario_yaml
from aiotwin_nb.scenario import lab_names, load_scenario, scenario_schema

LABS = [
    "hands-on", "improvement", "degradation", "degradation-mislabelled", "wrong-revert", "wrong-keep", "removal",
    "improvement-fashion", "degradation-fashion",
]  # fmt: skip


def test_all_labs_are_shipped_and_load():
    assert set(LABS) <= set(lab_names())
    for name in lab_names():
        assert load_scenario(name).name == name


@pytest.mark.parametrize("name", LABS)
def test_labs_write_policy_and_trend_out(name):
    from aiotwin_nb.scenario import lab_path

    written = yaml.safe_load(lab_path(name).read_text())
    expected = "log_original" if name.startswith("wrong") else "log"
    assert written["validation"]["policy"] == "rva"
    assert written["validation"]["trend"] == expected


def test_resolved_scenario_is_complete_and_loads_to_the_same(tmp_path):
    scenario = load_scenario("hands-on", seed=7)
    path = tmp_path / "scenario.yaml"
    path.write_text(scenario_yaml(scenario))
    assert load_scenario(path) == scenario
    assert yaml.safe_load(path.read_text())["validation"] == {
        "policy": "rva",
        "trend": "log",
        "window": 6,
        "arm": "fewer_rounds",
    }


def test_a_minimal_scenario_gets_the_documented_defaults(tmp_path):
    path = tmp_path / "small.yaml"
    path.write_text(
        "name: small\nnodes:\n  - {id: n1, role: global_aggregator}\n  - {id: n2, role: client, links: {n1: 1}, data: {0: 5}}\n"
    )
    scenario = load_scenario(path)
    assert scenario.task.name == "digits"
    assert scenario.objective.budget == 100000
    assert (scenario.training.epochs, scenario.training.local_rounds, scenario.training.max_rounds) == (2, 2, 100)
    assert (scenario.validation.policy, scenario.validation.trend) == ("rva", "log")
    assert scenario.aggregation.global_.name == "FedAvg"
    assert scenario.model_size_mb == Decimal("3.3")


def test_costs_are_the_decimals_that_were_written():
    scenario = load_scenario("hands-on")
    assert scenario.model_size_mb == Decimal("3.3")
    assert isinstance(scenario.infrastructure.nodes["n4"].links["n2"], Decimal)


def test_overrides_by_dotted_path():
    scenario = load_scenario(
        "improvement",
        overrides={"validation.window": 3, "events[0].after_round": 4, "nodes.3.links": {"n2": 1, "n3": 2, "n1": 3}},
    )
    assert scenario.validation.window == 3
    assert scenario.events[0].after_round == 4
    assert scenario.nodes[3].links == {"n2": 1, "n3": 2, "n1": 3}


def test_the_originals_csv_is_read_in_both_forms(tmp_path):
    (tmp_path / "labels.csv").write_text(
        'n1,global_aggregator,"",""\nn2,local_aggregator,"n1:100",""\nn3,local_aggregator,"n1:100",""\n'
        'n4,client,"n1:120,n2:20,n3:60","0:100,1:50"\nn5,client,"n1:120,n2:60,n3:20","2:7"\n'
    )
    (tmp_path / "changes.csv").write_text('n6,client,"n1:120,n2:20,n3:60",0.3,24,5\n')
    path = tmp_path / "csv.yaml"
    path.write_text("name: csv\nnodes: {csv: labels.csv}\nevents:\n  - {after_round: 10, add: {csv: changes.csv}}\n")
    scenario = load_scenario(path)
    nodes = scenario.infrastructure.nodes
    assert nodes["n4"].data == {0: 100, 1: 50}
    assert nodes["n1"].role is Role.GLOBAL_AGGREGATOR
    joining = scenario.changes()[10].added[0]
    assert (joining.energy, joining.partition) == (Decimal("0.3"), (5, 24))


def test_a_broken_csv_names_its_line(tmp_path):
    (tmp_path / "nodes.csv").write_text('n1,global_aggregator,"",""\nn2,clientt,"n1:1","0:1"\n')
    path = tmp_path / "csv.yaml"
    path.write_text("name: csv\nnodes: {csv: nodes.csv}\n")
    with pytest.raises(InvalidInput, match=r"nodes\.csv.*2.*clientt.*client"):
        load_scenario(path)


def test_a_missing_csv_is_named(tmp_path):
    path = tmp_path / "csv.yaml"
    path.write_text("name: csv\nnodes: {csv: nowhere.csv}\n")
    with pytest.raises(InvalidInput, match=r"csv\.yaml:2: nodes\.csv.*nowhere\.csv"):
        load_scenario(path)


def test_events_of_one_round_are_one_change():
    scenario = load_scenario("improvement", overrides={"events": [
        {"after_round": 5, "remove": ["n8"]},
        {"after_round": 5, "link": {"n4": {"n2": 40}}},
    ]})  # fmt: skip
    change = scenario.changes()[5]
    assert change.removed == ("n8",)
    assert change.links == {"n4": {"n2": 40}}


def test_schema_is_printed_and_describes_the_labs(capsys):
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema comes with JupyterLab")
    assert main(["schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    assert schema == scenario_schema()
    assert "min_comm_cost" in schema["$defs"]["StrategySpec"]["properties"]["name"]["enum"]
    validator = jsonschema.Draft202012Validator(schema)
    for name in LABS:
        # through JSON, as an editor sees it: keys of mappings are text
        document = json.loads(json.dumps(load_scenario(name).resolved()))
        assert not list(validator.iter_errors(document)), name
    broken = {**document, "validation": {"policy": "rvaa"}}
    assert list(validator.iter_errors(broken))


def test_parts_of_divided_data_are_given_to_clients_that_join_later_too():
    scenario = load_scenario("improvement", overrides={"task": {"name": "digits", "partition": {"kind": "iid"}}})
    nodes = scenario.infrastructure.nodes
    assert [nodes[i].partition for i in ("n4", "n8")] == [(0, 6), (4, 6)]
    assert scenario.changes()[10].added[0].partition == (5, 6)
    assert nodes["n2"].partition is None
    assert load_scenario("improvement").infrastructure.nodes["n4"].partition is None
