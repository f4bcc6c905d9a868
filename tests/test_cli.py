"""The command line as people meet it: real processes, real training."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from aiotwin_nb.cli import main

ROOT = Path(__file__).resolve().parents[1]
SHORT = ["--set", "objective.budget=24000", "--set", "events[0].after_round=4", "--set", "validation.window=3"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "AIOTWIN_TRACKING": "offline"}


def command(*arguments):
    return [sys.executable, "-m", "aiotwin_nb", *map(str, arguments)]


def aiotwin(*arguments, cwd=None, check=0):
    done = subprocess.run(command(*arguments), capture_output=True, text=True, env=ENVIRONMENT, cwd=cwd, timeout=200)
    assert done.returncode == check, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    summary = json.loads(aiotwin("run", "improvement", "--json", "--out", folder / "run", *SHORT).stdout)
    return folder / "run", summary


def essence(summary):
    """What must not depend on when, where or how often a run was interrupted."""
    history = [{k: v for k, v in row.items() if k != "seconds"} for row in summary["history"]]
    return {**{k: v for k, v in summary.items() if k not in ("run_id", "repeated_rounds")}, "history": history}


def test_plan_json_of_the_hands_on(capsys):
    assert main(["plan", "hands-on", "--json"]) == 0
    planned = json.loads(capsys.readouterr().out)
    assert planned["initial"] == {
        "clusters": {"n2": ["n4", "n5", "n6"], "n3": ["n7", "n8"]},
        "round_cost": 1320,
        "aggregation_cost": 990,
    }
    (join,) = planned["reconfigurations"]
    assert (join["aggregation_cost"], join["round_cost_after"], join["change_cost"], join["post_cost"]) == (
        1320,
        1980,
        165,
        660,
    )
    assert "decision" not in join


def test_only_json_on_standard_output_and_it_is_the_summary(undisturbed):
    path, summary = undisturbed
    assert summary == json.loads((path / "summary.json").read_text())
    assert summary["status"] == "finished"
    assert summary["total_cost"] <= 24000
    assert summary["reconfigurations"][0]["decision"] in ("kept", "reverted")
    assert summary["final_accuracy"] > 60


def test_the_run_directory_holds_what_is_promised(undisturbed):
    path, summary = undisturbed
    assert {p.name for p in path.iterdir()} >= {
        "scenario.yaml",
        "journal.jsonl",
        "inbox",
        "checkpoints",
        "wandb",
        "lock",
        "state.json",
        "summary.json",
    }
    lines = [json.loads(line) for line in (path / "journal.jsonl").read_text().splitlines()]
    assert [line["seq"] for line in lines] == list(range(len(lines)))
    assert {"seq", "time", "type", "data", "checksum"} == set(lines[0])
    assert sum(line["type"] == "round_finished" for line in lines) == summary["rounds"] + 1


def test_wandb_rows_are_the_journals_rows(undisturbed):
    from aiotwin_nb.api import RunMetrics
    from aiotwin_nb.orchestration.rundir import RunDirectory
    from aiotwin_nb.tracking import WandbLogSource

    path, summary = undisturbed
    rows = WandbLogSource(path).rows()
    journal = RunMetrics(RunDirectory(path)).journal_rows()
    assert len(rows) == summary["rounds"] + 1
    assert [{k: v for k, v in row.items() if not k.startswith("_")} for row in rows] == journal


@pytest.mark.slow
def test_same_seed_same_bits_and_another_seed_another_run(undisturbed, tmp_path):
    _, summary = undisturbed
    again = json.loads(aiotwin("run", "improvement", "--json", "--out", tmp_path / "a", "--workers", 2, *SHORT).stdout)
    assert essence(again) == essence(summary)
    other = json.loads(aiotwin("run", "improvement", "--json", "--out", tmp_path / "b", "--seed", 2, *SHORT).stdout)
    assert other["history"][3]["accuracy"] != summary["history"][3]["accuracy"]
    assert other["history"][3]["cost"] == summary["history"][3]["cost"]


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.01)


def rounds_done(path):
    journal = path / "journal.jsonl"
    return journal.read_text(errors="replace").count('"type":"round_finished"') if journal.exists() else 0


@pytest.mark.slow
@pytest.mark.parametrize("trial", range(3))
def test_kill_9_at_a_random_moment_then_resume(undisturbed, tmp_path, trial):
    _, summary = undisturbed
    path = tmp_path / "run"
    chance = random.Random(trial)
    arguments = ("run", "improvement", "--out", path, "--no-progress", *SHORT)
    for _ in range(3):  # killed, resumed and killed again, resumed
        process = subprocess.Popen(
            command(*arguments), env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        before = rounds_done(path)
        wait_for(lambda: process.poll() is not None or rounds_done(path) > before)  # noqa: B023
        time.sleep(chance.random() * 0.4)
        process.send_signal(signal.SIGKILL)
        process.wait()
        arguments = ("resume", path, "--no-progress")
    done = aiotwin("resume", path, "--json")
    resumed = json.loads(done.stdout)
    assert essence(resumed) == essence(summary)
    assert resumed["repeated_rounds"] <= 3
    from aiotwin_nb.tracking import WandbLogSource

    assert [row["round"] for row in WandbLogSource(path).rows()] == list(range(summary["rounds"] + 1))


def test_interrupt_stops_cleanly_and_can_be_resumed(undisturbed, tmp_path):
    _, summary = undisturbed
    path = tmp_path / "run"
    process = subprocess.Popen(
        command("run", "improvement", "--out", path, *SHORT),
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for(lambda: rounds_done(path) > 3)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert f"aiotwin resume {path}" in out
    status = json.loads(aiotwin("status", path, "--json").stdout)
    assert (status["status"], status["stop_reason"]) == ("stopped", "interrupted")
    resumed = json.loads(aiotwin("resume", path, "--json").stdout)
    assert essence(resumed) == essence(summary)
    assert resumed["repeated_rounds"] == 0


@pytest.mark.slow
def test_live_run_status_watch_inject_lock_stop(tmp_path):
    path = tmp_path / "run"
    process = subprocess.Popen(
        command("run", "improvement", "--out", path, "--no-progress", "--set", "events=[]", "--set", "objective.budget=3000000",
                "--set", "training.max_rounds=2000"),
        env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    wait_for(lambda: rounds_done(path) > 2)
    watcher = subprocess.Popen(command("watch", path), env=ENVIRONMENT, stdout=subprocess.PIPE, text=True)
    assert "running" in aiotwin("status", path).stdout
    refused = aiotwin("resume", path, check=2)
    assert f"process {process.pid}" in refused.stderr
    joining = tmp_path / "n9.yaml"
    joining.write_text("{id: n9, role: client, links: {n1: 150, n2: 120, n3: 100}, data: {7: 40, 8: 40, 9: 40}}\n")
    assert "n9 joins" in aiotwin("inject", path, "--add", joining).stdout
    wait_for(lambda: '"n9"' in aiotwin("status", path, "--json").stdout)
    wrong = aiotwin("inject", path, "--remove", "n66", check=2)
    assert "n66" in wrong.stderr
    assert "Did you mean 'n6'" in wrong.stderr
    assert "n6 leaves" in aiotwin("inject", path, "--remove", "n6").stdout
    wait_for(lambda: "n6 left" in aiotwin("status", path).stdout)
    aiotwin("stop", path)
    process.communicate(timeout=60)
    assert process.returncode == 0
    seen, _ = watcher.communicate(timeout=60)
    assert "n9 joins" in seen
    assert "stopped" in seen
    assert "nothing to stop" in aiotwin("stop", path, check=2).stderr


def test_runs_are_found_by_name_under_runs(undisturbed, tmp_path, monkeypatch, capsys):
    path, _ = undisturbed
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "mine").symlink_to(path)
    monkeypatch.chdir(tmp_path)
    assert main(["status", "mine"]) == 0
    assert "finished" in capsys.readouterr().out
    assert main(["status", "mien"]) == 2
    assert "Did you mean 'mine'" in capsys.readouterr().err


@pytest.mark.parametrize("run", ["1a", "1b"])
def test_replay_of_the_recorded_runs(shared, tmp_path, capsys, run):
    folder = shared / "reference" / "icmlcn" / run
    scenario = tmp_path / "recorded.yaml"
    scenario.write_text(
        f"name: recorded\nnodes: {{csv: {folder / 'cluster.csv'}}}\n"
        "objective: {budget: 100000, overshoot: allowed}\nvalidation: {policy: rva, trend: log_original, window: 5}\n"
        f"events:\n  - {{after_round: 10, add: {{csv: {folder / 'changes.csv'}}}}}\n"
    )
    trace = folder / "rva.csv"
    assert main(["replay", str(scenario), "--trace", str(trace), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    (record,) = result["reconfigurations"]
    expected = {"1a": ("reverted", 50.92, 44.72), "1b": ("kept", 50.61, 103.97)}[run]
    assert record["decision"] == expected[0]
    assert record["predicted_old"] == pytest.approx(expected[1], abs=0.01)
    assert record["predicted_new"] == pytest.approx(expected[2], abs=0.01)
    assert (record["evaluation_round"], record["rounds_left_old"], record["rounds_left_new"]) == (15, 42, 36)
    assert (record["change_cost"], record["post_cost"], record["revert_cost"]) == (66, 264, 0)
    recorded = {int(line.split(",")[0]): float(line.split(",")[3]) for line in trace.read_text().splitlines()}
    spent, by_round = 0, {0: 0}
    for entry in result["ledger"]:
        spent += entry["cost"]
        if entry["kind"] == "round":
            by_round[entry["round"]] = spent
    assert by_round == recorded


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "no rows"),
        ("0,1,2\n", "trace.csv:1"),
        ("0,9,2,0\n2,10,2,5\n", "trace.csv:2: round 2 where round 1 is due"),
        ("0,9,2,0\n1,900,2,5\n", "trace.csv:2: accuracy 900"),
        ("round,accuracy,loss,cost\n0,9,2,x\n", "trace.csv:2"),
    ],
)
def test_bad_traces_are_named(tmp_path, capsys, content, words):
    trace = tmp_path / "trace.csv"
    trace.write_text(content)
    assert main(["replay", "improvement", "--trace", str(trace)]) == 2
    assert words in capsys.readouterr().err


def test_unknown_verb_is_suggested(capsys):
    with pytest.raises(SystemExit) as exit_:
        main(["pln", "improvement"])
    assert exit_.value.code == 2
    assert "Did you mean 'plan'" in capsys.readouterr().err


def test_doctor_says_what_works(capsys):
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    for name in ("python", "torch", "flower", "digits", "wandb", "kubernetes"):
        assert name in out
    assert main(["doctor", "--json"]) == 0
    assert {f["state"] for f in json.loads(capsys.readouterr().out)} <= {"ok", "missing", "broken"}


def test_python_api_runs_in_a_process_of_its_own(tmp_path, monkeypatch):
    import aiotwin_nb as at

    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("AIOTWIN_TRACKING", "offline")
    run = at.run("improvement", out=tmp_path / "run", objective__budget=9000, events=[])
    assert run.status == "running"
    run.wait(120)
    assert run.status == "finished"
    assert len(run.history) == run.summary["rounds"] + 1
    assert list(run.metrics()["round"]) == list(range(run.summary["rounds"] + 1))
    assert at.attach(tmp_path / "run").summary == run.summary
    with pytest.raises(at.AIoTwinError, match=r"objective\.budget"):
        at.run("improvement", out=tmp_path / "no", objective__budget=5)
    assert not (tmp_path / "no").exists()


def test_import_of_the_package_is_light():
    code = "import sys, aiotwin_nb; aiotwin_nb.plan('hands-on'); print([m for m in ('torch', 'flwr', 'wandb', 'pandas', 'matplotlib') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=ENVIRONMENT, check=True)
    assert done.stdout.strip() == "[]"


def test_a_reader_that_goes_away_does_not_end_the_run(tmp_path):
    path = tmp_path / "run"
    pipe = subprocess.Popen(
        command("run", "improvement", "--out", path, *SHORT),
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    pipe.stderr.readline()
    pipe.stderr.close()
    assert pipe.wait(timeout=100) == 0
    assert json.loads((path / "summary.json").read_text())["status"] == "finished"


def test_python_api_refuses_a_directory_that_is_taken(undisturbed):
    import aiotwin_nb as at

    with pytest.raises(at.AIoTwinError, match="not empty"):
        at.run("degradation", out=undisturbed[0])


def test_resuming_a_finished_run_opens_no_new_segment(undisturbed):
    path, summary = undisturbed
    segments = list((path / "wandb").glob("*run-*"))
    assert json.loads(aiotwin("resume", path, "--json").stdout)["total_cost"] == summary["total_cost"]
    assert list((path / "wandb").glob("*run-*")) == segments


def test_what_stands_behind_two_dashes_goes_to_jupyterlab(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(
        "aiotwin_nb.notebook.serve.subprocess.call", lambda command, **more: calls.append((command, more)) or 0
    )
    assert main(["lab", str(tmp_path / "lab"), "--", "--no-browser"]) == 0
    ((arguments, more),) = calls
    assert arguments[-1] == "--no-browser"
    assert more["cwd"] == tmp_path / "lab"
    assert (tmp_path / "lab" / "01-first-run.ipynb").is_file()


@pytest.mark.slow
def test_compare_of_a_run_runs_its_roads_not_taken(tmp_path):
    from aiotwin_nb.orchestration.inbox import Command, submit

    path = tmp_path / "run"
    process = subprocess.Popen(
        command("run", "improvement", "--out", path, "--no-progress", "--set", "events=[]", "--set", "objective.budget=24000"),
        env=ENVIRONMENT, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    wait_for(lambda: rounds_done(path) > 2)
    node = {"id": "n9", "role": "client", "links": {"n1": 150, "n2": 120, "n3": 100}, "data": {7: 40, 8: 40, 9: 40}}
    submit(path / "inbox", Command(command="inject", add=[node]))
    assert process.wait(timeout=120) == 0
    summary = json.loads((path / "summary.json").read_text())
    (record,) = summary["reconfigurations"]
    result = json.loads(aiotwin("compare", path, "--json").stdout)
    assert result["reproduced"] is True
    (branch,) = result["branches"]
    assert (branch["after_round"], branch["decision"]) == (record["after_round"], record["decision"])
    taken = branch["reverted" if record["decision"] == "reverted" else "kept"]
    assert taken["rounds"] == summary["rounds"]
    assert taken["total_cost"] == summary["total_cost"]
    assert "settled" in aiotwin("compare", path, "--seeds", "1-2", check=2).stderr
