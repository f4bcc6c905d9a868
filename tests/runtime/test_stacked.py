"""The stacked runtime: a Runtime that agrees with the embedded one, and is what `compare` runs on where it can."""

from __future__ import annotations

import json
from functools import cache
from statistics import fmean

import pytest

from aiotwin_nb import api
from aiotwin_nb.cli import main
from aiotwin_nb.errors import InvalidInput, RunFailed
from aiotwin_nb.orchestration.events import RoundFinished
from aiotwin_nb.orchestration.inbox import Command, submit
from aiotwin_nb.orchestration.loop import Orchestrator
from aiotwin_nb.orchestration.ports import Runtime
from aiotwin_nb.orchestration.rundir import RunDirectory
from aiotwin_nb.orchestration.state import Rules, RunState
from aiotwin_nb.orchestration.store import MemoryStore
from aiotwin_nb.runtime.embedded import EmbeddedRuntime
from aiotwin_nb.runtime.stacked import StackedRuntime, can_stack
from aiotwin_nb.scenario import load_scenario
from aiotwin_nb.tracking import NullTracker
from fl_service.spec import TrainingSpec

LABS = ("improvement", "degradation", "degradation-mislabelled", "wrong-revert", "wrong-keep", "removal")
SHORT = {"objective.budget": 24000, "events[0].after_round": 4, "validation.window": 3}
TASK = {"name": "digits", "test_samples": 500}


@cache
def run_lab(lab: str, seed: int, runtime: str) -> RunState:
    scenario = load_scenario(lab, seed=seed)
    return Orchestrator(Rules.of(scenario), api.make_runtime(runtime, scenario), MemoryStore(), NullTracker()).run("r")


def test_it_is_a_runtime():
    runtime = StackedRuntime(TrainingSpec(1, TASK))
    assert isinstance(runtime, Runtime)
    assert runtime.name == "stacked"
    assert runtime.model_size_mb() == EmbeddedRuntime(TrainingSpec(1, TASK)).model_size_mb()
    runtime.close()


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("lab", LABS)
def test_it_agrees_with_embedded_on_the_labs(lab, seed):
    embedded, stacked = run_lab(lab, seed, "embedded"), run_lab(lab, seed, "stacked")
    assert (embedded.runtime, stacked.runtime) == ("embedded", "stacked")
    decisions = [(r.after_round, r.decision, r.evaluation_round) for r in embedded.reconfigurations]
    assert [(r.after_round, r.decision, r.evaluation_round) for r in stacked.reconfigurations] == decisions
    assert stacked.round == embedded.round
    assert stacked.spent == embedded.spent
    for one, other in zip(embedded.history, stacked.history, strict=True):
        assert abs(one.accuracy - other.accuracy) <= 0.5, one.round


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("task.model=cnn", "task.model: 'cnn'"),
        ("task.optimizer=adam", "task.optimizer: 'adam'"),
        ("aggregation.global.name=FedAdam", "aggregation.global.name: 'FedAdam'"),
        ("aggregation.local={name: FedProx, args: {proximal_mu: 0.1}}", "aggregation.local.name: 'FedProx'"),
    ],
)
@pytest.mark.parametrize("verb", ["run", "compare"])
def test_what_does_not_allow_it_is_named(tmp_path, capsys, verb, setting, words):
    out = ["--out", str(tmp_path / "run")] if verb == "run" else []
    assert main([verb, "improvement", "--runtime", "stacked", "--set", setting, *out]) == 2
    captured = capsys.readouterr()
    assert words in captured.err
    assert "--runtime embedded" in captured.err
    assert not captured.out
    assert not (tmp_path / "run").exists()


def test_workers_make_no_sense():
    with pytest.raises(InvalidInput, match="workers: 2"):
        StackedRuntime(TrainingSpec(1, TASK), 2)


def test_a_bad_task_is_bad_input():
    with pytest.raises(InvalidInput, match=r"task.optimizer"):
        can_stack(TrainingSpec(1, {"optimizer": "sgdd"}))


def test_a_broken_checkpoint_is_a_failed_run(tmp_path):
    (tmp_path / "c").write_bytes(b"no checkpoint")
    scenario = load_scenario("improvement")
    with pytest.raises(RunFailed, match="not a readable checkpoint"):
        StackedRuntime(TrainingSpec(1, TASK)).restore(
            tmp_path / "c", scenario.infrastructure, Rules.of(scenario).plan(scenario.infrastructure, None)
        )


# run and resume.


def essence(state: RunState) -> list:
    return [(row.round, row.accuracy, row.loss, row.total_cost) for row in state.history]


def test_a_run_is_resumed_on_the_runtime_that_it_was_made_with(tmp_path):
    scenario = load_scenario("improvement", overrides=SHORT)
    whole = api.execute(scenario, tmp_path / "whole", runtime="stacked", tracking="off")
    assert whole.runtime == "stacked"

    def stop(event, state):
        if isinstance(event, RoundFinished) and event.result.round == 5:
            submit(tmp_path / "run" / "inbox", Command(command="stop"))

    stopped = api.execute(scenario, tmp_path / "run", runtime="stacked", tracking="off", listeners=[stop])
    assert (stopped.status, stopped.round) == ("stopped", 5)
    resumed = api.continue_run(tmp_path / "run", tracking="off")
    assert essence(resumed) == essence(whole)
    embedded = api.execute(scenario, tmp_path / "embedded", tracking="off")
    assert [row[2] for row in essence(embedded)] != [row[2] for row in essence(whole)]  # so it could be told apart


def test_workers_and_the_stacked_runtime_exclude_each_other(tmp_path):
    with pytest.raises(InvalidInput, match="workers: 1"):
        api.execute(load_scenario("improvement"), tmp_path / "run", runtime="stacked", tracking="off", workers=1)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("runtime", api.LOCAL_RUNTIMES)
def test_the_runtime_is_noted_before_the_first_event(tmp_path, runtime):
    unnoted = RunDirectory.create(tmp_path / "unnoted", load_scenario("improvement"))
    assert api._runtime_of(unnoted) == "embedded"
    directory = RunDirectory.create(tmp_path / "run", load_scenario("improvement"), {"runtime": runtime})
    assert api._runtime_of(directory) == runtime


# compare.


def test_compare_is_stacked_by_default_and_says_so(capsys):
    arguments = [word for path, value in SHORT.items() for word in ("--set", f"{path}={value}")]
    assert main(["compare", "improvement", "--json", *arguments]) == 0
    result = json.loads(capsys.readouterr().out)
    assert list(result) == ["runtime", "branches"]
    assert result["runtime"] == "stacked"
    assert main(["compare", "improvement", "--runtime", "embedded", *arguments]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "runtime: embedded"
    assert main(["compare", "improvement", *arguments]) == 0
    fast = capsys.readouterr().out.splitlines()
    assert fast[0].startswith("runtime: stacked")
    assert fast[1].rpartition("better")[2] == printed[1].rpartition("better")[2]


def test_compare_is_embedded_where_the_task_does_not_allow_stacked():
    local = {"name": "FedAvgM", "args": {}}
    scenario = load_scenario("improvement", overrides={**SHORT, "aggregation.local": local})
    assert api.fastest_runtime(scenario) == "embedded"
    assert api.fastest_runtime(load_scenario("improvement")) == "stacked"


def test_an_unknown_runtime_is_refused():
    with pytest.raises(InvalidInput, match="Did you mean 'stacked'"):
        api.compare("improvement", runtime="staked")


@pytest.mark.parametrize(
    ("lab", "runtime"), [("improvement", "stacked"), ("removal", "stacked"), ("improvement", "embedded")]
)
def test_a_branch_that_forks_is_one_from_the_start(lab, runtime):
    from dataclasses import replace

    scenario = load_scenario(lab, overrides=SHORT)
    (branch,) = api.compare(scenario, runtime=runtime)["branches"]
    other = "reverted" if branch["decision"] == "kept" else "kept"
    rules = replace(Rules.of(scenario), forks={branch["after_round"]: other}, returning=True)
    state = Orchestrator(rules, api.make_runtime(runtime, scenario), MemoryStore(), NullTracker()).run("r")
    assert branch[other] == {
        "final_accuracy": fmean(row.accuracy for row in state.history[-3:]),
        "rounds": state.round,
        "total_cost": int(state.spent),
    }


@pytest.mark.slow
@pytest.mark.parametrize("lab", LABS)
def test_both_runtimes_agree_on_the_better_branch(lab):
    embedded, stacked = (api.compare(lab, runtime=runtime) for runtime in api.LOCAL_RUNTIMES)
    verdicts = [
        [(b["after_round"], b["decision"], b["best"]) for b in found["branches"]] for found in (embedded, stacked)
    ]
    assert verdicts[0] == verdicts[1]
