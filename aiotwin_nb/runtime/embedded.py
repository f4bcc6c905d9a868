"""The runtime without a cluster: the whole pipeline in this process, clients optionally in worker processes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from aiotwin_nb.continuum import Infrastructure, Node
from aiotwin_nb.errors import InvalidInput, RunFailed
from aiotwin_nb.orchestration.ports import ClientResult, RoundResult
from aiotwin_nb.planning.configuration import Configuration
from aiotwin_nb.planning.updates import pack
from fl_service.errors import FLServiceError
from fl_service.pipeline import Pipeline, RoundReport, check_training
from fl_service.spec import ClientNode, Plan, TrainingSpec

if TYPE_CHECKING:
    from fl_service.remote import RemotePipeline
    from fl_service.stacked import StackedPipeline


def validate_training(spec: TrainingSpec, infrastructure: Infrastructure) -> None:
    """Check task, data, strategies and every client before anything is started or written.

    Raises InvalidInput naming the field (such as ``nodes[n9].data``), its value and what is allowed.
    """
    with as_invalid_input():
        check_training(spec, _clients(infrastructure))


class InProcessRuntime:
    """A runtime around a pipeline that lives in this process."""

    name: str

    def __init__(self, pipeline: Pipeline | StackedPipeline | RemotePipeline) -> None:
        self._pipeline = pipeline

    def start(self, infrastructure: Infrastructure, configuration: Configuration) -> RoundResult:
        """Bring up the pipeline and evaluate the untrained model: the result of round 0."""
        began = time.perf_counter()
        with as_invalid_input():
            report = self._pipeline.start(_clients(infrastructure), infrastructure.nodes, _plan(configuration))
        return _result(report, began)

    def apply(self, infrastructure: Infrastructure, configuration: Configuration) -> None:
        """Make the members and their places be those of the configuration; the model is left as it is."""
        with _as_run_failed():
            self._pipeline.apply(_clients(infrastructure), infrastructure.nodes, _plan(configuration))

    def run_round(self, number: int) -> RoundResult:
        """Run one global round and evaluate the new global model."""
        began = time.perf_counter()
        with _as_run_failed():
            report = self._pipeline.run_round(number)
        return _result(report, began)

    def save(self, path: Path) -> None:
        """Write a checkpoint (model, strategy and node state) to a file; flushed, but not renamed into place."""
        with _as_run_failed():
            self._pipeline.save(path)

    def restore(self, path: Path, infrastructure: Infrastructure, configuration: Configuration) -> None:
        """Continue from a checkpoint instead of `start`."""
        with _as_run_failed():
            self._pipeline.restore(path, _clients(infrastructure), infrastructure.nodes, _plan(configuration))

    def model_size_mb(self) -> float:
        """Bytes of the model's parameters / 10^6."""
        return self._pipeline.model_bytes / 1e6

    def close(self) -> None:
        """End the worker processes of the run; safe to call twice."""
        self._pipeline.close()


class EmbeddedRuntime(InProcessRuntime):
    """Runtime in one process; `workers` ≥ 1 executes the clients in that many processes, with the same result."""

    name = "embedded"

    def __init__(self, spec: TrainingSpec, workers: int = 0) -> None:
        if workers < 0:
            raise InvalidInput(f"workers: {workers} is not allowed; it must be 0 (in process) or more")
        with as_invalid_input():
            super().__init__(Pipeline(spec, workers))


@contextmanager
def as_invalid_input() -> Iterator[None]:
    """Raise the FL service's errors as InvalidInput."""
    try:
        yield
    except FLServiceError as error:
        raise InvalidInput(str(error)) from error


@contextmanager
def _as_run_failed() -> Iterator[None]:
    try:
        yield
    except FLServiceError as error:
        raise RunFailed(str(error)) from error


def _clients(infrastructure: Infrastructure) -> list[ClientNode]:
    return [client_node(infrastructure.nodes[name]) for name in infrastructure.clients]


def client_node(node: Node) -> ClientNode:
    """A client of the continuum as the FL service sees it."""
    noise, data = node.label_noise, tuple(sorted(node.data.items()))
    return ClientNode(node.id, data, noise.kind, noise.share, node.partition)


def _plan(configuration: Configuration) -> Plan:
    c = configuration
    return Plan(c.global_aggregator, c.clusters, c.epochs, c.local_rounds)


def _result(report: RoundReport, began: float) -> RoundResult:
    clients = tuple(ClientResult(**vars(client)) for client in report.clients)
    quality, seconds = report.evaluation, time.perf_counter() - began
    return RoundResult(
        round=report.round,
        accuracy=quality.accuracy,
        loss=quality.loss,
        seconds=seconds,
        clients=clients,
        problems=dict(report.problems),
        per_class=dict(quality.per_class),
        updates={client: pack(update) for client, update in report.updates.items()},
    )
