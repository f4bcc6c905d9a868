"""The orchestrator as a service, over real HTTP: the original's calls, states, events, and everything that is wrong."""

import json
import re
import subprocess

import pytest
from orchestrator_support import Service

from aiotwin_nb import load_scenario
from aiotwin_nb.errors import InvalidInput
from aiotwin_nb.rest.bodies import scenario_of
from aiotwin_nb.rest.openapi import document

ORIGINAL = {
    "epochs": 1,
    "localRounds": 3,
    "trainingParams": {"batchSize": 16, "learningRate": 0.02},
    "configurationModel": "minCommCost",
    "modelSize": 3.3,
    "costSource": "communication",
    "costConfiguration": {"costType": "totalBudget", "communicationBudget": 8000},
    "rvaEnabled": True,
}
TOKEN = "open sesame"


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    running = Service(tmp_path_factory.mktemp("service"), "--at-once", "1")
    yield running
    running.end()


@pytest.fixture(scope="module")
def finished(service):
    """A run that the original's call started, followed to its end."""
    status, run_id = service.ask("POST", "/fl/start", ORIGINAL)
    assert status == 200, run_id
    return run_id, service.events(run_id)


def test_the_originals_call_starts_a_run(service, finished):
    run_id, _ = finished
    status, run = service.ask("GET", f"/fl/runs/{run_id}")
    assert status == 200
    assert (run["run_id"], run["status"], run["stop_reason"]) == (run_id, "finished", "budget")
    assert run["initial"]["round_cost"] == pytest.approx(3.3 * (200 + 3 * 100))  # L is 3
    assert run["total_cost"] >= 8000 > run["total_cost"] - run["initial"]["round_cost"]  # as the original: then stop
    written = load_scenario(service.folder / "runs" / run_id / "scenario.yaml")
    assert (written.training.epochs, written.task.batch_size, written.task.learning_rate) == (1, 16, 0.02)


def test_runs_are_listed(service, finished):
    status, runs = service.ask("GET", "/fl/runs")
    assert status == 200
    assert runs[0]["run_id"] == finished[0]
    assert runs[0].keys() == {"run_id", "scenario", "status", "rounds", "final_accuracy", "total_cost", "budget"}


def test_events_are_the_journal(service, finished):
    run_id, events = finished
    journal = (service.folder / "runs" / run_id / "journal.jsonl").read_text().splitlines()
    told = [json.loads(event["data"]) for event in events]
    assert told == [{k: v for k, v in json.loads(line).items() if k != "checksum"} for line in journal]
    assert [event["event"] for event in events][:2] == ["run_started", "planned"]
    assert events[-1]["event"] == "run_ended"


def test_a_stream_goes_on_where_it_was(service, finished):
    run_id, events = finished
    last = int(events[-1]["id"])
    assert service.events(run_id, last - 2) == events[-2:]
    assert service.events(run_id, last) == []


@pytest.mark.slow
def test_stopping_takes_the_run_to_its_next_boundary_and_twice_is_once(service, finished):
    endless = {"lab": "hands-on", "seed": 5, "set": {"objective.budget": 10**8, "training.max_rounds": 10**5}}
    status, run_id = service.ask("POST", "/fl/start", endless)
    assert status == 200, run_id
    status, refused = service.ask("POST", "/fl/start", ORIGINAL)
    assert status == 409
    assert run_id in refused["error"]
    assert service.ask("POST", f"/fl/stop/{run_id}") == (200, None)
    assert service.events(run_id)[-1]["event"] == "run_ended"
    assert service.ask("GET", f"/fl/runs/{run_id}")[1]["status"] == "stopped"
    assert service.ask("POST", f"/fl/stop/{run_id}") == (200, None)


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "words"),
    [
        ("POST", "/fl/start", b"{", 400, "is not JSON"),
        ("POST", "/fl/start", {"epochs": 0}, 400, "request body: epochs: is 0"),
        ("POST", "/fl/start", {"strategy": {"name": "share"}}, 400, "unknown field"),
        ("POST", "/fl/stop/none-such", None, 400, "no run with the given ID 'none-such'"),
        ("GET", "/fl/runs/none-such", None, 404, "no run with the given ID"),
        ("GET", "/fl/runs/..%2F..", None, 404, "no run with the given ID"),
        ("GET", "/fl/runs/none-such/events", None, 404, "no run with the given ID"),
        ("GET", "/fl/start", None, 405, "Not Allowed"),
        ("GET", "/", None, 404, "/openapi.json"),
        ("POST", "/fl/start", b" " * 4_000_001, 413, "4000000 bytes"),
    ],
)
def test_bad_requests_are_one_error(service, finished, method, path, body, status, words):
    code, answer = service.ask(method, path, body)
    assert code == status
    assert answer.keys() == {"error"}
    assert words in answer["error"]
    assert "Traceback" not in answer["error"]


@pytest.mark.slow
def test_what_only_the_run_itself_notices_is_told_as_well(service, finished):
    body = {"lab": "hands-on", "set": {"cost.model": "energy"}}
    status, answer = service.ask("POST", "/fl/start", body)
    assert status == 400
    assert "energy" in answer["error"]
    assert len(list((service.folder / "runs").glob("*"))) == len(
        service.ask("GET", "/fl/runs")[1]
    )  # nothing was written


def test_pages_of_other_sites_are_refused(service):
    assert service.ask("GET", "/fl/runs", Origin="https://elsewhere.example")[0] == 403
    assert service.ask("GET", "/fl/runs", Origin=service.url)[0] == 200


def test_every_documented_path_is_served_and_no_other(service, finished):
    status, told = service.ask("GET", "/openapi.json")
    assert status == 200
    assert told["paths"] == document()["paths"]
    assert told["components"]["schemas"].keys() == document()["components"]["schemas"].keys()
    for path, operations in told["paths"].items():
        for method in operations.keys() & {"get", "post"}:
            code, _ = service.ask("GET" if method == "post" else "POST", path.replace("{runId}", finished[0]))
            assert code == 405, f"{path} has another method than {method}"
    names = set(re.findall(r"#/components/schemas/(\w+)", json.dumps(told)))
    assert names <= told["components"]["schemas"].keys()
    assert "#/$defs" not in json.dumps(told)


@pytest.mark.slow
def test_an_interrupted_run_is_gone_on_with_after_a_restart(service, finished, tmp_path):
    """What a pod does that is started anew: its processes are gone, its folder is there."""
    run_id, events = finished
    copy = tmp_path / "runs" / run_id
    subprocess.run(["cp", "-r", service.folder / "runs" / run_id, copy.parent.parent / "copied"], check=True)
    copy.parent.mkdir()
    (tmp_path / "copied").rename(copy)
    checkpoints = sorted((copy / "checkpoints").glob("round-*.npz"))
    for later in checkpoints[1:]:
        later.unlink()
    last = int(checkpoints[0].stem.removeprefix("round-"))
    finishes = [i for i, event in enumerate(events) if event["event"] == "round_finished"]
    assert 0 < last < len(finishes) - 1
    journal = (copy / "journal.jsonl").read_text().splitlines(keepends=True)
    (copy / "journal.jsonl").write_text("".join(journal[: finishes[last] + 1]))
    again = Service(tmp_path)
    try:
        assert f"went on with {run_id}\n" in again.said
        assert again.events(run_id)[-1]["event"] == "run_ended"
        (before, after) = (each.ask("GET", f"/fl/runs/{run_id}")[1] for each in (service, again))
        assert after["ledger"] == before["ledger"]
        assert after["final_accuracy"] == before["final_accuracy"]
    finally:
        again.end()


def test_with_a_token_nobody_comes_in_without_it(tmp_path):
    service = Service(tmp_path, AIOTWIN_ORCHESTRATOR_TOKEN=TOKEN)
    try:
        assert service.ask("GET", "/fl/runs")[0] == 401
        assert service.ask("POST", "/fl/start", {}, Authorization="Bearer open")[0] == 401
        assert service.ask("GET", "/fl/runs", Authorization=f"Bearer {TOKEN}") == (200, [])
        assert service.ask("GET", "/healthz") == (200, {"status": "ok"})
    finally:
        service.end()
        assert not any(TOKEN in line for line in service.said)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--listen", "8081"], "must look like HOST:PORT"),
        (["--listen", "127.0.0.1:99999"], "must look like HOST:PORT"),
        (["--listen", "192.0.2.1:8081"], "choose another address or port"),
        (["--at-once", "0"], "must be 1 or more"),
        (["--runtime", "kubernets"], "Did you mean 'kubernetes'?"),
        (["--kubeconfig", "x"], "only with --runtime kubernetes"),
        (["hand-on"], "Did you mean 'hands-on'?"),
    ],
)
def test_wrong_options_are_one_error(options, words, capsys, tmp_path, monkeypatch):
    from aiotwin_nb.cli import main

    monkeypatch.chdir(tmp_path)
    assert main(["orchestrator", *options]) == 2
    assert words in capsys.readouterr().err


# What a body asks for, without HTTP.


@pytest.fixture(scope="module")
def base():
    return load_scenario("hands-on")


def test_every_field_of_the_original_arrives(base):
    body = {**ORIGINAL, "configurationModel": "minKld", "rvaEnabled": False, "epochs": -1}
    body["costConfiguration"] = {"CostType": "costMin", "TargetAccuracy": 0.8}  # as Go's decoder also takes it
    scenario = scenario_of(body, base)
    assert scenario.training.epochs == base.training.epochs
    assert scenario.training.local_rounds == 3
    assert scenario.strategy.name == "min_kld"
    assert scenario.cost.model == "communication"
    assert (scenario.objective.type, scenario.objective.target_accuracy, scenario.objective.budget) == (
        "cost_min",
        80,
        None,
    )
    assert scenario.validation.policy == "off"
    assert scenario.nodes == base.nodes
    assert scenario_of({}, base) == base


def test_a_whole_scenario_arrives(base):
    assert scenario_of(base.resolved(), load_scenario("improvement")) == base


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ([], "must be a JSON object"),
        ({"nodes": {"csv": "/etc/hosts"}}, "cannot name files"),
        ({"set": {"events": [{"after_round": 1, "add": {"csv": "x"}}]}}, "cannot name files"),
        ({"set": {"task": {"file": "/etc/hosts"}}}, "cannot name files"),
        ({"nodes": [], "name": "x"}, "nodes"),
        ({"lab": "../hands-on"}, "lab: is '../hands-on'"),
        ({"set": {"training.max_rounds": 0}}, "request body: set.training.max_rounds: is 0"),
        ({"epoch": 3}, "Did you mean 'epochs'?"),
        ({"trainingParams": {"batchSize": "many"}}, "trainingParams.batchSize: is 'many'"),
        ({"configurationModel": "best"}, "minCommCost, minKld, centHier"),
        ({"costConfiguration": {"costType": "totalBudget"}}, "communicationBudget: is missing"),
        ({"costConfiguration": {"costType": "costMin", "targetAccuracy": 101}}, "costConfiguration"),
        ({"modelSize": float("nan")}, "modelSize"),
    ],
)
def test_wrong_bodies_name_the_field(base, body, words):
    with pytest.raises(InvalidInput) as raised:
        scenario_of(body, base)
    assert words in str(raised.value)
    assert str(raised.value).startswith("request body")


def test_the_examples_of_the_document_are_good(base):
    examples = document()["paths"]["/fl/start"]["post"]["requestBody"]["content"]["application/json"]["examples"]
    assert {name: scenario_of(example["value"], base).name for name, example in examples.items()} == dict.fromkeys(
        examples, "hands-on"
    )
