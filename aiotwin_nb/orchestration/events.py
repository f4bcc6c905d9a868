"""The journal's vocabulary: observations come from outside, actions follow from them.

Every event is a frozen dataclass whose journal form is its class name in snake case and its fields.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal

from aiotwin_nb.continuum import Change
from aiotwin_nb.orchestration.ledger import Kind
from aiotwin_nb.orchestration.ports import RoundResult
from aiotwin_nb.orchestration.vocabulary import Vocabulary
from aiotwin_nb.planning.configuration import Configuration

DecisionName = Literal["kept", "reverted", "undecided", "not_validated", "forced", "refused", "pending"]


@dataclass(frozen=True)
class Curve:
    """A fitted trend for the record: accuracy(x) = a + b·ln(x + 1), its first and last fitted x, its horizon x."""

    a: float
    b: float
    first: float
    last: float
    horizon: int | None


@dataclass(frozen=True)
class Reconfiguration:
    """One reconfiguration, its costs and, once it has fallen, its decision with the evidence.

    `proactive`: decided on before it was made, or made before what it prevents.
    Costs in the scenario's unit, accuracies in percent. `round_cost_before` and `_after`: Ψ_gr; `change_cost`: Ψ_rc;
    `post_cost`: Ψ_pr.
    """

    after_round: int
    trigger: Change
    configuration: Configuration
    previous: Configuration
    aggregation_cost: Decimal
    change_cost: Decimal
    round_cost_before: Decimal
    round_cost_after: Decimal
    joined: tuple[str, ...]
    left: tuple[str, ...]
    moved: tuple[str, ...]
    decision: DecisionName
    reason: str
    evaluation_round: int | None = None
    budget_left_at_evaluation: Decimal | None = None
    accuracy_at_evaluation: float | None = None
    predicted_old: float | None = None
    predicted_new: float | None = None
    interval_old: tuple[float, float] | None = None
    interval_new: tuple[float, float] | None = None
    rounds_left_old: int | None = None
    rounds_left_new: int | None = None
    revert_cost: Decimal | None = None
    proactive: bool = False
    curve_old: Curve | None = None
    curve_new: Curve | None = None

    @property
    def post_cost(self) -> Decimal:
        """Ψ_pr: what a round costs more than before; negative when it is cheaper."""
        return self.round_cost_after - self.round_cost_before


@dataclass(frozen=True)
class Window:
    """An open validation window.

    `base`: the last validated configuration, the one to return to. `missing`: nodes of it that have left since.
    `base_round`: last round finished in it. `start_round`: the change was made after this round.
    """

    index: int
    base: Configuration
    base_round: int
    base_round_cost: Decimal
    start_round: int
    evaluation_round: int
    missing: tuple[str, ...] = ()


# Observations: what enters `decide`.


@dataclass(frozen=True)
class RunStarted:
    """A run begins."""

    run_id: str
    scenario: str
    seed: int
    runtime: str


@dataclass(frozen=True)
class RoundFinished:
    """A round is done, its checkpoint on disk. `cost`: what the round costs; round 0 is the untrained model."""

    result: RoundResult
    cost: Decimal
    checkpoint: str = ""
    sha256: str = ""


@dataclass(frozen=True)
class CommandApplied:
    """An inbox command takes effect at a round boundary."""

    id: str
    after_round: int
    change: Change | None = None
    stop: str | None = None


@dataclass(frozen=True)
class BoundaryReached:
    """Between two rounds: everything that acts before the next one is known."""

    after_round: int


@dataclass(frozen=True)
class RunResumed:
    """Another process goes on with the run. `repeated_round`: a round that was under way and runs again."""

    after_round: int
    repeated_round: int | None = None


# Actions: what follows; journalled before they are performed.


@dataclass(frozen=True)
class Planned:
    """The first configuration."""

    configuration: Configuration
    round_cost: Decimal
    aggregation_cost: Decimal


@dataclass(frozen=True)
class InfrastructureChanged:
    """Nodes, links or data changed. `skipped`: parts of the change that no longer made sense, with the reason."""

    after_round: int
    change: Change
    skipped: tuple[str, ...] = ()


@dataclass(frozen=True)
class Charged:
    """A change or revert is paid."""

    round: int
    kind: Kind
    cost: Decimal


@dataclass(frozen=True)
class Deployed:
    """The pipeline takes this configuration from the next round on."""

    after_round: int
    configuration: Configuration
    round_cost: Decimal


@dataclass(frozen=True)
class Reconfigured:
    """A reconfiguration was made, forced or refused. `window`: opened for its validation, if any."""

    reconfiguration: Reconfiguration
    window: Window | None = None
    idle: tuple[str, ...] = ()


@dataclass(frozen=True)
class Decided:
    """A reconfiguration's decision has fallen; its window is closed. `idle`: nodes that stay outside the pipeline."""

    index: int
    reconfiguration: Reconfiguration
    idle: tuple[str, ...] = ()


@dataclass(frozen=True)
class WindowMoved:
    """An open window's way back is another one now: nodes of it left or came back, or its links changed."""

    window: Window


@dataclass(frozen=True)
class WindowExtended:
    """The policy asked for one more round before it decides, and the budget covers it."""

    index: int
    evaluation_round: int
    reason: str


@dataclass(frozen=True)
class RoundStarted:
    """The next round begins."""

    round: int


@dataclass(frozen=True)
class RunEnded:
    """The run is over (finished, failed) or rests (stopped; it can be resumed)."""

    status: Literal["finished", "stopped", "failed"]
    stop_reason: str
    message: str = ""


# Notes: in the journal for people; they change nothing.


@dataclass(frozen=True)
class CommandReceived:
    """A command came into the inbox."""

    id: str
    command: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class CommandRejected:
    """A command made no sense."""

    id: str
    reason: str


@dataclass(frozen=True)
class MemberChanged:
    """A member of a pipeline of pods is late, back, lost, joined, moved, stayed or restored, and why.

    `time`: seconds since the epoch, by the clock of the global aggregator.
    """

    node: str
    standing: str
    reason: str = ""
    time: float = 0.0


Observation = RunStarted | RoundFinished | CommandApplied | BoundaryReached | RunResumed
Action = (
    Planned
    | InfrastructureChanged
    | Charged
    | Deployed
    | Reconfigured
    | WindowMoved
    | WindowExtended
    | Decided
    | RoundStarted
    | RunEnded
)
Note = CommandReceived | CommandRejected | MemberChanged
Event = Observation | Action | Note

OBSERVATIONS: tuple[type[Any], ...] = (RunStarted, RoundFinished, CommandApplied, BoundaryReached, RunResumed)
RUN = Vocabulary((*OBSERVATIONS, *Action.__args__, *Note.__args__))


def encode(event: Event) -> tuple[str, dict[str, Any]]:
    """An event's name and its fields as strict JSON values (decimals as text, so that nothing is rounded)."""
    return RUN.encode(event)


def decode(name: str, data: Mapping[str, Any]) -> Event:
    """The event of a journal line."""
    event: Event = RUN.decode(name, data)
    return event
