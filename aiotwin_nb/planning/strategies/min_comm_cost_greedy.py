"""Strategy `min_comm_cost_greedy`: what the original system deploys, for comparison."""

from __future__ import annotations

from aiotwin_nb.planning.configuration import Configuration
from aiotwin_nb.planning.strategies.base import PlanningRequest, no_place, strategies
from aiotwin_nb.planning.tables import require_additive


@strategies.register("min_comm_cost_greedy")
def min_comm_cost_greedy(request: PlanningRequest) -> Configuration:
    """Let each client in turn take the cheapest local aggregator that still has room.

    Objective: low Σ_client member_cost(client, LA); no optimum. Cluster sizes differ by at most one and are fixed
    beforehand, the larger ones going to the first LAs in *string* order (n14 before n2), as in the original. Clients
    come in natural order (in the original: in random order). Ties go to the first LA in string order.
    With at most one LA: flat FL. Raises InfeasiblePlan for a client without a link to an LA that has room, although
    another order might have found one.
    Source: the deployed minCommCost of the AIoTwin orchestrator (arXiv 2412.03385).
    """
    if request.must_be_flat:
        return request.flat()
    require_additive(request, "min_comm_cost_greedy")
    clients, las = request.infrastructure.clients, tuple(sorted(request.infrastructure.local_aggregators))
    size, larger = divmod(len(clients), len(las))
    room = {la: size + (place < larger) for place, la in enumerate(las)}
    parents: dict[str, str] = {}
    for client in clients:
        costs = {la: cost for la in las if room[la] and (cost := request.member_cost(client, la)) is not None}
        if not costs:
            raise no_place(client, tuple(la for la in las if room[la]))
        parents[client] = min(costs, key=lambda la: costs[la])
        room[parents[client]] -= 1
    return request.hierarchical(parents)
