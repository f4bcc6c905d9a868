"""Strategy `random`: balanced clusters by lot, for comparison."""

from __future__ import annotations

import hashlib
from decimal import Decimal

from aiotwin_nb.errors import InvalidInput
from aiotwin_nb.planning.configuration import Configuration
from aiotwin_nb.planning.strategies.base import PlanningRequest, strategies
from aiotwin_nb.planning.strategies.min_comm_cost import cheapest_balanced
from aiotwin_nb.planning.tables import CostTable


@strategies.register("random")
def random(request: PlanningRequest, *, seed: int = 0) -> Configuration:
    """Draw clusters of equal size along the links there are.

    Objective: none; what any objective should beat. Every pair of client and LA draws a number keyed by (seed, client,
    LA), and the balanced assignment of least sum is taken: the draws of the others stay as they are when a node joins.
    With at most one LA: flat FL. Raises InfeasiblePlan naming the links that are missing.
    """
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise InvalidInput(f"strategy random, seed: {seed!r} is not allowed; give a whole number")
    if request.must_be_flat:
        return request.flat()
    clients, las = request.infrastructure.clients, request.infrastructure.local_aggregators
    link, ga = request.infrastructure.link, request.infrastructure.global_aggregator
    members = [[None if link(client, la) is None else _lot(seed, client, la) for la in las] for client in clients]
    opening = [None if link(la, ga) is None else Decimal(0) for la in las]
    table = CostTable(clients, las, members, opening, [[False] * len(las) for _ in clients])
    return request.hierarchical(table.parents(cheapest_balanced(request, table)))


def _lot(seed: int, client: str, la: str) -> Decimal:
    digest = hashlib.sha256(f"{seed}/{client}/{la}".encode()).digest()
    return Decimal(int.from_bytes(digest[:4], "big"))
