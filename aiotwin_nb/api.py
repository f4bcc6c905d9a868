"""The notebook's way in: plan, run, replay, compare, attach.

Everything takes a scenario file, a lab's name or a Scenario. Runs are processes of their own: `run` returns at once,
and they outlive the kernel that started them.
"""

from __future__ import annotations

import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiotwin_nb.continuum import Infrastructure, Node
from aiotwin_nb.errors import AIoTwinError, InvalidInput, RunFailed, did_you_mean
from aiotwin_nb.orchestration.compare import compare_branches
from aiotwin_nb.orchestration.events import CommandApplied, CommandRejected
from aiotwin_nb.orchestration.inbox import Command, check_command, parse_command, submit
from aiotwin_nb.orchestration.loop import Listener, Orchestrator, check_budget, stopping_on_signals
from aiotwin_nb.orchestration.metrics import rows_of
from aiotwin_nb.orchestration.ports import MetricSource, Runtime
from aiotwin_nb.orchestration.replay import plan_along_events, read_trace, replay_summary
from aiotwin_nb.orchestration.replay import replay as replay_trace
from aiotwin_nb.orchestration.rundir import RunDirectory, scenario_yaml
from aiotwin_nb.orchestration.state import Rules, RunState
from aiotwin_nb.orchestration.store import DirectoryStore
from aiotwin_nb.orchestration.summary import summarise
from aiotwin_nb.scenario import NodeSpec, Scenario, load_scenario
from aiotwin_nb.tracking import NullTracker, WandbLogSource, make_tracker

if TYPE_CHECKING:
    import pandas as pd

    from fl_service.spec import TrainingSpec

RUNTIMES = ("embedded", "stacked")
Source = Scenario | str | Path


def plan(source: Source, **overrides: Any) -> dict[str, Any]:
    """Configuration and costs at the start and after every scripted event; nothing is trained.

    Keys as in summary.json: `initial` and `reconfigurations`. `overrides`: values by dotted path, with __ for the dot
    (`plan("improvement", strategy__name="flat")`).
    """
    scenario = resolve(source, overrides)
    return plan_along_events(_rules(scenario))


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
    **overrides: Any,
) -> Run:
    """Start a run in a process of its own and return at once; `.wait()` for its end.

    `out`: the run directory, new or empty; by default runs/<scenario>-<time>-<id>. `runtime`: where it runs, as
    `--runtime`. Raises InvalidInput for everything
    that is wrong with the scenario, before anything is written.
    """
    scenario = resolve(source, overrides)
    directory = Path(out) if out is not None else default_directory(scenario)
    arguments = ["run", "-", "--out", str(directory), "--no-progress", "--workers", str(workers), "--runtime", runtime]
    if tracking:
        arguments += ["--tracking", tracking]
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
    one = partial(_compare_one, runtime=chosen)
    if len(scenarios) == 1 or processes < 2:
        branches = [one(each) for each in scenarios]
    else:
        with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
            branches = list(pool.map(one, scenarios))
    return {"runtime": chosen, "branches": [branch for of_seed in branches for branch in of_seed]}


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

    @property
    def begun(self) -> bool:
        """Whether the run directory is there."""
        return bool(self._directory.scenario_file.is_file())

    @property
    def status(self) -> str:
        """running, finished, stopped, failed, or interrupted (its process died; it can be resumed)."""
        alive = self._directory.is_owned()
        recorded = self.state().status
        return "interrupted" if recorded == "running" and not alive else recorded

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
        """Metric rows, read from the run's W&B data; from its journal when there is none (or `source="journal"`)."""
        import pandas as pd

        rows = metric_source(self._directory).rows() if source == "wandb" else journal_rows(self._directory)
        return pd.DataFrame(rows)

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
            raise RunFailed(f"{self.path}: its process died; continue it with: aiotwin resume {self.path}")
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
    ) -> str:
        """Let nodes join or leave, or links or data change, at the next round boundary; returns the command's id."""
        raw = {
            "command": "inject",
            "add": [_node_spec(node) for node in add],
            "remove": list(remove),
            "link": dict(link or {}),
            "data": dict(data or {}),
        }
        return self._submit(parse_command(raw))

    def resume(self) -> Run:
        """Go on with a stopped or interrupted run, in a process of its own."""
        if self._directory.is_owned():
            return self
        return _start(self.path, ["resume", str(self.path), "--no-progress"], "")

    def _submit(self, command: Command) -> str:
        state = self.state()
        if state.status == "finished":
            raise InvalidInput(f"{self.path}: the run has finished ({state.stop_reason}); start a new one")
        check_command(command, state.infrastructure)
        command_id = submit(self._directory.inbox, command)
        if reason := self._rejection(command_id):
            raise InvalidInput(reason)
        return command_id

    def _rejection(self, command_id: str, seconds: float = 2.0) -> str | None:
        """Why the run rejected a command; None when it took it, or has not met a boundary in that time."""
        until = time.monotonic() + seconds
        while self._directory.is_owned() and time.monotonic() < until:
            for event in self._directory.events():
                if isinstance(event, CommandRejected) and event.id == command_id:
                    return event.reason
                if isinstance(event, CommandApplied) and event.id == command_id:
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
    from aiotwin_nb.scenario.located import parse_yaml

    return build_scenario(parse_yaml(scenario_yaml(source), source.name), Path.cwd(), list(pairs.items()))


def check(scenario: Scenario) -> Rules:
    """Every check before a run: plan, budget, task, data, aggregation; raises InvalidInput. Returns the rules."""
    from aiotwin_nb.runtime.embedded import validate_training

    rules = _rules(scenario)
    check_budget(rules)
    validate_training(training_spec(scenario), everything(scenario))
    return rules


def execute(
    scenario: Scenario,
    directory: Path,
    *,
    runtime: str = "embedded",
    workers: int = 0,
    tracking: str | None = None,
    listeners: Sequence[Listener] = (),
) -> RunState:
    """Run a scenario in this process, to the end."""
    rules = check(scenario)
    tracker = make_tracker(tracking)
    engine = make_runtime(runtime, scenario, workers)
    run_directory = RunDirectory.create(directory, scenario)
    try:
        notes = {"model_size_mb": str(_model_size(scenario))} if scenario.model_size_mb == "auto" else {}
        run_directory.write_notes({**notes, "runtime": runtime})
        store = DirectoryStore(run_directory, _training_check(scenario))
        tracker.start(run_directory.run_id, directory, {"scenario": scenario.resolved()})
        orchestrator = Orchestrator(rules, engine, store, tracker, listeners)
    except AIoTwinError:
        run_directory.remove()
        raise
    with stopping_on_signals(orchestrator):
        return orchestrator.run(run_directory.run_id)


def continue_run(
    reference: str | Path, *, workers: int = 0, tracking: str | None = None, listeners: Sequence[Listener] = ()
) -> RunState:
    """Resume a run in this process, to the end; a finished run is returned as it is."""
    directory = RunDirectory.open(reference)
    directory.own()
    try:
        rules = directory.rules()
        store = DirectoryStore(directory, _training_check(rules.scenario))
        engine = make_runtime(_runtime_of(directory), rules.scenario, workers)
        tracked = {row["round"] for row in _wandb_rows(directory)}
        tracker = make_tracker(tracking)
        tracker.start(directory.run_id, directory.path, {"scenario": rules.scenario.resolved()})
    except BaseException:
        directory.release()
        raise
    orchestrator = Orchestrator(rules, engine, store, tracker, listeners)
    with stopping_on_signals(orchestrator):
        return orchestrator.resume(store, tracked)


def _training_check(scenario: Scenario) -> Callable[[Infrastructure], None]:
    def check_nodes(infrastructure: Infrastructure) -> None:
        from aiotwin_nb.runtime.embedded import validate_training

        validate_training(training_spec(scenario), infrastructure)

    return check_nodes


def make_runtime(name: str, scenario: Scenario, workers: int = 0) -> Runtime:
    """A runtime by name."""
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
    )


def everything(scenario: Scenario) -> Infrastructure:
    """All nodes that exist at any time, for checks of their data."""
    nodes = {node.id: node for node in scenario.infrastructure.nodes.values()}
    for change in scenario.changes().values():
        for node in change.added:
            nodes[node.id] = node
    return Infrastructure.of(nodes.values())


def default_directory(scenario: Scenario) -> Path:
    """runs/<scenario>-<utc time>-<short id>."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    return Path("runs") / f"{scenario.name}-{stamp}-{uuid.uuid4().hex[:4]}"


def metric_source(directory: RunDirectory) -> MetricSource:
    """Where a run's metric rows are read from: its W&B log, or its journal when W&B is off, broken or behind."""
    return _Fallback(lambda: _wandb_rows(directory), lambda: journal_rows(directory))


def journal_rows(directory: RunDirectory) -> list[dict[str, Any]]:
    """Metric rows from the journal."""
    return rows_of(directory.rules(), directory.events())


class _Fallback:
    def __init__(self, first: Callable[[], list[dict[str, Any]]], second: Callable[[], list[dict[str, Any]]]) -> None:
        self._first, self._second = first, second

    def rows(self) -> list[dict[str, Any]]:
        """All rows so far, one per round, ascending."""
        rows = self._first()
        return rows or self._second()


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
    import tempfile

    errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - read below, after the process has begun or failed
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
    while process.poll() is None and not (handle.begun and RunDirectory(directory).is_owned()):
        time.sleep(0.05)
    if process.poll() not in (None, 0):
        errors.seek(0)
        message = errors.read().strip().removeprefix("aiotwin: ")
        raise (InvalidInput if process.returncode == 2 else RunFailed)(message)
    return handle
