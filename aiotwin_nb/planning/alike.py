"""From a request to clusters that look alike: what min_kld, share and shape have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aiotwin_nb.errors import InvalidInput
from aiotwin_nb.planning.costs import is_additive
from aiotwin_nb.planning.strategies.base import Plan, PlanningRequest, PlanReport
from aiotwin_nb.planning.strategies.min_comm_cost import cheapest_balanced
from aiotwin_nb.planning.tables import CostTable


def alike(
    request: PlanningRequest,
    strategy: str,
    features: Any,
    score: Callable[[Any], Any],
    *,
    gamma: float | None,
    least_score: float = 0.0,
) -> Plan:
    """Balanced clusters of least Ψ_gr / Ψ* + gamma · mean score, Ψ* being the least Ψ_gr of balanced clusters.

    Without `gamma` the score alone counts, and cost only decides which LA serves which of the clusters found.
    `features`: one row a client (natural order), summed over a cluster before it is scored.
    """
    import numpy as np

    from aiotwin_nb.planning.clustering import Grouping, group

    table = _table(request, strategy, gamma)
    first = cheapest_balanced(request, table)
    if len(table.clients) <= len(table.aggregators):  # everybody alone: there is nothing to balance
        return Plan(request.hierarchical(table.parents(first)))
    members, opening = table.floats()
    least = float(table.total(first))
    unit = 0.0 if gamma is None else 1 / (least or 1.0)
    # All LAs are open: what that costs belongs to the objective, but decides nothing.
    constant = float(opening.sum()) * unit
    linear = np.where(np.isfinite(members), np.where(np.isfinite(members), members, 0) * unit, np.inf)
    weight = 1.0 if gamma is None else gamma
    found = group(Grouping(linear, features, score, weight, least * unit - constant, least_score), np.array(first))
    home = _cheapest_names(found.home, members) if gamma is None else list(found.home)
    report = PlanReport(found.objective + constant, found.bound + constant)
    return Plan(request.hierarchical(table.parents(home)), report)


def _table(request: PlanningRequest, strategy: str, gamma: float | None) -> CostTable:
    """The request's costs; the bare links where cost only breaks ties and the cost model is no sum."""
    if gamma is not None or is_additive(request.cost_model):
        return CostTable.of(request, strategy)
    clients, las = request.infrastructure.clients, request.infrastructure.local_aggregators
    link, ga = request.infrastructure.link, request.infrastructure.global_aggregator
    members = [[link(client, la) for la in las] for client in clients]
    return CostTable(clients, las, members, [link(la, ga) for la in las], [[False] * len(las) for _ in clients])


def _cheapest_names(home: tuple[int, ...], members: Any) -> list[int]:
    """The same clusters, each at the LA where it costs least (linear assignment)."""
    import numpy as np
    from scipy.optimize import linear_sum_assignment

    costs = np.zeros((members.shape[1], members.shape[1]))
    np.add.at(costs, np.array(home), members)
    _, place = linear_sum_assignment(costs)  # infinite: forbidden
    return [int(place[k]) for k in home]


def labels_of(request: PlanningRequest, strategy: str) -> Any:
    """Label counts of all clients; raises InvalidInput naming those that declare none, and the alternatives."""
    from aiotwin_nb.planning.balance import label_counts

    infrastructure = request.infrastructure
    unknown = [client for client in infrastructure.clients if not infrastructure.nodes[client].samples]
    if unknown:
        raise InvalidInput(
            f"strategy {strategy} needs the labels of every client, but {few(unknown)} declare no data; "
            "add `data: {0: 40, 1: 40}` (say) to them, or use shape (which needs model updates instead) or "
            "min_comm_cost (which needs links only)"
        )
    return label_counts(infrastructure, infrastructure.clients)


def few(names: list[str]) -> str:
    """The first names of a list that may be long."""
    shown = 8
    return ", ".join(names[:shown]) + (f" and {len(names) - shown} more" if len(names) > shown else "")


def checked_gamma(strategy: str, gamma: Any) -> float:
    """A trade-off weight, 0 or more."""
    if isinstance(gamma, bool) or not isinstance(gamma, int | float) or not 0 <= gamma < float("inf"):
        raise InvalidInput(f"strategy {strategy}, gamma: {gamma!r} is not allowed; give a number, 0 or more")
    return float(gamma)
