"""Strategy `min_comm_cost`: the cheapest balanced clusters, exactly."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from decimal import Decimal
from math import lcm

from aiotwin_nb.errors import InfeasiblePlan
from aiotwin_nb.planning.configuration import Configuration
from aiotwin_nb.planning.strategies.base import PlanningRequest, no_place, strategies

Table = list[list[Decimal | None]]


@strategies.register("min_comm_cost")
def min_comm_cost(request: PlanningRequest) -> Configuration:
    """Split the clients into clusters of equal size so that a global round costs least.

    Objective: minimum of Ψ_gr = Σ_LA aggregator_cost(LA) + Σ_client member_cost(client, LA) of the request's cost model
    (for communication: S · (Σ_LA link(LA, GA) + L · Σ_client link(client, LA))) over all assignments whose cluster
    sizes differ by at most one; which LAs get the larger size is part of the optimisation. All LAs take part; with
    fewer clients than LAs the sizes are 0 or 1, and an LA without a client is neither used nor paid.
    Ties: fewest clients moved away from the current configuration, then clients in natural order (n2 before n10), each
    at the naturally first LA possible.
    With at most one LA: flat FL. Raises InfeasiblePlan naming the links that are missing.
    Source: minCommCost of the AIoTwin orchestrator (arXiv 2412.03385), which searches exhaustively with the sizes
    fixed; the optimum here is exact up to 1000 clients × 50 LAs and beyond.
    """
    if request.must_be_flat:
        return request.flat()
    from aiotwin_nb.planning.balanced import balanced_assignment  # numpy is loaded when a plan is made, not before

    clients, las = request.infrastructure.clients, request.infrastructure.local_aggregators
    costs: Table = [[request.member_cost(client, la) for la in las] for client in clients]
    opening = [request.aggregator_cost(la) for la in las]
    unlinked = [la for la, cost in zip(las, opening, strict=True) if cost is None]
    if unlinked and len(clients) >= len(las):
        raise _no_uplink(request, unlinked)
    homes = balanced_assignment(*_weights(request, costs, opening))
    if homes is None:
        raise _infeasible(request, costs, opening)
    return request.hierarchical({client: las[home] for client, home in zip(clients, homes, strict=True)})


def _weights(
    request: PlanningRequest, costs: Table, opening: Sequence[Decimal | None]
) -> tuple[list[list[int | None]], list[int | None]]:
    """Integers in which one unit of cost outweighs all clients moving."""
    clients, las = request.infrastructure.clients, request.infrastructure.local_aggregators
    unit = len(clients) + 1
    scaled = _integers({cost for row in (*costs, opening) for cost in row if cost is not None}, unit)
    scaled[None] = None
    current = request.current.parents if request.current else {}
    weights = [[scaled[cost] for cost in row] for row in costs]
    for client, row in zip(clients, weights, strict=True):
        # For a client that is nowhere yet all places are equal, so only those with a present place count.
        if client in current:
            row[:] = [w if w is None else w + (la != current[client]) for la, w in zip(las, row, strict=True)]
    return weights, [scaled[cost] for cost in opening]


def _integers(costs: Collection[Decimal], unit: int) -> dict[Decimal | None, int | None]:
    """Every cost as an integer on one common scale, times `unit`."""
    ratios = {cost: cost.as_integer_ratio() for cost in costs}
    scale = lcm(*(denominator for _, denominator in ratios.values()))
    return {cost: numerator * (scale // denominator) * unit for cost, (numerator, denominator) in ratios.items()}


def _no_uplink(request: PlanningRequest, las: Sequence[str]) -> InfeasiblePlan:
    ga = request.infrastructure.global_aggregator
    return InfeasiblePlan(
        f"min_comm_cost uses every local aggregator, but {', '.join(las)} has no link to the global aggregator {ga}; "
        f"add {ga} to its links or remove it"
    )


def _infeasible(request: PlanningRequest, costs: Table, opening: Sequence[Decimal | None]) -> InfeasiblePlan:
    """Name the fewest links that would make a balanced assignment possible."""
    from aiotwin_nb.planning.balanced import balanced_assignment

    clients, las = request.infrastructure.clients, request.infrastructure.local_aggregators
    for client, row in zip(clients, costs, strict=True):
        if all(cost is None for cost in row):
            return no_place(client, las)
    homes = balanced_assignment(
        [[int(cost is None) for cost in row] for row in costs], [int(cost is None) for cost in opening]
    )
    if homes is None:  # cannot be: nothing is forbidden here
        return InfeasiblePlan("no balanced clusters exist; add links between clients and local aggregators")
    ga = request.infrastructure.global_aggregator
    missing = [
        f"{client} to {las[home]}" for client, home, row in zip(clients, homes, costs, strict=True) if row[home] is None
    ]
    missing += [f"{las[home]} to {ga}" for home in sorted(set(homes)) if opening[home] is None]
    return InfeasiblePlan(
        f"{len(clients)} clients cannot be split evenly over {', '.join(las)} along the links there are; "
        f"these links would make it possible: {', '.join(missing)}. Add them, or use another strategy"
    )
