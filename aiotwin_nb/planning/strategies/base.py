"""What a configuration strategy is given, and what it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, TypeVar

from aiotwin_nb.continuum import Infrastructure
from aiotwin_nb.errors import InfeasiblePlan
from aiotwin_nb.planning.configuration import Configuration
from aiotwin_nb.planning.costs import CostModel
from aiotwin_nb.registry import Registry


@dataclass(frozen=True)
class PlanningRequest:
    """The question a strategy answers: who trains where, on this infrastructure.

    `epochs`: local epochs per local round; `local_rounds`: L per global round. `current`: the configuration that runs
    now, None at the start. What training has shown, by client: `updates`, the change of the model's last layer in its
    latest round, and `norms`, ‖w_after − w_before‖₂ of its rounds. Clients that have not trained yet are missing; None
    says that nobody measures, so that waiting for it would be in vain.
    """

    infrastructure: Infrastructure
    epochs: int
    local_rounds: int
    cost_model: CostModel
    current: Configuration | None = None
    updates: Mapping[str, Sequence[float]] | None = None
    norms: Mapping[str, Sequence[float]] | None = None

    @property
    def must_be_flat(self) -> bool:
        """True with at most one local aggregator: a hierarchy would only add a hop."""
        return len(self.infrastructure.local_aggregators) <= 1

    def member_cost(self, client: str, aggregator: str) -> Decimal | None:
        """Part of Ψ_gr that a client adds at an aggregator; None without a link."""
        return self.cost_model.member_cost(
            self.infrastructure, client, aggregator, epochs=self.epochs, local_rounds=max(self.local_rounds, 1)
        )

    def aggregator_cost(self, aggregator: str) -> Decimal | None:
        """Part of Ψ_gr that using a local aggregator adds; None without a link to the GA."""
        return self.cost_model.aggregator_cost(self.infrastructure, aggregator, local_rounds=max(self.local_rounds, 1))

    def hierarchical(self, parents: Mapping[str, str]) -> Configuration:
        """Configuration with the clients at these aggregators, {client: aggregator}."""
        ga = self.infrastructure.global_aggregator
        return Configuration.of_parents(ga, parents, epochs=self.epochs, local_rounds=self.local_rounds)

    def flat(self) -> Configuration:
        """Flat FL: every client at the GA, as many local epochs per global round as the hierarchy would train."""
        ga, epochs = self.infrastructure.global_aggregator, self.epochs * max(self.local_rounds, 1)
        return Configuration.of(ga, {ga: self.infrastructure.clients}, epochs=epochs, local_rounds=1)


@dataclass(frozen=True)
class PlanReport:
    """How good a plan provably is. `objective`: what the strategy minimises; `bound`: no plan can go below this.

    Both in the unit of the strategy's objective.
    """

    objective: float
    bound: float

    @classmethod
    def exact(cls, objective: Decimal | float) -> PlanReport:
        """Report of a proven optimum."""
        return cls(float(objective), float(objective))

    @property
    def gap(self) -> float:
        """Share of the objective that a better plan could at most save: 0 proves the optimum."""
        missing = self.objective - self.bound
        return 0.0 if missing <= TOLERANCE * max(abs(self.objective), TOLERANCE) else missing / abs(self.objective)

    @property
    def optimal(self) -> bool:
        """Whether no plan is better (but for the solvers' relative tolerance of 1e-9)."""
        return self.gap == 0


TOLERANCE = 1e-9


@dataclass(frozen=True)
class Plan:
    """A configuration and what is known about it. `report`: None where the strategy has no objective or no bound.

    `left_out`: clients that stay outside on purpose. `seconds`: how long planning took.
    """

    configuration: Configuration
    report: PlanReport | None = None
    left_out: tuple[str, ...] = ()
    seconds: float = field(default=0.0, compare=False)


# A pure function (request: PlanningRequest, **arguments of its own) -> Configuration or Plan. It raises InfeasiblePlan
# when there is no configuration, InvalidInput when an argument is wrong or the request lacks data.
Strategy = Callable[..., Configuration | Plan]

strategies: Registry[Strategy] = Registry("strategy", "aiotwin_nb.strategies")

AnyStrategy = TypeVar("AnyStrategy", bound=Strategy)


def plans_with_updates(strategy: AnyStrategy) -> AnyStrategy:
    """Mark a strategy that reads `request.updates`: runs measure and record updates only for those."""
    strategy.plans_with_updates = True  # type: ignore[attr-defined]
    return strategy


def wants_updates(name: str, args: Mapping[str, Any]) -> bool:
    """Whether a strategy with these arguments reads `request.updates`, itself or through the strategy named `base`."""
    if args.get("updates") is not None:
        return False  # it has been given some
    if getattr(strategies.get(name), "plans_with_updates", False):
        return True
    base = args.get("base")
    return base in strategies.names() and wants_updates(base, args.get("base_args") or {})


def learns_from_training(name: str, args: Mapping[str, Any]) -> bool:
    """Whether a run's plans may differ from those made before anything is trained."""
    return wants_updates(name, args) or (args.get("utility") == "update_norm" and args.get("norms") is None)


def no_place(client: str, aggregators: tuple[str, ...]) -> InfeasiblePlan:
    """Error for a client that none of the aggregators can take."""
    return InfeasiblePlan(
        f"client {client} has no link to any of {', '.join(aggregators)}; add one to its links or remove the client"
    )
