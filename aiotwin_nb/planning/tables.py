"""The costs of a request as tables: what every client costs at every LA, and what every LA costs."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from decimal import Decimal
from math import lcm
from typing import TYPE_CHECKING, Any

from aiotwin_nb.errors import InvalidInput
from aiotwin_nb.planning.costs import EXACT, exact_sum, is_additive, non_negative
from aiotwin_nb.planning.strategies.base import PlanningRequest

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class CostTable:
    """`members[client][la]` and `opening[la]` in the cost model's unit; None where a link is missing.

    Rows and columns are in natural order. With a move penalty, `members` has it wherever a client would leave its
    present LA.
    """

    clients: tuple[str, ...]
    aggregators: tuple[str, ...]
    members: list[list[Decimal | None]]
    opening: list[Decimal | None]
    moves: list[list[bool]]

    @classmethod
    def of(cls, request: PlanningRequest, strategy: str, move_penalty: Any = 0) -> CostTable:
        """Table of a request; raises InvalidInput for a cost model that is no sum."""
        require_additive(request, strategy)
        penalty = non_negative(f"strategy {strategy}", "move_penalty", move_penalty)
        clients, las = request.infrastructure.clients, request.infrastructure.local_aggregators
        current = request.current.parents if request.current else {}
        moves = [[client in current and la != current[client] for la in las] for client in clients]
        members = [[request.member_cost(client, la) for la in las] for client in clients]
        if penalty:
            members = [
                [None if c is None else EXACT.add(c, penalty) if m else c for c, m in zip(*rows, strict=True)]
                for rows in zip(members, moves, strict=True)
            ]
        return cls(clients, las, members, [request.aggregator_cost(la) for la in las], moves)

    def restricted(self, columns: Sequence[int]) -> CostTable:
        """The table of some of the LAs."""
        return CostTable(
            self.clients,
            tuple(self.aggregators[g] for g in columns),
            [[row[g] for g in columns] for row in self.members],
            [self.opening[g] for g in columns],
            [[row[g] for g in columns] for row in self.moves],
        )

    def integers(self) -> tuple[list[list[int | None]], list[int | None]]:
        """Members and opening as integers on one scale, on which one unit of cost outweighs all clients moving."""
        present = {cost for row in (*self.members, self.opening) for cost in row if cost is not None}
        scaled = _integers(present, len(self.clients) + 1)
        scaled[None] = None
        weights = [
            [w if (w := scaled[cost]) is None else w + move for cost, move in zip(*rows, strict=True)]
            for rows in zip(self.members, self.moves, strict=True)
        ]
        return weights, [scaled[cost] for cost in self.opening]

    def floats(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """Members and opening as float arrays, infinite where a link is missing."""
        import numpy as np

        infinite = float("inf")
        members = np.array([[infinite if c is None else float(c) for c in row] for row in self.members], float)
        opening = np.array([infinite if c is None else float(c) for c in self.opening], float)
        return members.reshape(len(self.clients), len(self.aggregators)), opening

    def total(self, homes: Sequence[int]) -> Decimal:
        """Cost of an assignment, {client's row: LA's column}, penalties included."""
        costs = [row[home] for row, home in zip(self.members, homes, strict=True)]
        costs += [self.opening[home] for home in set(homes)]
        return exact_sum(cost for cost in costs if cost is not None)

    def parents(self, homes: Sequence[int]) -> dict[str, str]:
        """{client: LA} of an assignment."""
        return {client: self.aggregators[home] for client, home in zip(self.clients, homes, strict=True)}


def require_additive(request: PlanningRequest, strategy: str) -> None:
    """Raise InvalidInput when the request's cost model is not a sum, naming the strategies that do without."""
    if not is_additive(request.cost_model):
        raise InvalidInput(
            f"strategy {strategy} minimises a sum of link or node costs, but the cost model {request.cost_model.name} "
            "is a maximum over nodes; use the strategy min_kld, random, cent_hier, manual or flat with it, or the cost "
            "model communication, energy or computation_time"
        )


def _integers(costs: Collection[Decimal], unit: int) -> dict[Decimal | None, int | None]:
    """Every cost as an integer on one common scale, times `unit`."""
    ratios = {cost: cost.as_integer_ratio() for cost in costs}
    scale = lcm(*(denominator for _, denominator in ratios.values()))
    return {cost: numerator * (scale // denominator) * unit for cost, (numerator, denominator) in ratios.items()}
