"""The protocols that the orchestrator talks to; runtime, tracking and cluster implement them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from aiotwin_nb.continuum import Change, Infrastructure
from aiotwin_nb.planning.configuration import Configuration


@dataclass(frozen=True)
class ClientResult:
    """What one client did in one local round of a global round.

    `update_norm`: ‖w_after − w_before‖₂ over all parameters (model-based utility in the slides). `cpu_seconds` and
    `peak_rss_mb` (most resident memory, MB): of the client's process in the whole global round, where it has one of its
    own and told; on its last local round.
    """

    client: str
    aggregator: str
    local_round: int
    samples: int
    train_loss: float
    seconds: float
    update_norm: float
    cpu_seconds: float | None = None
    peak_rss_mb: float | None = None


@dataclass(frozen=True)
class RoundResult:
    """One finished global round: the new global model's quality on the global test set (accuracy in percent).

    `problems`: {node: message} for clients whose update was left out of this round. `per_class`: {label: accuracy in
    percent} on the same test set, where the task knows it. `updates`: {client: change of the model's last layer in its
    first local round, packed by `planning.updates`}, where the scenario's strategy wants it.
    """

    round: int
    accuracy: float
    loss: float
    seconds: float
    clients: tuple[ClientResult, ...] = ()
    problems: Mapping[str, str] = field(default_factory=dict)
    per_class: Mapping[int, float] = field(default_factory=dict)
    updates: Mapping[str, str] = field(default_factory=dict)


@runtime_checkable
class Runtime(Protocol):
    """Where a run happens: one process (embedded) or pods on a cluster."""

    name: str

    def start(self, infrastructure: Infrastructure, configuration: Configuration) -> RoundResult:
        """Bring up the pipeline and evaluate the untrained model: the result of round 0."""

    def apply(self, infrastructure: Infrastructure, configuration: Configuration) -> None:
        """Make the members and their places be those of the configuration; the model is left as it is."""

    def run_round(self, number: int) -> RoundResult:
        """Run one global round and evaluate the new global model."""

    def save(self, path: Path) -> None:
        """Write a checkpoint (model, strategy and node state) to a file; flushed, but not renamed into place."""

    def restore(self, path: Path, infrastructure: Infrastructure, configuration: Configuration) -> None:
        """Continue from a checkpoint instead of `start`."""

    def model_size_mb(self) -> float:
        """Bytes of the model's parameters / 10^6."""

    def close(self) -> None:
        """End every process or pod of the run; safe to call twice."""


@runtime_checkable
class Tracker(Protocol):
    """Where metrics go. A tracker never raises: a failing tracker must not hurt the training."""

    def start(self, run_id: str, directory: Path, config: Mapping[str, Any]) -> None:
        """Open this process's segment of the run."""

    def log(self, row: Mapping[str, Any]) -> None:
        """Record one flat row; it has the key `round`."""

    def summary(self, values: Mapping[str, Any]) -> None:
        """Record the run's summary."""

    def finish(self, exit_code: int = 0) -> None:
        """Close the segment; safe to call twice."""


@runtime_checkable
class MetricSource(Protocol):
    """Where metric curves are read from: W&B, or the journal when W&B is off or broken."""

    def rows(self) -> list[dict[str, Any]]:
        """All rows so far, one per round, ascending."""


@runtime_checkable
class NodeSource(Protocol):
    """Where joins, losses and changes of nodes are noticed (a cluster's API; scripted events need none)."""

    def infrastructure(self) -> Infrastructure:
        """The nodes that exist now."""

    def watch(self, notify: Callable[[Change], None]) -> Callable[[], None]:
        """Call `notify` for every change from now on; the returned function ends the watch."""


@dataclass(frozen=True)
class ClusterPlace:
    """How a cluster is found again: a kubeconfig file (absolute path), a context of it, and a namespace; no secret."""

    kubeconfig: str
    context: str
    namespace: str


@dataclass(frozen=True)
class ClusterStatus:
    """State of a cluster for people: reachable or not, its nodes, and what is missing with how to get it.

    `missing`: without it no run works; `notes`: good to know. Commands in them stand between backquotes.
    """

    name: str
    reachable: bool
    version: str = ""
    nodes: tuple[Mapping[str, Any], ...] = ()
    missing: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    place: ClusterPlace | None = None


@runtime_checkable
class ClusterProvider(Protocol):
    """A way to get a cluster: attach to one that exists, or create one."""

    name: str

    def create(self, scenario: Mapping[str, Any]) -> ClusterStatus:
        """Create or attach to the cluster."""

    def status(self) -> ClusterStatus:
        """Say how the cluster is."""

    def delete(self) -> None:
        """Delete what `create` created, and nothing else."""

    def missing(self) -> Iterable[str]:
        """What this machine lacks for the provider, each with the command that gets it."""
