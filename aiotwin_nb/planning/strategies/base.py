"""What a configuration strategy is given, and what it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from aiotwin_nb.continuum import Infrastructure
from aiotwin_nb.errors import InfeasiblePlan
from aiotwin_nb.planning.configuration import Configuration
from aiotwin_nb.planning.costs import CostModel
from aiotwin_nb.registry import Registry


@dataclass(frozen=True)
class PlanningRequest:
    """The question a strategy answers: who trains where, on this infrastructure.

    `epochs`: local epochs per local round; `local_rounds`: L per global round. `current`: the configuration that runs
    now, None at the start. `updates`: {client: change of the model's last layer in its latest round}, where known.
    """

    infrastructure: Infrastructure
    epochs: int
    local_rounds: int
    cost_model: CostModel
    current: Configuration | None = None
    updates: Mapping[str, Sequence[float]] | None = None

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


def no_place(client: str, aggregators: tuple[str, ...]) -> InfeasiblePlan:
    """Error for a client that none of the aggregators can take."""
    return InfeasiblePlan(
        f"client {client} has no link to any of {', '.join(aggregators)}; add one to its links or remove the client"
    )
