"""The whole service in one process: global aggregator, local aggregators and clients over in-process grids."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flwr.app import ArrayRecord, Message

from fl_service import aggregation, checkpoint
from fl_service.client_app import make_client_app
from fl_service.errors import TaskError
from fl_service.grid import App, Call, InProcessGrid, Registry, no_app, one_after_another, perform
from fl_service.hierarchy import ClientReport, GlobalAggregator, LocalAggregator
from fl_service.records import to_arrays, to_record
from fl_service.rng import derive_seed, seed_everything
from fl_service.spec import ClientNode, Plan, Slots, TrainingSpec
from fl_service.tasks import Evaluation, Task, make_task
from fl_service.workers import WorkerPool


@dataclass(frozen=True)
class RoundReport:
    """A finished global round (0 is the untrained model): quality on the global test set, clients and problems.

    `updates`: {client: change of its last layer in its first local round}, where the spec asks for it.
    """

    round: int
    evaluation: Evaluation
    clients: tuple[ClientReport, ...] = ()
    problems: Mapping[str, str] = field(default_factory=dict)
    updates: Mapping[str, Sequence[float]] = field(default_factory=dict)


def check_training(spec: TrainingSpec, clients: Sequence[ClientNode]) -> None:
    """Check all that can be known before a run; raises FLServiceError naming field, value and what is allowed."""
    settings = spec.settings
    for tier in ("global", "local"):
        aggregation.of_tier(spec, tier)
    slots = Slots.of(settings, clients)
    make_task(spec, slots.count).check([slots.placed(node) for node in clients])


def fingerprint(spec: TrainingSpec) -> dict[str, Any]:
    """Return what makes two runs the same training: seed, task and strategies' names."""
    s = spec.settings
    names = {"global": spec.aggregation_global[0], "local": spec.aggregation_local[0]}
    task = {"name": s.name, "model": s.model} if s.file is None else {"file": Path(s.file).name}
    return {"seed": spec.seed, "task": task, "aggregation": names}


def _client_app(spec: TrainingSpec, partitions: int) -> App:
    """Make a client app in a worker process."""
    return make_client_app(make_task(spec, partitions))


class Pipeline:
    """Hierarchical federated learning driven from outside, one global round at a time.

    `workers`: processes that execute the client apps (0: in this process). `client_app`: a Flower ClientApp of one's
    own instead of the task's, unmodified; it runs in this process.
    """

    def __init__(self, spec: TrainingSpec, workers: int = 0, client_app: App | None = None) -> None:
        self._spec, self._settings = spec, spec.settings
        self._workers, self._own_app = (0 if client_app else workers), client_app
        self._run_id = derive_seed(spec.seed, "run") or 1
        self._registry = Registry(self._run_id)
        self._strategy = {tier: aggregation.of_tier(spec, tier) for tier in ("global", "local")}
        self._pool: WorkerPool | None = None
        self._threads: ThreadPoolExecutor | None = None
        self._task: Task | None = None
        self._slots: Slots | None = None
        self._plan: Plan | None = None
        self._model = ArrayRecord()
        self._round = 0

    # --- life -------------------------------------------------------------------------------------------------------

    def start(self, clients: Sequence[ClientNode], nodes: Iterable[str], plan: Plan) -> RoundReport:
        """Bring everything up and evaluate the untrained model. `nodes`: names of all nodes that exist."""
        self._open(Slots.of(self._settings, clients))
        self.apply(clients, nodes, plan)
        seed_everything(derive_seed(self._spec.seed, "model"))
        self._model = to_record(self.task.initial_arrays())
        return RoundReport(0, self._evaluate())

    def apply(self, clients: Sequence[ClientNode], nodes: Iterable[str], plan: Plan) -> None:
        """Make members and places those of the plan; the model and the state of nodes that stay are left alone."""
        placed = [self._placed(node) for node in clients]
        self.task.check([node for node in placed if node.name in plan.clients])
        self._registry.keep_only({*nodes, plan.global_aggregator})
        for node in placed:
            self._registry.put(node.name, self._app, node.to_config(), self._spec.run_config)
        for name in plan.local_aggregators:
            strategy = aggregation.of_tier(self._spec, "local")
            grid = InProcessGrid(name, self._registry, self._spec.seed, self._execute_clients)
            self._registry.put(name, LocalAggregator(strategy, grid), {"name": name})
        self._registry.put(plan.global_aggregator, no_app, {"name": plan.global_aggregator})
        execute = self._execute_clients if plan.is_flat else self._execute_aggregators
        grid = InProcessGrid(plan.global_aggregator, self._registry, self._spec.seed, execute)
        context = self._registry.members[plan.global_aggregator].context
        self._aggregator = GlobalAggregator(self._strategy["global"], grid, context)
        self._plan = plan

    def run_round(self, number: int) -> RoundReport:
        """Run one global round and evaluate the new model."""
        assert self._plan is not None, "start or restore comes first"
        result = self._aggregator.run_round(number, self._plan, self._model, self._spec.client_config)
        self._model, self._round = result.arrays, number
        return RoundReport(number, self._evaluate(), result.reports, result.problems, result.updates)

    def close(self) -> None:
        """End the worker processes; safe to call twice."""
        if self._pool is not None:
            self._pool.close()
            self._pool = None
        if self._threads is not None:
            self._threads.shutdown(wait=True)
            self._threads = None

    # --- state ------------------------------------------------------------------------------------------------------

    def save(self, path: Path) -> None:
        """Write a checkpoint, flushed to the disk."""
        slots = self._slots.given if self._slots else {}
        count = self._slots.count if self._slots else 1
        states = self._registry.states()
        facts = fingerprint(self._spec) | {"partitions": count}
        checkpoint.save(checkpoint.Checkpoint(self._round, self._model, states, slots, facts), path)

    def restore(self, path: Path, clients: Sequence[ClientNode], nodes: Iterable[str], plan: Plan) -> int:
        """Go on from a checkpoint instead of `start`; returns its round.

        Raises CheckpointError for a checkpoint of another run.
        """
        saved = checkpoint.load(path, fingerprint(self._spec))
        slots = Slots.of(self._settings, clients)
        slots.count, slots.given = int(saved.fingerprint["partitions"]), dict(saved.slots)
        self._open(slots)
        self.apply(clients, nodes, plan)
        self._registry.restore(dict(saved.states))
        self._model, self._round = saved.model, saved.round
        return saved.round

    # --- facts ------------------------------------------------------------------------------------------------------

    @property
    def task(self) -> Task:
        """The task of the run."""
        if self._task is None:
            raise TaskError("the pipeline is not started")
        return self._task

    @property
    def model(self) -> ArrayRecord:
        """The current global model."""
        return self._model

    @property
    def model_bytes(self) -> int:
        """Bytes of the model's arrays; known before the start too."""
        arrays = to_arrays(self._model) or make_task(self._spec).initial_arrays()
        return sum(array.nbytes for array in arrays.values())

    @property
    def worker_pids(self) -> list[int]:
        """Process ids of the workers."""
        return self._pool.pids if self._pool else []

    # --- inside -----------------------------------------------------------------------------------------------------

    def _open(self, slots: Slots) -> None:
        self.close()
        self._slots, self._registry = slots, Registry(self._run_id)
        if self._workers:
            self._pool = WorkerPool(self._workers, _client_app, self._spec, slots.count)
            self._threads = ThreadPoolExecutor(thread_name_prefix="fl-aggregator")
        self._task = make_task(self._spec, slots.count)
        self._app = self._own_app or make_client_app(self._task)

    def _placed(self, node: ClientNode) -> ClientNode:
        assert self._slots is not None
        return self._slots.placed(node)

    def _execute_clients(self, calls: Sequence[Call]) -> list[Message]:
        return self._pool.execute(calls) if self._pool else one_after_another(calls)

    def _execute_aggregators(self, calls: Sequence[Call]) -> list[Message]:
        """Let local aggregators work side by side when there are workers to keep busy.

        What runs in these threads draws nothing at random but the order in which members are asked, and replies are
        sorted; so it does not matter that the threads share the global generators.
        """
        return list(self._threads.map(perform, calls)) if self._threads else one_after_another(calls)

    def _evaluate(self) -> Evaluation:
        seed_everything(derive_seed(self._spec.seed, "evaluate", self._round))
        return self.task.evaluate(to_arrays(self._model))
