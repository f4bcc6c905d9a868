"""What a configuration strategy is given, and what it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
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
    now, None at the start.
    """

    infrastructure: Infrastructure
    epochs: int
    local_rounds: int
    cost_model: CostModel
    current: Configuration | None = None

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


# A pure function (request: PlanningRequest, **arguments of its own) -> Configuration. It raises InfeasiblePlan when
# there is no configuration, InvalidInput when an argument is wrong.
Strategy = Callable[..., Configuration]

strategies: Registry[Strategy] = Registry("strategy", "aiotwin_nb.strategies")


def no_place(client: str, aggregators: tuple[str, ...]) -> InfeasiblePlan:
    """Error for a client that none of the aggregators can take."""
    return InfeasiblePlan(
        f"client {client} has no link to any of {', '.join(aggregators)}; add one to its links or remove the client"
    )
