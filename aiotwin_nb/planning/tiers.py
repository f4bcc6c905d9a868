"""Which tier a round's cost Ψ_gr is paid for: the clients' links, or those of the local aggregators."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from aiotwin_nb.planning.costs import exact_sum
from aiotwin_nb.planning.strategies import PlanningRequest


@dataclass(frozen=True)
class Tiers:
    """The parts of Ψ_gr in the cost model's unit. `clients`: client ↔ its aggregator; `aggregators`: LA ↔ GA."""

    clients: Decimal
    aggregators: Decimal

    @property
    def total(self) -> Decimal:
        """Ψ_gr, where the cost model is a sum over links."""
        return self.clients + self.aggregators


def tiers_of(request: PlanningRequest, clusters: Mapping[str, Sequence[str]]) -> Tiers | None:
    """Split a round's cost of {aggregator: clients}; in flat FL everything is paid for the clients' links.

    None where the cost model is no sum (`wall_time`) or a link is missing.
    """
    ga = request.infrastructure.global_aggregator
    if ga in clusters:  # flat FL trains as much in one local round
        request = replace(request, epochs=request.epochs * max(request.local_rounds, 1), local_rounds=1)
    members = [request.member_cost(client, la) for la, clients in clusters.items() for client in clients]
    uplinks = [request.aggregator_cost(la) for la in clusters if la != ga]
    if any(cost is None for cost in (*members, *uplinks)):
        return None
    return Tiers(
        clients=exact_sum(cost for cost in members if cost is not None),
        aggregators=exact_sum(cost for cost in uplinks if cost is not None),
    )
