"""Strategy `min_kld`: clusters whose label distributions are like that of all data."""

from __future__ import annotations

from aiotwin_nb.planning.alike import alike, labels_of
from aiotwin_nb.planning.strategies.base import Plan, PlanningRequest, strategies


@strategies.register("min_kld")
def min_kld(request: PlanningRequest) -> Plan:
    """Split the clients into clusters of equal size whose labels are spread like those of all clients.

    Objective: minimum of (1/K) · Σ_k KL(P_k ‖ P) over all assignments to the K LAs whose cluster sizes differ by at
    most one; P_k is the label distribution of cluster k, P that of all clients, KL(p ‖ q) = Σ p · ln(p / q) in nats,
    and zero probabilities become 1e-4. Which LA serves which cluster is then chosen by cost (linear assignment).
    The optimum up to 20 000 possible clusters (e.g. 15 clients × 3 LAs; HiGHS, set partitioning); beyond, the best of
    several exchange searches, reported with the bound of the linear relaxation (up to 60 000 possible clusters, e.g.
    24 clients × 5 LAs) or that KL ≥ 0.
    With at most one LA: flat FL. Raises InvalidInput when a client's labels are not known.
    Source: minKld of the AIoTwin orchestrator (arXiv 2412.03385), which searches exhaustively.
    """
    if request.must_be_flat:
        return Plan(request.flat())
    from aiotwin_nb.planning.balance import divergence, least_divergence

    counts = labels_of(request, "min_kld")
    whole = counts.sum(axis=0)
    least = least_divergence(whole)
    return alike(request, "min_kld", counts, lambda sums: divergence(sums, whole), gamma=None, least_score=least)
