"""What a scenario would do, before anything runs: clusters, costs, and how many rounds the budget buys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from aiotwin_nb import api
from aiotwin_nb.continuum import exact
from aiotwin_nb.errors import InvalidInput
from aiotwin_nb.orchestration.replay import plan_along_events
from aiotwin_nb.planning.tiers import tiers_of
from aiotwin_nb.scenario import Scenario, number

Amount = int | float


@dataclass(frozen=True)
class PlannedChange:
    """A scripted change, made: Ψ_rc is paid once, and every round after it costs `round_cost`."""

    after_round: int
    joins: tuple[str, ...]
    leaves: tuple[str, ...]
    clusters: Mapping[str, Sequence[str]]
    change_cost: Amount
    round_cost: Amount

    def describe(self) -> str:
        """`n9 joins`."""
        who = [f"{node} joins" for node in self.joins] + [f"{node} leaves" for node in self.leaves]
        return ", ".join(who) or "links or data change"


@dataclass(frozen=True)
class Preview:
    """A plan in figures, in the cost model's unit.

    `round_cost`: Ψ_gr, of which `client_cost` is for the links between clients and aggregators and `uplink_cost` for
    those between local aggregators and the GA (None where the cost model is no sum). `rounds`: as many as the budget
    buys if nothing changes; `rounds_with_changes`: if all scripted changes are made and kept. Both end at the
    scenario's `max_rounds` at the latest.
    """

    clusters: Mapping[str, Sequence[str]]
    round_cost: Amount
    client_cost: Amount | None
    uplink_cost: Amount | None
    unit: str
    budget: Amount | None
    max_rounds: int
    rounds: int
    rounds_with_changes: int
    changes: tuple[PlannedChange, ...]


def preview(scenario: Scenario) -> Preview:
    """Plan a scenario; raises InvalidInput or InfeasiblePlan with what stands in the way. Nothing is trained."""
    rules = api.rules(scenario)
    planned = plan_along_events(rules)
    initial, later = planned["initial"], planned["reconfigurations"]
    changes = tuple(
        PlannedChange(
            after_round=change["after_round"],
            joins=tuple(change["trigger"]["added"]),
            leaves=tuple(change["trigger"]["removed"]),
            clusters=change["clusters"],
            change_cost=change["change_cost"],
            round_cost=change["round_cost_after"],
        )
        for change in later
    )
    infrastructure = scenario.infrastructure
    tiers = tiers_of(rules.request(infrastructure, None), initial["clusters"])
    hierarchical = tiers is not None and infrastructure.global_aggregator not in initial["clusters"]
    result = Preview(
        clusters=initial["clusters"],
        round_cost=initial["round_cost"],
        client_cost=number(tiers.clients) if tiers and hierarchical else None,
        uplink_cost=number(tiers.aggregators) if tiers and hierarchical else None,
        unit=rules.cost_model.unit,
        budget=None if rules.budget is None else number(rules.budget),
        max_rounds=scenario.training.max_rounds,
        rounds=rounds_bought(initial["round_cost"], (), rules.budget, scenario.training.max_rounds),
        rounds_with_changes=rounds_bought(
            initial["round_cost"], changes, rules.budget, scenario.training.max_rounds
        ),
        changes=changes,
    )  # fmt: skip
    if result.rounds == 0:
        raise InvalidInput(
            f"objective.budget: is {result.budget:,}, below the cost of one round, {result.round_cost:,}; "
            "give at least that much"
        )
    return result


def rounds_bought(round_cost: Amount, changes: Sequence[PlannedChange], budget: Decimal | None, max_rounds: int) -> int:
    """Rounds that a budget covers, changes along the way paid and kept; at most `max_rounds`."""
    done, left, price = 0, budget, exact(round_cost)
    for change in changes:
        wanted = min(change.after_round, max_rounds) - done
        rounds = _affordable(left, price, wanted)
        done += rounds
        left = None if left is None else left - rounds * price - exact(change.change_cost)
        if rounds < wanted or done == max_rounds or (left is not None and left < 0):
            return done
        price = exact(change.round_cost)
    return done + _affordable(left, price, max_rounds - done)


def _affordable(budget: Decimal | None, price: Decimal, wanted: int) -> int:
    return wanted if budget is None or price <= 0 else min(int(budget // price), wanted)
