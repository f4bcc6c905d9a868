"""The cheapest assignment under capacities, exactly: members to groups, at most so many a group.

The same successive shortest paths as for balanced sizes; when a member finds no path to a group with room, the groups
it reaches are full of members that can go nowhere else: the violated constraint (Hall's theorem), which is returned.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aiotwin_nb.planning.balanced import Integers, Search

Floats = NDArray[Any]


@dataclass(frozen=True)
class Crowded:
    """Why there is no assignment: these members have no other place than these groups, which are too small."""

    members: tuple[int, ...]
    groups: tuple[int, ...]


def capacitated_assignment(costs: Sequence[Sequence[int | None]], capacities: Sequence[int]) -> list[int] | Crowded:
    """Return the group of every member at least total cost, at most `capacities[group]` members in a group.

    `costs[member][group]` are integers, None where forbidden.
    """
    search = _Capacitated(costs, capacities)
    for member in range(len(costs)):
        if not search.insert(member):
            return search.crowded(member)
    return [int(group) for group in search.home]


def slot_prices(costs: Floats, homes: Sequence[int], capacities: Sequence[int]) -> Floats:
    """What one more place in each group would save, given the cheapest assignment (the optimal dual prices).

    λ is 0 for groups with room; elsewhere it is the cheapest chain of moves that ends in such a group.
    """
    home, groups = np.array(homes), costs.shape[1]
    push = np.full((groups, groups), np.inf)
    for group in range(groups):
        inside = costs[home == group]
        if len(inside):
            push[group] = (inside - inside[:, [group]]).min(axis=0)
    full = np.bincount(home, minlength=groups) >= np.array(capacities)
    prices = np.where(full, 2 * float(costs[np.isfinite(costs)].max(initial=0)), 0.0)
    for _ in range(groups):
        lower = np.minimum(prices, (push + prices[None, :]).min(axis=1))
        if np.array_equal(lower, prices):
            break
        prices = np.maximum(lower, 0.0)
    return prices


class _Capacitated(Search):
    """Successive shortest paths to groups below their capacity."""

    def __init__(self, costs: Sequence[Sequence[int | None]], capacities: Sequence[int]) -> None:
        super().__init__(costs, [0] * len(capacities))
        self.capacities = np.array(capacities)

    def _target(self, reach: Integers) -> int | None:
        candidates = np.flatnonzero((reach < self.forbidden // 2) & (self.loads < self.capacities))
        return int(candidates[reach[candidates].argmin()]) if candidates.size else None

    def crowded(self, member: int) -> Crowded:
        """The groups that a member without a place reaches, and everybody in them."""
        reach, _ = self._cheapest_paths(member)
        groups = np.flatnonzero(reach < self.forbidden // 2)
        inside = [int(m) for m in np.flatnonzero(np.isin(self.home, groups))]
        return Crowded((*sorted({*inside, member}),), tuple(int(g) for g in groups))
