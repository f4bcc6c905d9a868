"""Strategy `share`: communication cost traded against data balance."""

from __future__ import annotations

from typing import Any

from aiotwin_nb.planning.alike import alike, checked_gamma, labels_of
from aiotwin_nb.planning.strategies.base import Plan, PlanningRequest, strategies


@strategies.register("share")
def share(request: PlanningRequest, *, gamma: Any = 1.0) -> Plan:
    """Split the clients into clusters of equal size that are cheap and have balanced labels.

    Objective: minimum of Ψ_gr / Ψ* + γ · (1/K) · Σ_k KL(P_k ‖ P), with Ψ* the least Ψ_gr of balanced clusters and KL
    as in min_kld: with γ = 1 one nat of imbalance weighs as much as doubling the cost; γ = 0 is min_comm_cost.
    The optimum up to 20 000 pairs of a possible cluster and an LA; beyond, the best of several exchange searches,
    reported with the bound of the linear relaxation (up to 60 000 possible clusters) or 1 + γ · 0.
    With at most one LA: flat FL. Raises InvalidInput when a client's labels are not known.
    Source: Deng et al., SHARE: Shaping Data Distribution at Edge for Communication-Efficient Hierarchical Federated
    Learning, ICDCS 2021. SHARE also chooses which aggregators to open; here all take part, in equal sizes, so that
    the strategies can be compared.
    """
    if request.must_be_flat:
        return Plan(request.flat())
    from aiotwin_nb.planning.balance import divergence, least_divergence

    weight, counts = checked_gamma("share", gamma), labels_of(request, "share")
    whole = counts.sum(axis=0)
    least = least_divergence(whole)
    return alike(request, "share", counts, lambda sums: divergence(sums, whole), gamma=weight, least_score=least)
