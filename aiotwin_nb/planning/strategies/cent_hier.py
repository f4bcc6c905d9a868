"""Strategy `cent_hier`: aggregation as frequent as the budget of an epoch allows."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

from aiotwin_nb.errors import InfeasiblePlan
from aiotwin_nb.planning.configuration import Configuration
from aiotwin_nb.planning.costs import non_negative
from aiotwin_nb.planning.strategies.base import PlanningRequest, strategies

MOST_EPOCHS = 5  # per local round
MOST_LOCAL_ROUNDS = 1000
MOST_FLAT_EPOCHS = 10_000


@strategies.register("cent_hier")
def cent_hier(request: PlanningRequest, *, budget_per_epoch: Any) -> Configuration:
    """Aggregate as often as a budget per epoch pays for, in clusters with balanced labels.

    Objective: the fewest local rounds L, then the fewest epochs (at most 5), whose cost per epoch fits:
    Ψ_gr(epochs, L) / (epochs · L) ≤ budget_per_epoch (cost units per epoch); for communication that is
    (Ψ_ga + L · Ψ_la) / (epochs · L). The clusters are those of min_kld; the request's own epochs and local rounds play
    no part. With at most one LA: flat FL with the fewest epochs n such that Ψ_gr / n ≤ budget_per_epoch.
    Raises InfeasiblePlan naming the least budget when none fits, InvalidInput when a client's labels are not known.
    Source: centHier of the AIoTwin orchestrator.
    """
    from aiotwin_nb.planning.plan import make_plan

    budget = non_negative("strategy cent_hier", "budget_per_epoch", budget_per_epoch)
    if request.must_be_flat:
        plan = replace(request.flat(), epochs=1)
        candidates = (replace(plan, epochs=n) for n in range(1, MOST_FLAT_EPOCHS + 1))
        longest = replace(plan, epochs=MOST_FLAT_EPOCHS)
    else:
        plan = make_plan("min_kld", {}, request)
        candidates = (
            replace(plan, epochs=epochs, local_rounds=local_rounds)
            for local_rounds in range(1, MOST_LOCAL_ROUNDS + 1)
            for epochs in range(1, MOST_EPOCHS + 1)
        )
        longest = replace(plan, epochs=MOST_EPOCHS, local_rounds=MOST_LOCAL_ROUNDS)
    least = _per_epoch(request, longest)
    if least <= budget:
        return next(candidate for candidate in candidates if _per_epoch(request, candidate) <= budget)
    raise InfeasiblePlan(
        f"strategy cent_hier: nothing costs {budget} or less per epoch; with {longest.epochs} epochs and "
        f"{longest.local_rounds} local rounds it comes down to {least:.2f}, so give budget_per_epoch at least that"
    )


def _per_epoch(request: PlanningRequest, configuration: Configuration) -> Decimal:
    cost = request.cost_model.round_cost(request.infrastructure, configuration)
    return cost / (configuration.epochs * configuration.local_rounds)
