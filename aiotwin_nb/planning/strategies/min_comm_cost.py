"""Strategy `min_comm_cost`: the cheapest balanced clusters, exactly."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aiotwin_nb.errors import InfeasiblePlan
from aiotwin_nb.planning.strategies.base import Plan, PlanningRequest, PlanReport, no_place, strategies
from aiotwin_nb.planning.tables import CostTable


@strategies.register("min_comm_cost")
def min_comm_cost(request: PlanningRequest, *, move_penalty: Any = 0) -> Plan:
    """Split the clients into clusters of equal size so that a global round costs least.

    Objective: minimum of Ψ_gr = Σ_LA aggregator_cost(LA) + Σ_client member_cost(client, LA) of the request's cost model
    (for communication: S · (Σ_LA link(LA, GA) + L · Σ_client link(client, LA))) over all assignments whose cluster
    sizes differ by at most one; which LAs get the larger size is part of the optimisation. All LAs take part; with
    fewer clients than LAs the sizes are 0 or 1, and an LA without a client is neither used nor paid.
    With `move_penalty` (cost units per client, once) every client that leaves its present LA adds this to the sum, so
    that a plan is only changed for a saving worth it.
    Ties: fewest clients moved away from the current configuration, then clients in natural order (n2 before n10), each
    at the naturally first LA possible.
    With at most one LA: flat FL. Raises InfeasiblePlan naming the links that are missing.
    Source: minCommCost of the AIoTwin orchestrator (arXiv 2412.03385), which searches exhaustively with the sizes
    fixed; the optimum here is exact, in seconds, up to 10 000 clients × 100 LAs.
    """
    if request.must_be_flat:
        return Plan(request.flat())
    table = CostTable.of(request, "min_comm_cost", move_penalty)
    homes = cheapest_balanced(request, table)
    return Plan(request.hierarchical(table.parents(homes)), PlanReport.exact(table.total(homes)))


def cheapest_balanced(request: PlanningRequest, table: CostTable) -> list[int]:
    """The LA's column of every client, balanced and at least cost; raises InfeasiblePlan."""
    from aiotwin_nb.planning.balanced import balanced_assignment  # numpy is loaded when a plan is made, not before

    unlinked = [la for la, cost in zip(table.aggregators, table.opening, strict=True) if cost is None]
    if unlinked and len(table.clients) >= len(table.aggregators):
        raise _no_uplink(request, unlinked)
    homes = balanced_assignment(*table.integers())
    if homes is None:
        raise _infeasible(request, table)
    return homes


def _no_uplink(request: PlanningRequest, las: Sequence[str]) -> InfeasiblePlan:
    ga = request.infrastructure.global_aggregator
    return InfeasiblePlan(
        f"min_comm_cost uses every local aggregator, but {', '.join(las)} has no link to the global aggregator {ga}; "
        f"add {ga} to its links or remove it"
    )


def _infeasible(request: PlanningRequest, table: CostTable) -> InfeasiblePlan:
    """Name the fewest links that would make a balanced assignment possible."""
    from aiotwin_nb.planning.balanced import balanced_assignment

    clients, las, costs, opening = table.clients, table.aggregators, table.members, table.opening
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
