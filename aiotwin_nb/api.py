"""The notebook's way in: plan, run, replay, compare, attach.

Everything takes a scenario file, a lab's name or a Scenario. Runs are processes of their own: they outlive the
kernel that started them.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiotwin_nb.continuum import Change, Infrastructure, Node
from aiotwin_nb.errors import AIoTwinError, InvalidInput, RunFailed, did_you_mean
from aiotwin_nb.notebook.parameters import check_parameters, declared_parameters, read_parameters
from aiotwin_nb.orchestration.calibrate import Speed, calibrated, measured_speeds
from aiotwin_nb.orchestration.compare import compare_branches, compare_with
from aiotwin_nb.orchestration.events import CommandApplied, CommandReceived, CommandRejected
from aiotwin_nb.orchestration.inbox import Command, check_command, parse_command, submit
from aiotwin_nb.orchestration.loop import Listener, Orchestrator, check_budget, stopping_on_signals
from aiotwin_nb.orchestration.metrics import JournalSource
from aiotwin_nb.orchestration.ports import Runtime
from aiotwin_nb.orchestration.replay import plan_along_events, plan_by_strategies, read_trace, replay_summary
from aiotwin_nb.orchestration.replay import replay as replay_trace
from aiotwin_nb.orchestration.retold import retold
from aiotwin_nb.orchestration.rundir import RunDirectory, check_new, new_tracking_id, scenario_yaml
from aiotwin_nb.orchestration.state import Rules, RunState
from aiotwin_nb.orchestration.store import DirectoryStore, MemoryStore
from aiotwin_nb.orchestration.summary import summarise
from aiotwin_nb.planning.strategies import strategies as known_strategies
from aiotwin_nb.planning.strategies import wants_updates
from aiotwin_nb.scenario import NodeSpec, Scenario, load_scenario, parse_value, split_override
from aiotwin_nb.sweep import Cell, Outcome, Sweep, combinations, run_cells, split_grid
from aiotwin_nb.sweep.cells import shown
from aiotwin_nb.tracking import NullTracker, WandbLogSource, make_tracker

if TYPE_CHECKING:
    import pandas as pd

    from aiotwin_nb.runtime.kubernetes import ClusterOptions
    from aiotwin_nb.runtime.members import ClusterRun
    from fl_service.spec import TrainingSpec

LOCAL_RUNTIMES = ("embedded", "stacked")  # in one process on this machine
RUNTIMES = (*LOCAL_RUNTIMES, "kubernetes")
LOG = "process.log"  # what the process of a run that `run` started wrote on standard error
Source = Scenario | str | Path


def plan(source: Source, **overrides: Any) -> dict[str, Any]:
    """Configuration and costs at the start and after every scripted event; nothing is trained.

    Keys as in summary.json: `initial` and `reconfigurations`. `overrides`: values by dotted path, with __ for the dot
    (`plan("improvement", strategy__name="flat")`).
    """
    scenario = resolve(source, overrides)
    return plan_along_events(_rules(scenario))


def rules(source: Source, **overrides: Any) -> Rules:
    """What a run of a scenario would be decided by."""
    return _rules(resolve(source, overrides))


def compare_plans(source: Source, strategies: str | Iterable[str] = "all", **overrides: Any) -> dict[str, Any]:
    """What several strategies plan for one scenario's start: cost, balance, proven gap; nothing is trained.

    `strategies`: names, or "all". Keys: `strategies`, a list of plans in figures or of {"name", "error"}, and `unit`.
    """
    return plan_by_strategies(rules(source, **overrides), strategy_names(strategies))


def strategy_names(chosen: str | Iterable[str]) -> list[str]:
    """Names of strategies from "all", "A,B" or a list; raises InvalidInput for one that does not exist."""
    names = chosen.split(",") if isinstance(chosen, str) else list(chosen)
    names = [name.strip() for name in names]
    if names == ["all"]:
        return known_strategies.names()
    for name in names:
        known_strategies.get(name)
    return list(dict.fromkeys(names))


def calibrate(run: str | Path) -> tuple[Scenario, list[Speed]]:
    """The scenario of a run with the speeds measured in it declared, and these speeds beside the declared ones."""
    directory = RunDirectory.open(run)
    scenario = directory.scenario()
    speeds = measured_speeds(scenario, directory.events())
    return calibrated(scenario, speeds), speeds


def replay(source: Source, trace: str | Path, **overrides: Any) -> dict[str, Any]:
    """Decisions on a recorded accuracy curve (CSV: round,accuracy,loss,total cost); nothing is trained."""
    return replay_summary(replay_trace(_rules(resolve(source, overrides)), read_trace(Path(trace))))


def run(
    source: Source,
    *,
    out: str | Path | None = None,
    tracking: str | None = None,
    workers: int = 0,
    runtime: str = "embedded",
    cluster: Mapping[str, str | None] | None = None,
    **overrides: Any,
) -> Run:
    """Start a run in a process of its own and return when it has begun, after some seconds; `.wait()` for its end.

    `out`: the run directory, new or empty; by default runs/<scenario>-<time>-<id>. `runtime`: where it runs, as
    `--runtime`; `cluster`: for kubernetes, {kubeconfig, context, namespace, infrastructure …} as the options of
    `aiotwin run`. Raises InvalidInput for everything that is wrong with the scenario, before anything is written.
    """
    scenario = resolve(source, overrides)
    directory = Path(out) if out is not None else default_directory(scenario)
    check_new(directory)
    arguments = ["run", "-", "--out", str(directory), "--no-progress", "--workers", str(workers), "--runtime", runtime]
    if tracking:
        arguments += ["--tracking", tracking]
    for option, value in (cluster or {}).items():
        if value is not None:
            arguments += [f"--{option.replace('_', '-')}", str(value)]
    return _start(directory, arguments, scenario_yaml(scenario))


def compare(
    source: Source,
    *,
    seeds: Iterable[int] | None = None,
    processes: int = 2,
    runtime: str | None = None,
    **overrides: Any,
) -> dict[str, Any]:
    """Run both branches of every event, for each seed, and say which was better.

    {"runtime": where they ran, "branches": [...]}. `runtime`: by default stacked where the task allows it, else
    embedded.
    """
    scenario = resolve(source, overrides)
    numbers = list(seeds) if seeds is not None else [scenario.seed]
    scenarios = [scenario.model_copy(update={"seed": seed}) for seed in numbers]
    check(scenario)
    chosen = runtime or fastest_runtime(scenario)
    make_runtime(chosen, scenario).close()  # refused here, if at all
    processes = max(1, min(processes, len(numbers)))
    if processes == 1:
        branches = [branch for each in scenarios for branch in _compare_one(each, chosen)]
    else:
        shares = [numbers[i::processes] for i in range(processes)]
        with ThreadPoolExecutor(processes) as threads:  # each waits for a process of its own
            found = threads.map(partial(_compare_elsewhere, scenario, chosen), shares)
        branches = sorted((b for share in found for b in share), key=lambda b: numbers.index(b["seed"]))
    return {"runtime": chosen, "branches": branches}


def compare_run(reference: str | Path, *, runtime: str | None = None) -> dict[str, Any]:
    """The road not taken of every reconfiguration of a run, finished or running, to the end of the budget.

    What people injected into the run is part of it. {"run", "runtime", "reproduced", "branches"}; `reproduced`: whether
    running it again gave the accuracies on record (always so with the run's own runtime on its machine), None if the
    branches ran on another runtime than the run. For a run on a cluster that is embedded, which gives the same.
    """
    directory = RunDirectory.open(reference)
    rules, events = directory.rules(), directory.events()
    changes = dict(rules.changes)
    for event in events:
        if isinstance(event, CommandApplied) and event.change:
            changes[event.after_round] = changes.get(event.after_round, Change()).merged(event.change)
    own = _runtime_of(directory)
    own = "embedded" if own == "kubernetes" else own  # what pods give, one process gives as well
    chosen = runtime or own
    changed = replace(rules, changes=dict(sorted(changes.items())))
    again, branches = compare_with(changed, lambda: make_runtime(chosen, rules.scenario), NullTracker())
    pairs = zip(directory.state().history, again.history, strict=False)  # a run that was stopped has fewer rounds
    same = all(recorded.accuracy == repeated.accuracy for recorded, repeated in pairs)
    reproduced = same if chosen == own else None
    return {"run": directory.run_id, "runtime": chosen, "reproduced": reproduced, "branches": branches}


def scenario_of(run: str | Path) -> Scenario:
    """What happened in a run as a scenario: its own, with everything that was injected as events.

    Run again with the same seed, it gives the same ledger. `run`: a run directory, or its name under ./runs.
    """
    directory = RunDirectory.open(run)
    return retold(directory.rules(), directory.events())


def sweep(
    source: Source,
    grid: Mapping[str, Sequence[Any]],
    *,
    seeds: Iterable[int] | None = None,
    workers: int = 2,
    out: str | Path | None = None,
    runtime: str | None = None,
    **overrides: Any,
) -> pd.DataFrame:
    """Run a scenario, or a notebook, for every combination of values and seeds; a tidy table of what came of them.

    `grid`: values by dotted path, or by a notebook's parameter: `{"validation.window": [3, 5, 8]}`. `seeds`: by default
    the scenario's. `out`: a folder for results, by default runs/sweep-<name>-<keys>; cells that are there are not run
    again. `runtime`: by default stacked where the task allows it for every cell, else embedded. Rows and columns:
    `aiotwin_nb.sweep.Sweep.rows`. Raises InvalidInput for any wrong key or value, before anything runs; a cell that
    fails is a row with `status` failed and its `error`.
    """
    return run_sweep(source, grid, seeds=seeds, fixed=overrides, workers=workers, out=out, runtime=runtime).table()


def run_sweep(
    source: Source,
    grid: Mapping[str, Sequence[Any]],
    *,
    seeds: Iterable[int] | None = None,
    fixed: Mapping[str, Any] | None = None,
    workers: int = 2,
    out: str | Path | None = None,
    runtime: str | None = None,
    tell: Callable[[Outcome, int, int], None] = lambda outcome, done, total: None,
) -> Sweep:
    """Like `sweep`; returns all about it. `fixed`: values that all cells have; `tell`: called after each cell."""
    chosen = _with_seeds(grid, seeds)
    others = {path.replace("__", "."): value for path, value in (fixed or {}).items()}
    if _is_notebook(source):
        name, runtime_name = Path(str(source)).stem, None
        cells = _notebook_cells(Path(str(source)), chosen, others, runtime)
    else:
        name, runtime_name, cells = _scenario_cells(source, chosen, others, runtime)
    keys = tuple(key for key in chosen if key != "seed")
    folder = Path(out) if out is not None else _sweep_folder(name, keys)
    return Sweep(name, keys, runtime_name, folder, run_cells(cells, folder / "cells", workers, tell))


def read_grid(source: Source, texts: Iterable[str]) -> dict[str, list[Any]]:
    """A grid from texts of the command line, `validation.window=3,5,8`."""
    grid = split_grid(texts)
    if not _is_notebook(source):
        return {key: [parse_value(text, f"--grid {key}") for text in values] for key, values in grid.items()}
    declared = declared_parameters(Path(str(source)))
    return {
        key: [read_parameters(declared, [(key, text)], "--grid")[key] for text in values]
        for key, values in grid.items()
    }


def read_fixed(source: Source, texts: Iterable[str]) -> dict[str, Any]:
    """Values that all cells of a sweep have, from texts of the command line, `validation.window=3`."""
    pairs = [split_override(text) for text in texts]
    if _is_notebook(source):
        return read_parameters(declared_parameters(Path(str(source))), pairs, "--set")
    return {path: parse_value(text, f"--set {path}") for path, text in pairs}


def attach(reference: str | Path | None = None) -> Run:
    """A handle on a run, running or not, by its directory or its name under ./runs; by default the newest there."""
    if reference is None:
        found = sorted(Path("runs").glob("*/scenario.yaml"), key=lambda p: p.stat().st_mtime)
        if not found:
            raise InvalidInput("there are no runs under ./runs; start one with: aiotwin run improvement")
        reference = found[-1].parent
    return Run(RunDirectory.open(reference).path)


class Run:
    """A handle on a run directory; any number of them may look at one run, only explicit commands change it."""

    def __init__(self, path: Path, process: subprocess.Popen[str] | None = None) -> None:
        self.path = path
        self._directory = RunDirectory(path)
        self._process = process

    def __repr__(self) -> str:
        state = self.state()
        accuracy = f", accuracy {state.history[-1].accuracy:.1f} %" if state.history else ""
        return f"<Run {self.path.name}: {self.status}, round {max(state.round, 0)}{accuracy}>"

    def is_run_by(self, pid: int) -> bool:
        """Whether a process owns the run and has written what there is to read."""
        ready = self._directory.scenario_file.is_file() and self._directory.is_owned()
        return ready and self._directory.owner().get("pid") == pid

    @property
    def is_alive(self) -> bool:
        """Whether a process is at work on it."""
        return self._directory.is_owned()

    @property
    def status(self) -> str:
        """running, finished, stopped, failed, or interrupted (its process died; it can be resumed)."""
        alive = self.is_alive
        recorded = self.state().status
        return "interrupted" if recorded == "running" and not alive else recorded

    @property
    def scenario(self) -> Scenario:
        """The resolved scenario that it runs."""
        return self._directory.scenario()

    def state(self) -> RunState:
        """The run's state, folded from its journal."""
        return self._directory.state()

    @property
    def summary(self) -> dict[str, Any]:
        """The summary so far (fields of summary.json)."""
        return summarise(self.state())

    @property
    def history(self) -> pd.DataFrame:
        """One row per finished round: round, accuracy (percent), loss, cost, total_cost, seconds."""
        import pandas as pd

        return pd.DataFrame(self.summary["history"])

    def metrics(self, source: str = "wandb") -> pd.DataFrame:
        """Metric rows, read from the run's W&B data, with those it lacks from the journal (`source="journal"`: all)."""
        import pandas as pd

        metrics = RunMetrics(self._directory)
        return pd.DataFrame(metrics.rows() if source == "wandb" else metrics.journal_rows())

    def wait(self, timeout: float | None = None, poll: float = 0.2) -> Run:
        """Wait for the end; raises RunFailed when the run failed, TimeoutError after `timeout` seconds."""
        until = None if timeout is None else time.monotonic() + timeout
        while self._directory.is_owned() or (self._process is not None and self._process.poll() is None):
            if until is not None and time.monotonic() > until:
                raise TimeoutError(f"{self.path.name} still runs after {timeout:g} s")
            time.sleep(poll)
        state = self.state()
        if state.status == "failed":
            raise RunFailed(f"{self.path}: {state.message}")
        if state.status == "running":
            last = self._last_words()
            raise RunFailed(f"{self.path}: its process died{last}; continue it with: aiotwin resume {self.path}")
        return self

    def stop(self) -> None:
        """Ask the run to stop at the next round boundary; it can be resumed."""
        self._submit(Command(command="stop"))

    def inject(
        self,
        *,
        add: Sequence[Node | NodeSpec | Mapping[str, Any]] = (),
        remove: Sequence[str] = (),
        link: Mapping[str, Mapping[str, float]] | None = None,
        data: Mapping[str, Mapping[int, int]] | None = None,
        after_round: int | None = None,
    ) -> str:
        """Let nodes join or leave, or links or data change; returns the command's id.

        `after_round`: the round after which it acts, by default the one that is under way.
        """
        raw = {
            "command": "inject",
            "add": [_node_spec(node) for node in add],
            "remove": list(remove),
            "link": dict(link or {}),
            "data": dict(data or {}),
            "after_round": after_round,
        }
        return self._submit(parse_command(raw))

    def resume(self) -> Run:
        """Go on with a stopped or interrupted run, in a process of its own; one that is at work is left alone."""
        if not self._left_by_its_process():
            return self
        return _start(self.path, ["resume", str(self.path), "--no-progress"], "")

    def _left_by_its_process(self, seconds: float = 30.0) -> bool:
        """Whether the run has no process, or one that only tidies up and ends in time: it outlives the run a bit."""
        until = time.monotonic() + seconds
        while self._directory.is_owned():
            if self.state().status == "running" or time.monotonic() > until:
                return False
            time.sleep(0.1)
        return True

    def _last_words(self) -> str:
        """The end of what the run's process wrote on standard error, if it was started by `run`."""
        log = self.path / LOG
        lines = log.read_text(errors="replace").strip().splitlines() if log.is_file() else []
        return f" ({lines[-1]})" if lines else ""

    def _submit(self, command: Command) -> str:
        state = self.state()
        if state.status == "finished":
            raise InvalidInput(f"{self.path}: the run has finished ({state.stop_reason}); start a new one")
        check_command(command, state)
        command_id = submit(self._directory.inbox, command)
        if reason := self._rejection(command_id, waits=command.after_round is not None):
            raise InvalidInput(reason)
        return command_id

    def _rejection(self, command_id: str, *, waits: bool, seconds: float = 2.0) -> str | None:
        """Why the run rejected a command; None when it took it, or has not met a boundary in that time.

        `waits`: the command is to act later, so that it is taken when it is received.
        """
        until = time.monotonic() + seconds
        while self._directory.is_owned() and time.monotonic() < until:
            for event in self._directory.events():
                if isinstance(event, CommandRejected) and event.id == command_id:
                    return event.reason
                taken = CommandReceived if waits else CommandApplied
                if isinstance(event, taken) and event.id == command_id:
                    return None
            time.sleep(0.1)
        return None


# What the command line uses in its own process.


def resolve(source: Source, overrides: Mapping[str, Any]) -> Scenario:
    """A scenario from whatever names it, with overrides (dots may be written __)."""
    pairs = {path.replace("__", "."): value for path, value in overrides.items()}
    if not isinstance(source, Scenario):
        return load_scenario(source, overrides=pairs)
    if not pairs:
        return source
    from aiotwin_nb.scenario.load import build_scenario
    from aiotwin_nb.scenario.located import Located

    return build_scenario(Located(source.name, source.resolved(), {}), Path.cwd(), list(pairs.items()))


def check(scenario: Scenario) -> Rules:
    """Every check before a run: plan, budget, task, data, aggregation; raises InvalidInput. Returns the rules."""
    from aiotwin_nb.runtime.embedded import validate_training

    rules = _rules(scenario)
    check_budget(rules)
    infrastructure, spec = scenario.infrastructure, training_spec(scenario)
    validate_training(spec, infrastructure)
    for change in rules.changes.values():
        infrastructure = infrastructure.apply(change)
        if change.added or change.data:
            validate_training(spec, infrastructure)
    return rules


def execute(
    scenario: Scenario,
    directory: Path,
    *,
    runtime: str = "embedded",
    workers: int = 0,
    tracking: str | None = None,
    listeners: Sequence[Listener] = (),
    cluster: ClusterOptions | None = None,
) -> RunState:
    """Run a scenario in this process, to the end. `cluster`: which one, for the runtime `kubernetes`."""
    on_cluster = _on_cluster(runtime, cluster)
    if on_cluster is not None:
        scenario = on_cluster.nodes_of_cluster(scenario)
    rules = check(scenario)
    check_new(directory)
    tracker = make_tracker(tracking)
    engine = _engine(runtime, scenario, workers, directory, on_cluster)
    notes: dict[str, Any] = {
        "runtime": runtime,
        "tracking": tracker.mode,
        "tracking_id": new_tracking_id(directory),
    }
    if scenario.model_size_mb == "auto":
        notes["model_size_mb"] = str(engine.model_size_mb())
    if on_cluster is not None:
        notes["cluster"] = vars(on_cluster.options)
    run_directory = RunDirectory.create(directory, scenario, notes)
    try:
        store = DirectoryStore(run_directory, _training_check(scenario))
        tracker.start(run_directory.tracking_id, directory, {"scenario": scenario.resolved()})
        orchestrator = Orchestrator(rules, engine, store, tracker, listeners)
    except AIoTwinError:
        run_directory.remove()
        raise
    if on_cluster is not None:
        on_cluster.attach(orchestrator, run_directory.inbox, scenario.infrastructure)
    with stopping_on_signals(orchestrator):
        return orchestrator.run(run_directory.run_id)


def simulate(scenario: Scenario, runtime: str) -> RunState:
    """Run a scenario in this process, to the end, and keep nothing but the state."""
    engine = make_runtime(runtime, scenario)
    return Orchestrator(_rules(scenario), engine, MemoryStore(), NullTracker()).run("simulation")


def continue_run(
    reference: str | Path, *, workers: int = 0, tracking: str | None = None, listeners: Sequence[Listener] = ()
) -> RunState:
    """Resume a run in this process, to the end; a finished run is returned as it is."""
    directory = RunDirectory.open(reference)
    directory.own()
    try:
        rules = directory.rules()
        if (state := directory.state()).status == "finished":
            _complete_tracking(directory, tracking)
            directory.release()
            return state
        store = DirectoryStore(directory, _training_check(rules.scenario))
        on_cluster = _on_cluster(_runtime_of(directory), _cluster_of(directory))
        engine = _engine(_runtime_of(directory), rules.scenario, workers, directory.path, on_cluster)
        tracked = {row["round"] for row in _wandb_rows(directory)}
        tracker = make_tracker(tracking)
        tracker.start(directory.tracking_id, directory.path, {"scenario": rules.scenario.resolved()})
    except BaseException:
        directory.release()
        raise
    orchestrator = Orchestrator(rules, engine, store, tracker, listeners)
    if on_cluster is not None:
        on_cluster.attach(orchestrator, directory.inbox, state.infrastructure, store.past)
    with stopping_on_signals(orchestrator):
        return orchestrator.resume(tracked)


def _complete_tracking(directory: RunDirectory, tracking: str | None) -> None:
    """Give W&B the rows of a finished run that it lacks: the process may have died while it wrote the last ones."""
    tracked = {row["round"] for row in _wandb_rows(directory)}
    missing = [row for row in RunMetrics(directory).journal_rows() if row["round"] not in tracked]
    if not missing or directory.notes().get("tracking") == "off":
        return
    tracker = make_tracker(tracking)
    tracker.start(directory.tracking_id, directory.path, {"scenario": directory.scenario().resolved()})
    for row in missing:
        tracker.log(row)
    tracker.finish(0)


def _training_check(scenario: Scenario) -> Callable[[Infrastructure], None]:
    def check_nodes(infrastructure: Infrastructure) -> None:
        from aiotwin_nb.runtime.embedded import validate_training

        validate_training(training_spec(scenario), infrastructure)

    return check_nodes


def _on_cluster(runtime: str, options: ClusterOptions | None) -> ClusterRun | None:
    """What a run on a cluster needs besides; None for one on this machine."""
    if runtime != "kubernetes":
        return None
    from aiotwin_nb.runtime.kubernetes import ClusterOptions
    from aiotwin_nb.runtime.members import ClusterRun

    return ClusterRun(options or ClusterOptions())


def _engine(runtime: str, scenario: Scenario, workers: int, directory: Path, on_cluster: ClusterRun | None) -> Runtime:
    if on_cluster is None:
        return make_runtime(runtime, scenario, workers)
    return on_cluster.runtime(training_spec(scenario), scenario, directory)


def cluster_of(run: str | Path) -> ClusterOptions | None:
    """The cluster that a run is on; None for one on this machine."""
    return _cluster_of(RunDirectory.open(run))


def _cluster_of(directory: RunDirectory) -> ClusterOptions | None:
    if _runtime_of(directory) != "kubernetes":
        return None
    from aiotwin_nb.runtime.kubernetes import ClusterOptions

    return ClusterOptions(**directory.notes().get("cluster", {}))


def make_runtime(name: str, scenario: Scenario, workers: int = 0) -> Runtime:
    """A runtime on this machine, by name."""
    if name == "kubernetes":
        raise InvalidInput(
            "--runtime kubernetes: only a run can be on a cluster; embedded and stacked can do this here"
        )
    if name not in RUNTIMES:
        raise InvalidInput(
            f"--runtime {name!r}: is not available; available are {', '.join(RUNTIMES)}.{did_you_mean(name, RUNTIMES)}"
        )
    from aiotwin_nb.runtime.embedded import EmbeddedRuntime
    from aiotwin_nb.runtime.stacked import StackedRuntime

    kind = StackedRuntime if name == "stacked" else EmbeddedRuntime
    return kind(training_spec(scenario), workers)


def fastest_runtime(scenario: Scenario) -> str:
    """The runtime for comparisons and sweeps: stacked where the task allows it, else embedded."""
    from aiotwin_nb.runtime.stacked import can_stack

    return "stacked" if can_stack(training_spec(scenario)) is None else "embedded"


def training_spec(scenario: Scenario) -> TrainingSpec:
    """What the FL service needs to know of a scenario."""
    from fl_service.spec import TrainingSpec

    task = scenario.task.model_dump(exclude_none=True)
    if scenario.task.partition is not None:
        kept = {"iid": (), "dirichlet": ("alpha",), "shards": ("shards_per_client",)}[scenario.task.partition.kind]
        task["partition"] = scenario.task.partition.model_dump(include={"kind", *kept})
    tiers = scenario.aggregation.global_, scenario.aggregation.local
    return TrainingSpec(
        seed=scenario.seed,
        task=task,
        aggregation_global=(tiers[0].name, tiers[0].args),
        aggregation_local=(tiers[1].name, tiers[1].args),
        report_updates=wants_updates(scenario.strategy.name, scenario.strategy.args),
    )


def default_directory(scenario: Scenario) -> Path:
    """runs/<scenario>-<utc time>-<short id>."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    return Path("runs") / f"{scenario.name}-{stamp}-{uuid.uuid4().hex[:4]}"


class RunMetrics:
    """A run's metric rows: from its W&B log, and from its journal those that W&B lacks (off, broken or behind)."""

    def __init__(self, directory: RunDirectory) -> None:
        self._directory = directory

    def rows(self) -> list[dict[str, Any]]:
        """All rows so far, one per round, ascending."""
        rows = {row["round"]: row for row in (*self.journal_rows(), *_wandb_rows(self._directory))}
        return [rows[number] for number in sorted(rows)]

    def journal_rows(self) -> list[dict[str, Any]]:
        """The rows of the journal alone."""
        return JournalSource(self._directory.journal_file, self._directory.rules()).rows()


def _wandb_rows(directory: RunDirectory) -> list[dict[str, Any]]:
    try:
        return WandbLogSource(directory.path).rows()
    except (AIoTwinError, ImportError):
        return []


def _rules(scenario: Scenario) -> Rules:
    return Rules.of(scenario, model_size_mb=_model_size(scenario) if scenario.model_size_mb == "auto" else None)


def _model_size(scenario: Scenario) -> Decimal:
    runtime = make_runtime("embedded", scenario)
    try:
        return Decimal(str(runtime.model_size_mb()))
    finally:
        runtime.close()


def _with_seeds(grid: Mapping[str, Sequence[Any]], seeds: Iterable[int] | None) -> dict[str, list[Any]]:
    """The grid with the seeds as its last key."""
    chosen = {key: list(values) for key, values in grid.items()}
    if seeds is not None and "seed" in chosen:
        raise InvalidInput("--seeds: the grid has the key seed as well; give one of them")
    if (numbers := chosen.pop("seed", None) if seeds is None else list(seeds)) is not None:
        chosen["seed"] = numbers
    if not chosen:
        raise InvalidInput("a sweep needs something to vary; give --grid KEY=VALUE,VALUE or --seeds 1-5")
    for key, values in chosen.items():
        if not values:
            raise InvalidInput(f"--grid {key}: has no values; give some, e.g. {key}=3,5,8")
    return chosen


def _is_notebook(source: Source) -> bool:
    return not isinstance(source, Scenario) and str(source).endswith(".ipynb")


def _scenario_cells(
    source: Source, grid: Mapping[str, list[Any]], fixed: Mapping[str, Any], runtime: str | None
) -> tuple[str, str, list[Cell]]:
    """Name, runtime and cells of a sweep over a scenario, every one of them checked."""
    first = grid.get("seed", [None])[0]
    without_seed = {key: values for key, values in grid.items() if key != "seed"}
    scenarios = [(values, _grid_scenario(source, values, fixed, first)) for values in combinations(without_seed)]
    fastest = {fastest_runtime(scenario) for _, scenario in scenarios}
    name = runtime or ("stacked" if fastest == {"stacked"} else "embedded")  # one for all, so that they compare
    for _, scenario in scenarios:
        make_runtime(name, scenario).close()  # refused here, if at all
    cells = []
    for values, scenario in scenarios:
        for seed in grid.get("seed", [scenario.seed]):
            seeded = resolve(scenario, {"seed": seed}) if seed != scenario.seed else scenario
            text = scenario_yaml(seeded)
            identity = json.dumps([_version(), name, text, _task_digest(seeded)])
            cells.append(Cell({**values, "seed": seeded.seed}, {"scenario": text, "runtime": name}, identity))
    return scenarios[0][1].name, name, cells


def _grid_scenario(source: Source, values: Mapping[str, Any], fixed: Mapping[str, Any], seed: Any) -> Scenario:
    seeds = {} if seed is None else {"seed": seed}
    try:
        scenario = resolve(source, {**fixed, **values, **seeds})
        check(scenario)
    except AIoTwinError as error:
        message = str(error)
        for key in (*values, *seeds):
            message = message.replace(f"--set {key}", f"--grid {key}")
        where = ", ".join(f"{key}={shown(value)}" for key, value in values.items())
        raise InvalidInput(message if "--" in message or not where else f"--grid {where}: {message}") from None
    return scenario


def _notebook_cells(
    notebook: Path, grid: Mapping[str, list[Any]], fixed: Mapping[str, Any], runtime: str | None
) -> list[Cell]:
    if runtime is not None:
        raise InvalidInput(f"--runtime {runtime}: a notebook chooses its own; leave the option out")
    declared = declared_parameters(notebook)
    check_parameters(notebook, declared, fixed, "--set")
    for key, values in grid.items():
        for value in values:
            check_parameters(notebook, declared, {key: value}, "--grid")
    path = str(notebook.resolve())
    source = [(cell["cell_type"], cell["source"]) for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]]
    return [
        Cell(
            values,
            {"notebook": path, "parameters": {**fixed, **values}},
            json.dumps([_version(), source, {**fixed, **values}], default=str),
        )
        for values in combinations(grid)
    ]


def _task_digest(scenario: Scenario) -> str | None:
    """What a task of one's own contains, so that a cell is run again when it was changed."""
    file = scenario.task.file
    return None if file is None else hashlib.sha256(Path(file).read_bytes()).hexdigest()


def _sweep_folder(name: str, keys: Sequence[str]) -> Path:
    readable = re.sub(r"[^A-Za-z0-9._-]+", "_", "-".join(["sweep", name, *keys]))
    return Path("runs") / readable[:100]


def _version() -> str:
    from aiotwin_nb import __version__

    return __version__


def _compare_elsewhere(scenario: Scenario, runtime: str, seeds: list[int]) -> list[dict[str, Any]]:
    """`aiotwin compare` for some seeds in another process; works from any script, without a __main__ guard."""
    arguments = [
        "compare",
        "-",
        "--json",
        "--processes",
        "1",
        "--runtime",
        runtime,
        "--seeds",
        ",".join(map(str, seeds)),
    ]
    done = subprocess.run(
        [sys.executable, "-m", "aiotwin_nb", *arguments], input=scenario_yaml(scenario), capture_output=True, text=True
    )
    if done.returncode:
        message = done.stderr.strip().removeprefix("aiotwin: ")
        raise (InvalidInput if done.returncode == 2 else RunFailed)(message)
    return list(json.loads(done.stdout)["branches"])


def _compare_one(scenario: Scenario, runtime: str) -> list[dict[str, Any]]:
    return compare_branches(_rules(scenario), lambda: make_runtime(runtime, scenario), NullTracker())


def _runtime_of(directory: RunDirectory) -> str:
    """The runtime that a run was started with: by its notes, or by its journal in runs that noted none."""
    return str(directory.notes().get("runtime") or directory.state().runtime or "embedded")


def _node_spec(node: Node | NodeSpec | Mapping[str, Any]) -> Any:
    spec = NodeSpec.of(node) if isinstance(node, Node) else node
    return spec.model_dump(mode="json", exclude_none=True) if isinstance(spec, NodeSpec) else dict(spec)


def _start(directory: Path, arguments: list[str], stdin: str) -> Run:
    """Start `aiotwin …` detached from this process (it survives a kernel's interrupt and restart)."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    log = directory.parent / f".{directory.name}.log"  # the run directory is not there yet
    with log.open("w+") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "aiotwin_nb", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            text=True,
            start_new_session=True,
        )
    assert process.stdin is not None
    process.stdin.write(stdin)
    process.stdin.close()
    handle = Run(directory, process)
    while process.poll() is None and not handle.is_run_by(process.pid):
        time.sleep(0.05)
    if process.poll() not in (None, 0):
        message = log.read_text(errors="replace").strip().removeprefix("aiotwin: ")
        log.unlink()
        raise (InvalidInput if process.returncode == 2 else RunFailed)(message)
    log.replace(directory / LOG)
    # A child that nobody waits for stays in the process table when it has ended, for as long as the kernel lives.
    threading.Thread(target=process.wait, name="aiotwin-reap", daemon=True).start()
    return handle
