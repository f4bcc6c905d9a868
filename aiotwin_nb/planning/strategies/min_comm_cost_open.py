"""Strategy `min_comm_cost_open`: which local aggregators to open at all, and who goes where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aiotwin_nb.errors import InfeasiblePlan, InvalidInput, did_you_mean
from aiotwin_nb.planning.strategies.base import Plan, PlanningRequest, PlanReport, no_place, strategies
from aiotwin_nb.planning.tables import CostTable

WORTH_RAISING = 0.002  # gap above which the bound is tried to be raised with the prices of the exact assignment
Capacity = int | Mapping[str, int] | None


@strategies.register("min_comm_cost_open")
def min_comm_cost_open(
    request: PlanningRequest, *, capacity: Capacity = None, move_penalty: Any = 0, time_limit_s: float | None = None
) -> Plan:
    """Open as few or many local aggregators as pay, with clusters of any size.

    Objective: minimum of Ψ_gr = Σ_{open LA} aggregator_cost(LA) + Σ_client member_cost(client, LA) over all sets of
    open LAs and all assignments to them; `capacity` limits the clients of an LA (a number for all, or {LA: number};
    an LA not named has no limit). `move_penalty`: cost units for every client that leaves its present LA.
    The optimum for up to 3000 client-LA pairs (HiGHS); beyond, the best found with a proven gap (Lagrangian bound),
    reported. Work is limited by nodes and iterations, so the same request gives the same plan; `time_limit_s` (per
    search) ends it earlier, then the gap says what is missing and a slower machine may return another plan.
    With at most one LA: flat FL. Raises InfeasiblePlan naming the capacities or links that are too few.
    Source: facility location (Balinski, 1965); in the original's terms, minCommCost without equal cluster sizes.
    """
    if request.must_be_flat:
        return Plan(request.flat())
    table = CostTable.of(request, "min_comm_cost_open", move_penalty)
    rooms = _rooms(table, capacity)
    _check_places(request, table, rooms)
    opened, bound = _opened(table, rooms, _limit(time_limit_s))
    smaller, fewer = table.restricted(opened), [rooms[g] for g in opened]
    homes = _assigned(smaller, fewer)
    cost = float(smaller.total(homes))
    if bound < cost * (1 - WORTH_RAISING):
        bound = max(bound, _raised(table, rooms, opened, homes, cost))
    return Plan(request.hierarchical(smaller.parents(homes)), PlanReport(cost, min(bound, cost)))


def _rooms(table: CostTable, capacity: Capacity) -> list[int]:
    """Capacity of every LA; the number of clients where there is no limit."""
    everybody = len(table.clients)
    given = dict.fromkeys(table.aggregators, capacity) if isinstance(capacity, int) else capacity
    if given is None:
        return [everybody] * len(table.aggregators)
    if not isinstance(given, Mapping):
        raise InvalidInput(
            f"strategy min_comm_cost_open, capacity: {capacity!r} is not allowed; give a number of clients, "
            "e.g. 5, or a table, e.g. {n2: 5, n3: 8}"
        )
    for la, room in given.items():
        if la not in table.aggregators:
            known = ", ".join(table.aggregators)
            raise InvalidInput(
                f"strategy min_comm_cost_open, capacity: {la!r} is no local aggregator; known are {known}."
                + did_you_mean(str(la), table.aggregators)
            )
        if isinstance(room, bool) or not isinstance(room, int) or room < 0:
            raise InvalidInput(
                f"strategy min_comm_cost_open, capacity of {la}: {room!r} is not allowed; give a number of clients"
            )
    return [min(given.get(la, everybody), everybody) for la in table.aggregators]


def _limit(seconds: Any) -> float | None:
    if seconds is not None and (isinstance(seconds, bool) or not isinstance(seconds, int | float) or seconds <= 0):
        raise InvalidInput(f"strategy min_comm_cost_open, time_limit_s: {seconds!r}; give a number of seconds above 0")
    return seconds


def _check_places(request: PlanningRequest, table: CostTable, rooms: Sequence[int]) -> None:
    """Raise InfeasiblePlan naming the constraint that is violated even with every LA open."""
    from aiotwin_nb.planning.transport import Crowded, capacitated_assignment

    usable = [g for g, cost in enumerate(table.opening) if cost is not None]
    if not usable:
        ga = request.infrastructure.global_aggregator
        raise InfeasiblePlan(f"no local aggregator has a link to the global aggregator {ga}; add {ga} to one's links")
    for client, row in zip(table.clients, table.members, strict=True):
        if all(row[g] is None for g in usable):
            raise no_place(client, tuple(table.aggregators[g] for g in usable))
    if all(room >= len(table.clients) for room in rooms):
        return
    total = sum(rooms[g] for g in usable)
    if total < len(table.clients):
        raise InfeasiblePlan(
            f"the capacities add up to {total}, but there are {len(table.clients)} clients; raise the capacity of "
            f"{', '.join(table.aggregators[g] for g in usable)} by {len(table.clients) - total} in all"
        )
    reachable = [[None if row[g] is None else 0 for g in usable] for row in table.members]
    if all(cost == 0 for row in reachable for cost in row):
        return
    found = capacitated_assignment(reachable, [rooms[g] for g in usable])
    if isinstance(found, Crowded):
        raise InfeasiblePlan(_crowded(table, rooms, usable, found.members, found.groups))


def _crowded(
    table: CostTable, rooms: Sequence[int], usable: Sequence[int], members: Sequence[int], groups: Sequence[int]
) -> str:
    clients = ", ".join(table.clients[m] for m in members)
    las = ", ".join(f"{table.aggregators[usable[g]]} (capacity {rooms[usable[g]]})" for g in groups)
    return (
        f"{clients} have links to {las} only, which is room for {sum(rooms[usable[g]] for g in groups)} of "
        f"{len(members)}; raise these capacities or add links to other local aggregators"
    )


def _opened(table: CostTable, rooms: Sequence[int], time_limit_s: float | None) -> tuple[list[int], float]:
    """The columns to open and a proven lower bound on the cost."""
    import numpy as np

    from aiotwin_nb.planning.capacities import Problem
    from aiotwin_nb.planning.facility import locate

    location = locate(Problem(*table.floats(), np.array(rooms)), time_limit_s)
    if location is None:
        raise InfeasiblePlan("min_comm_cost_open found no plan within its limits; raise time_limit_s or the capacities")
    return list(location.opened), location.bound


def _raised(table: CostTable, rooms: Sequence[int], opened: list[int], homes: list[int], cost: float) -> float:
    """A lower bound from what places are worth in the exact assignment."""
    import numpy as np

    from aiotwin_nb.planning.capacities import Problem
    from aiotwin_nb.planning.facility import raised_bound
    from aiotwin_nb.planning.transport import slot_prices

    members, opening = table.floats()
    worth = slot_prices(members[:, opened], homes, [rooms[g] for g in opened])
    prices = members[np.arange(len(homes)), np.array(opened)[homes]] + worth[homes]
    return raised_bound(Problem(members, opening, np.array(rooms)), prices, cost)


def _assigned(table: CostTable, rooms: Sequence[int]) -> list[int]:
    """The exact cheapest assignment to open LAs, fewest moves and then natural order among equals."""
    costs, _ = table.integers()
    if all(room >= len(costs) for room in rooms):
        return [min((w, g) for g, w in enumerate(row) if w is not None)[1] for row in costs]
    from aiotwin_nb.planning.transport import Crowded, capacitated_assignment

    homes = capacitated_assignment(costs, rooms)
    if isinstance(homes, Crowded):
        raise InfeasiblePlan("min_comm_cost_open found no plan within its limits; raise time_limit_s or the capacities")
    return homes
