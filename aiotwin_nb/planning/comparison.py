"""Several strategies on one infrastructure: what each plan costs, how balanced it is, and which are worth a thought."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from aiotwin_nb.continuum import Infrastructure
from aiotwin_nb.errors import AIoTwinError
from aiotwin_nb.planning.balance import imbalance
from aiotwin_nb.planning.configuration import Configuration, diff
from aiotwin_nb.planning.costs import exact_sum
from aiotwin_nb.planning.plan import make_reported_plan
from aiotwin_nb.planning.strategies import PlanningRequest, PlanReport


@dataclass(frozen=True)
class Compared:
    """One strategy's plan in figures.

    `round_cost`: Ψ_gr, `aggregation_cost`: the same with L = 1, in the cost model's unit; `client_links`: Σ
    link(client, parent) per MB; `imbalance`: mean KL of the clusters in nats, None where labels are unknown; `moved`:
    clients at another LA than in the reference configuration; `pareto`: no other plan is better in cost and imbalance
    at once.
    """

    name: str
    configuration: Configuration
    round_cost: Decimal
    aggregation_cost: Decimal
    client_links: Decimal
    imbalance: float | None
    moved: tuple[str, ...]
    left_out: tuple[str, ...]
    report: PlanReport | None
    seconds: float
    pareto: bool = False

    @property
    def sizes(self) -> tuple[int, ...]:
        """Clients of every cluster."""
        return tuple(len(clients) for _, clients in self.configuration.clusters)


@dataclass(frozen=True)
class Failed:
    """A strategy that has no plan here, and why."""

    name: str
    error: str


def compare_strategies(
    chosen: Mapping[str, Mapping[str, Any]], request: PlanningRequest, reference: Configuration | None = None
) -> list[Compared | Failed]:
    """Plan with every strategy of {name: arguments}; one that lacks data or has no plan is reported, not raised.

    The greedy strategy knows no bound itself; where min_comm_cost is compared too, its optimum serves as one.
    """
    rows = [_compared(name, args, request, reference) for name, args in chosen.items()]
    return _with_pareto_front(_with_greedy_gap(rows))


def _compared(
    name: str, args: Mapping[str, Any], request: PlanningRequest, reference: Configuration | None
) -> Compared | Failed:
    infrastructure, costs = request.infrastructure, request.cost_model
    try:
        plan = make_reported_plan(name, args, request)
        configuration = plan.configuration
        return Compared(
            name=name,
            configuration=configuration,
            round_cost=costs.round_cost(infrastructure, configuration),
            aggregation_cost=costs.aggregation_cost(infrastructure, configuration),
            client_links=_client_links(infrastructure, configuration),
            imbalance=imbalance(infrastructure, configuration),
            moved=() if reference is None else tuple(client for client, _, _ in diff(reference, configuration).moved),
            left_out=plan.left_out,
            report=plan.report,
            seconds=plan.seconds,
        )
    except AIoTwinError as error:
        return Failed(name, str(error))


def _client_links(infrastructure: Infrastructure, configuration: Configuration) -> Decimal:
    links = (infrastructure.link(*pair) for pair in configuration.parents.items())
    return exact_sum(link for link in links if link is not None)


def _with_greedy_gap(rows: Sequence[Compared | Failed]) -> list[Compared | Failed]:
    best = next((row for row in rows if isinstance(row, Compared) and row.name == "min_comm_cost" and row.report), None)
    if best is None:
        return list(rows)
    return [
        replace(row, report=PlanReport(float(row.round_cost), float(best.round_cost)))
        if isinstance(row, Compared) and row.name == "min_comm_cost_greedy" and not row.configuration.is_flat
        else row
        for row in rows
    ]


def _with_pareto_front(rows: Sequence[Compared | Failed]) -> list[Compared | Failed]:
    plans = [row for row in rows if isinstance(row, Compared) and not row.left_out]
    return [replace(row, pareto=_undominated(row, plans)) if isinstance(row, Compared) else row for row in rows]


def _undominated(row: Compared, plans: Sequence[Compared]) -> bool:
    """Whether no plan with all clients is as good in cost and imbalance and better in one of them."""
    if row.imbalance is None or row.left_out:
        return False
    return not any(
        other.imbalance is not None
        and other.round_cost <= row.round_cost
        and other.imbalance <= row.imbalance + ALMOST
        and (other.round_cost < row.round_cost or other.imbalance < row.imbalance - ALMOST)
        for other in plans
    )


ALMOST = 1e-12  # nats; the last bits of a sum of logarithms
