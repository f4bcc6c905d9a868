"""The pipeline seen from the orchestrator when aggregators and clients are other processes or pods."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from fl_service.certificates import Credentials
from fl_service.events import Listener, MemberEvent
from fl_service.pipeline import RoundReport
from fl_service.spec import ClientNode, Plan, TrainingSpec
from fl_service.transport.liveness import Timings


class RemotePipeline:
    """`fl_service.pipeline.Pipeline`, with the same methods and results, over a global aggregator elsewhere.

    `address`: `host:port` at which this process reaches the global aggregator (a port-forward, a NodePort).
    `global_aggregator`: its name, to which its certificate is bound. `credentials`: those of `ORCHESTRATOR`.
    `address_of`: {aggregator: `host:port`} as the *pods* see it, asked when a plan is applied.
    `on_event`: called from a thread of its own for every `MemberEvent`; must be quick and must not raise.

    The connection may break and come back at any time: training goes on, and a round that was finished meanwhile is
    handed over afterwards, never run twice. Where the global aggregator itself was restarted, the last checkpoint
    that was saved (or restored) is given to it and the round is repeated.
    """

    def __init__(
        self,
        address: str,
        credentials: Credentials,
        spec: TrainingSpec,
        *,
        global_aggregator: str,
        address_of: Callable[[str], str],
        on_event: Listener | None = None,
        timings: Timings | None = None,
        max_message_mb: int = 1024,
        reconnect_seconds: float = 120.0,
    ) -> None:
        raise NotImplementedError

    def start(self, clients: Sequence[ClientNode], nodes: Iterable[str], plan: Plan) -> RoundReport:
        """Wait for the plan's members, set them up and evaluate the untrained model.

        Raises FLServiceError naming the members that did not come within `timings.gather` seconds.
        """
        raise NotImplementedError

    def apply(self, clients: Sequence[ClientNode], nodes: Iterable[str], plan: Plan) -> None:
        """Make members and places those of the plan: clients are moved by a message, their processes stay.

        Returns when all members are in place or are known to be late or lost. A member that never came within
        `timings.gather` seconds is reported lost; one that could not reach its new parent stays where it is, is
        reported as ``stayed`` and tried again before the next round.
        """
        raise NotImplementedError

    def run_round(self, number: int) -> RoundReport:
        """Run one global round and evaluate the new model."""
        raise NotImplementedError

    def save(self, path: Path) -> None:
        """Write a checkpoint, flushed to the disk: the same file as that of `Pipeline.save`."""
        raise NotImplementedError

    def restore(self, path: Path, clients: Sequence[ClientNode], nodes: Iterable[str], plan: Plan) -> int:
        """Go on from a checkpoint instead of `start`; returns its round.

        A global aggregator that still stands at this checkpoint, or is training the round after it with this very plan,
        is left alone: its round is not lost.
        """
        raise NotImplementedError

    @property
    def model_bytes(self) -> int:
        """Bytes of the model's arrays; before the start, the evaluator is asked."""
        raise NotImplementedError

    def tell_lost(self, node: str, reason: str) -> None:
        """Say that a node is gone for good (its pod or node object is): it is lost at once."""
        raise NotImplementedError

    def events(self) -> list[MemberEvent]:
        """Return (and forget) the events since the last call; at most the latest 10 000 are kept."""
        raise NotImplementedError

    def close(self, *, end_run: bool = False) -> None:
        """Disconnect; the global aggregator stays as it is. `end_run` ends its processes' run. Safe to call twice."""
        raise NotImplementedError
