"""Strategy `select`: train with the most useful clients only."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from aiotwin_nb.continuum import Change
from aiotwin_nb.errors import InfeasiblePlan, InvalidInput
from aiotwin_nb.planning.costs import non_negative
from aiotwin_nb.planning.strategies.base import Plan, PlanningRequest, strategies
from aiotwin_nb.planning.utility import Norms, most_useful, utilities


@strategies.register("select")
def select(
    request: PlanningRequest,
    *,
    base: str = "min_comm_cost",
    base_args: Any = None,
    utility: str = "dataset_share",
    norms: Norms | None = None,
    keep: int | None = None,
    budget_per_round: Any = None,
) -> Plan:
    """Leave out the least useful clients, and let another strategy arrange the rest.

    Objective: that of `base` on the clients that stay. Either `keep`: how many stay; or `budget_per_round` (the cost
    model's unit): the least useful are left out one by one until Ψ_gr of the base strategy's plan fits.
    `utility`: dataset_share, divergence or update_norm. `norms`: {client: one norm a round} for the last, instead of
    those that the run measures. A client that has not trained yet counts as infinitely useful; where that is everybody,
    as at a run's start, nobody is left out, whatever a round then costs.
    Source: utilities of Fu et al., IEEE IoT-J 2023; dropping the least useful is the original's energy variant.
    """
    from aiotwin_nb.planning.plan import make_reported_plan

    if base == "select":
        raise InvalidInput("strategy select, base: select cannot select for itself; give another strategy")
    budget = None if budget_per_round is None else non_negative("strategy select", "budget_per_round", budget_per_round)
    values = utilities.get(utility)(request.infrastructure, _measured(request) if norms is None else norms)
    counts = _counts(len(values), keep, budget)
    if all(map(math.isinf, values.values())):
        return make_reported_plan(base, base_args or {}, request)
    for count in counts:
        staying = most_useful(values, count)
        left_out = tuple(client for client in request.infrastructure.clients if client not in staying)
        smaller = replace(request, infrastructure=request.infrastructure.apply(Change(removed=left_out)))
        plan = make_reported_plan(base, base_args or {}, smaller)
        if budget is None or request.cost_model.round_cost(smaller.infrastructure, plan.configuration) <= budget:
            return replace(plan, left_out=(*plan.left_out, *left_out))
    raise InfeasiblePlan(
        f"strategy select: even with the most useful client alone a round costs more than {budget}; "
        "raise budget_per_round"
    )


def _measured(request: PlanningRequest) -> Norms | None:
    if request.norms is None:
        return None
    return {client: request.norms.get(client, [math.inf]) for client in request.infrastructure.clients}


def _counts(everybody: int, keep: Any, budget: Any) -> Sequence[int]:
    """Numbers of clients to try, most first."""
    if (keep is None) == (budget is None):
        raise InvalidInput("strategy select needs either keep (how many clients stay) or budget_per_round, one of them")
    if keep is None:
        return range(everybody, 0, -1)
    if isinstance(keep, bool) or not isinstance(keep, int) or keep < 1:
        raise InvalidInput(f"strategy select, keep: {keep!r} is not allowed; give a whole number, 1 or more")
    return [min(keep, everybody)]
