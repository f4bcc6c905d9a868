"""Cost model `energy`: what a round draws from the nodes' batteries."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import ClassVar

from aiotwin_nb.continuum import Infrastructure
from aiotwin_nb.errors import InvalidInput
from aiotwin_nb.planning.configuration import Configuration
from aiotwin_nb.planning.costs import EXACT, cost_models, exact_sum


@cost_models.register("energy")
@dataclass(frozen=True)
class EnergyCost:
    """Energy of training and aggregating; e(n) = the node's declared `energy`, in whatever unit it is declared.

    Ψ_gr = e(GA) + L · Σ_LA e(LA) + epochs · L · Σ_client e(client), without the LA sum in flat FL. Ψ_rc = 0.
    Where a client is placed does not matter, which LAs are open does.
    Source: the AIoTwin orchestrator's energy cost.
    """

    name: ClassVar[str] = "energy"
    unit: ClassVar[str] = "energy units"
    additive: ClassVar[bool] = True

    model_size_mb: Decimal

    def round_cost(self, infrastructure: Infrastructure, configuration: Configuration) -> Decimal:
        """Ψ_gr; raises InvalidInput for a node without a declared energy."""
        return self._cost(infrastructure, configuration, max(configuration.local_rounds, 1))

    def aggregation_cost(self, infrastructure: Infrastructure, configuration: Configuration) -> Decimal:
        """Ψ_gr with L = 1."""
        return self._cost(infrastructure, configuration, 1)

    def change_cost(self, infrastructure: Infrastructure, current: Configuration | None, new: Configuration) -> Decimal:
        """Ψ_rc = 0: a change trains nothing."""
        return Decimal(0)

    def aggregator_cost(self, infrastructure: Infrastructure, aggregator: str, *, local_rounds: int) -> Decimal | None:
        """L · e(LA); None without a link to the GA."""
        if infrastructure.link(aggregator, infrastructure.global_aggregator) is None:
            return None
        return EXACT.multiply(Decimal(local_rounds), _energy(infrastructure, aggregator))

    def member_cost(
        self, infrastructure: Infrastructure, client: str, aggregator: str, *, epochs: int, local_rounds: int
    ) -> Decimal | None:
        """Epochs · L · e(client), the same at every aggregator; None without a link."""
        if infrastructure.link(client, aggregator) is None:
            return None
        return EXACT.multiply(Decimal(epochs * local_rounds), _energy(infrastructure, client))

    def _cost(self, infrastructure: Infrastructure, configuration: Configuration, local_rounds: int) -> Decimal:
        ga = configuration.global_aggregator
        las = exact_sum(_energy(infrastructure, la) for la in configuration.aggregators if la != ga)
        clients = exact_sum(_energy(infrastructure, client) for client in configuration.clients)
        lower = EXACT.add(las, EXACT.multiply(Decimal(configuration.epochs), clients))
        return EXACT.add(_energy(infrastructure, ga), EXACT.multiply(Decimal(local_rounds), lower))


def _energy(infrastructure: Infrastructure, node_id: str) -> Decimal:
    energy = infrastructure.nodes[node_id].energy
    if energy is None:
        raise InvalidInput(
            f"cost model energy needs the energy of every node, but {node_id} declares none; "
            f"add `energy: 0.3` (say) to node {node_id}, or use the cost model communication"
        )
    return energy
