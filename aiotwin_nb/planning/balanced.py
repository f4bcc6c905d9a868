"""The balanced assignment of least cost, and the first one among equals. Integers only, therefore exact.

Everything happens on a small graph whose nodes are the groups (local aggregators), not the members (clients): a path
a → b → c means "one member of a moves to b and one of b moves to c", and costs what those moves cost. Inserting one
member after the other along the cheapest path keeps the assignment optimal (successive shortest paths: Ahuja, Magnanti,
Orlin, *Network Flows*, 1993, ch. 9). 1000 members × 50 groups take a fraction of a second.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[Any]  # int64, or Python integers in an object array where 64 bits are too few
Flags = NDArray[np.bool_]
Indices = NDArray[np.intp]


def balanced_assignment(costs: Sequence[Sequence[int | None]], opening: Sequence[int | None]) -> list[int] | None:
    """Return the group of every member: least total cost, group sizes differing by at most one.

    `costs[member][group]` and `opening[group]` (paid once for a group that is not empty) are integers, None where
    forbidden. Which groups get the larger size is part of the optimisation. Among the optimal assignments the
    lexicographically smallest is returned: member 0 in the lowest group possible, then member 1, and so on.
    Returns None when no balanced assignment avoids the forbidden pairs.
    """
    search = Search(costs, opening)
    inserted = all(search.insert(member) for member in range(len(costs)))
    if not inserted or search.unbalanced:
        return None
    _take_first_of_equals(search)
    return [int(group) for group in search.home]


class Search:
    """An optimal assignment of the members inserted so far, and the graph of possible moves."""

    def __init__(self, costs: Sequence[Sequence[int | None]], opening: Sequence[int | None]) -> None:
        members, groups = len(costs), len(opening)
        present = [abs(c) for row in (*costs, opening) for c in row if c is not None]
        # More than any path of real moves can cost; a sum with it stays "forbidden" in both directions.
        self.forbidden = 8 * (groups + 2) * (max(present, default=0) + 1)
        dtype = np.int64 if 4 * self.forbidden < 2**63 else object
        self.costs = self._array(costs, dtype).reshape(members, groups)
        self.floor = members // groups
        # A group opens with its first member; from floor size 1 on, all are open and only sizes are left to choose.
        self.entry = np.zeros(groups, dtype) if self.floor else self._array([opening], dtype).reshape(groups)
        self.home: Indices = np.full(members, -1, np.intp)
        self.loads: Indices = np.zeros(groups, np.intp)
        self.push = np.full((groups, groups), self.forbidden, dtype)  # cheapest move from a group to another,
        self.mover: Indices = np.full((groups, groups), -1, np.intp)  # and the member that makes it

    def _array(self, rows: Sequence[Sequence[int | None]], dtype: Any) -> Integers:
        return np.array([[self.forbidden if c is None else c for c in row] for row in rows], dtype)

    @property
    def unbalanced(self) -> bool:
        """Whether a group is below the floor size."""
        return bool((self.loads < self.floor).any())

    def insert(self, member: int) -> bool:
        """Add a member along the cheapest path to a group with room; False when there is no such path."""
        reach, via = self._cheapest_paths(member)
        target = self._target(reach)
        if target is None:
            return False
        changed, group = [target], target
        while via[group] >= 0:
            before = int(via[group])
            self.home[self.mover[before, group]] = group
            changed.append(before)
            group = before
        self.home[member] = group
        self.loads[target] += 1
        for group in changed:
            self._refresh(group)
        return True

    def _cheapest_paths(self, member: int) -> tuple[Integers, Indices]:
        """Cost of making room for the member so that each group in turn grows by one (Bellman–Ford)."""
        reach = self.costs[member].copy()
        via: Indices = np.full(len(reach), -1, np.intp)
        while True:
            through = reach[:, None] + self.push
            best = through.min(axis=0)
            better = best < reach
            if not better.any():
                return reach, via
            via[better] = through.argmin(axis=0)[better]
            reach = np.where(better, best, reach)

    def _target(self, reach: Integers) -> int | None:
        """Group that grows: groups below the floor size first, because every group must get there."""
        total = reach + self.entry * (self.loads == self.floor)
        possible = (total < self.forbidden // 2) & (self.loads <= self.floor)
        needy = possible & (self.loads < self.floor)
        candidates = np.flatnonzero(needy if needy.any() else possible)
        return int(candidates[total[candidates].argmin()]) if candidates.size else None

    def _refresh(self, group: int) -> None:
        members = np.flatnonzero(self.home == group)
        prices = self.costs[members]
        change = prices - prices[:, [group]]
        cheapest = change.argmin(axis=0)
        self.push[group] = change[cheapest, np.arange(len(cheapest))]
        self.mover[group] = members[cheapest]


def _take_first_of_equals(search: Search) -> None:
    """Turn an optimal assignment into the lexicographically smallest optimal one.

    With potentials every optimal assignment uses only "tight" pairs (complementary slackness), so what is left is
    reachability: member i may go to a lower group if later members can close the circle back to its present one.
    """
    tight, flexible = _tight(search)
    ways = _TightMoves(search, tight, flexible)
    for member in range(len(search.home)):
        ways.fix(member)


def _tight(search: Search) -> tuple[Flags, Flags]:
    """Pairs (member, group) that optimal assignments may use, and groups whose size may differ between them."""
    groups = len(search.loads)
    weights = np.full((groups + 1, groups + 1), search.forbidden, search.costs.dtype)
    weights[:groups, :groups] = search.push
    # The extra node stands for the choice of sizes: a group may grow while another one shrinks.
    weights[:groups, groups] = np.where(search.loads == search.floor, search.entry, search.forbidden)
    weights[groups, :groups] = np.where(search.loads > search.floor, -search.entry, search.forbidden)
    potential = np.zeros(groups + 1, search.costs.dtype)
    while ((lower := (potential[:, None] + weights).min(axis=0)) < potential).any():
        potential = np.minimum(potential, lower)
    reduced = search.costs - potential[:groups]
    tight = reduced == reduced[np.arange(len(reduced)), search.home][:, None]
    return tight.astype(bool), (search.entry + potential[:groups] == potential[groups]).astype(bool)


class _TightMoves:
    """The graph of cost-free moves of the members that are not fixed yet; its last node is the choice of sizes."""

    def __init__(self, search: Search, tight: Flags, flexible: Flags) -> None:
        self.home, self.loads, self.floor = search.home, search.loads, search.floor
        self.tight, self.flexible = tight, flexible
        self.sizes = len(search.loads)
        self.movers = np.zeros((self.sizes, self.sizes), np.intp)  # how many members can make each move
        np.add.at(self.movers, self.home, tight)

    def fix(self, member: int) -> None:
        """Put a member into the lowest group possible, for good."""
        present = int(self.home[member])
        self.movers[present] -= self.tight[member]
        if not self.tight[member, :present].any():
            return
        onward = self._ways_to(present)
        lower = np.flatnonzero(self.tight[member, :present] & (onward[:present] >= 0))
        if lower.size:
            self._rotate(int(lower[0]), present, onward, first_free=member + 1)
            self.home[member] = lower[0]

    def _ways_to(self, group: int) -> Indices:
        """Next node on a shortest path from every node to a group, -1 where there is none (breadth first)."""
        edges = np.zeros((self.sizes + 1, self.sizes + 1), np.bool_)
        edges[:-1, :-1] = self.movers > 0
        edges[:-1, -1] = self.flexible & (self.loads == self.floor)
        edges[-1, :-1] = self.flexible & (self.loads > self.floor)
        onward: Indices = np.full(self.sizes + 1, -1, np.intp)
        onward[group] = group
        frontier = np.array([group])
        while frontier.size:
            into = edges[:, frontier]
            found = np.flatnonzero(into.any(axis=1) & (onward < 0))
            onward[found] = frontier[into[found].argmax(axis=1)]
            frontier = found
        return onward

    def _rotate(self, start: int, end: int, onward: Indices, first_free: int) -> None:
        node = start
        while node != end:
            following = int(onward[node])
            if following == self.sizes:
                self.loads[node] += 1
            elif node == self.sizes:
                self.loads[following] -= 1
            else:
                self._move(node, following, first_free)
            node = following

    def _move(self, group: int, to: int, first_free: int) -> None:
        free = slice(first_free, None)
        member = first_free + int(((self.home[free] == group) & self.tight[free, to]).argmax())
        self.home[member] = to
        self.movers[group] -= self.tight[member]
        self.movers[to] += self.tight[member]
