"""The evaluator: stands beside the global aggregator and has what that one must not load: PyTorch and the test data."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict

from flwr.app import RecordDict

from fl_service.certificates import EVALUATOR, Credentials
from fl_service.errors import TransportError
from fl_service.records import to_arrays, to_record
from fl_service.rng import seed_everything
from fl_service.roles.config import RoleConfig
from fl_service.roles.process import Readiness
from fl_service.spec import ClientNode, TrainingSpec
from fl_service.tasks import Task, make_task
from fl_service.transport.link import Link
from fl_service.transport.peer import Call, Operation, Reply


class Evaluator:
    """The process of the evaluator; it remembers nothing but its task."""

    def __init__(self, config: RoleConfig, make: Callable[[TrainingSpec, int], Task] = make_task) -> None:
        assert config.parent is not None
        self._spec, self._make = config.spec, make
        self._task: Task | None = None
        self._partitions = 0
        work = ThreadPoolExecutor(1, thread_name_prefix="fl-work")
        readiness = Readiness(config.ready_file)
        readiness(False)
        performed = {
            "setup": self._setup,
            "check": self._check,
            "initial": self._initial,
            "evaluate": self._evaluate,
        }
        self.link: Link | None = Link(
            EVALUATOR,
            Credentials.load(config.certificates),
            config.parent,
            config.timings,
            operations={op: Operation(work, perform) for op, perform in performed.items()},
            beat=readiness,
            max_message_mb=config.max_message_mb,
        )
        self._work = work

    def start(self) -> None:
        """Join the global aggregator; meanwhile the task is prepared."""
        assert self.link is not None
        self._work.submit(self._prepare, 1)
        self.link.start()

    def close(self) -> None:
        """Leave."""
        assert self.link is not None
        self.link.close()

    def _prepare(self, partitions: int) -> None:
        if self._task is None or partitions != self._partitions:
            self._task, self._partitions = self._make(self._spec, partitions), partitions

    def _setup(self, call: Call) -> Reply:
        self._prepare(int(call.header["partitions"]))
        return Reply()

    def _check(self, call: Call) -> Reply:
        self._known.check([ClientNode.from_config(config) for config in call.header["clients"]])
        return Reply()

    def _initial(self, call: Call) -> Reply:
        seed_everything(int(call.header["seed"]))
        return Reply({}, {"model": RecordDict({"arrays": to_record(self._known.initial_arrays())})})

    def _evaluate(self, call: Call) -> Reply:
        model = call.records()["model"].array_records["arrays"]
        seed_everything(int(call.header["seed"]))
        return Reply({"evaluation": asdict(self._known.evaluate(to_arrays(model)))})

    @property
    def _known(self) -> Task:
        if self._task is None:
            raise TransportError("the evaluator was restarted and is not set up yet")
        return self._task
