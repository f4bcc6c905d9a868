"""Facility location under capacities: what a set of open groups costs, and a better set.

Serving everybody from given groups is a transportation problem. Its dual has one congestion price λ_j ≥ 0 a group,

    D(λ) = Σ_i min_j (c_ij + λ_j) − Σ_j λ_j · capacity_j,

which some subgradient steps bring close to right; an assignment led by these prices is then nearly the cheapest. That
is quick enough to judge hundreds of candidates. The set finally chosen is served exactly (transport.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aiotwin_nb.planning.transport import Crowded, capacitated_assignment, slot_prices

Floats = NDArray[Any]
Indices = NDArray[np.intp]

PRICE_STEPS = 20
NEIGHBOURS = 30
SAMPLE = 3000  # members on which local search judges its candidates
RESTARTS = 3  # of the search that judges by prices, each from the exact prices of where the last one ended
WORK = 1_500_000_000  # entries of the cost table that local search may read


@dataclass(frozen=True)
class Problem:
    """`costs[i, j]` of serving member i from group j, `opening[j]`, `capacity[j]`; infinite where impossible."""

    costs: Floats
    opening: Floats
    capacity: Indices

    @property
    def limited(self) -> bool:
        """Whether the capacities can matter."""
        return bool((self.capacity < len(self.costs)).any())

    @property
    def fewest(self) -> int:
        """Number of groups that must be open for everybody to have a place."""
        rooms = np.sort(np.where(np.isfinite(self.opening), self.capacity, 0))[::-1].cumsum()
        return int(np.searchsorted(rooms, len(self.costs))) + 1


class Congestion:
    """Judges sets of open groups; prices found for one set are where the next one starts."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.rows = np.ascontiguousarray(problem.costs.T)
        self.prices = np.zeros(len(problem.opening))
        finite = problem.costs[np.isfinite(problem.costs)]
        self.step = float(finite.std()) / max(float(problem.capacity.mean()), 1.0) if finite.size else 0.0
        self.work = 0
        self.exact_start = False

    def start_from(self, opened: tuple[int, ...]) -> None:
        """Take the exact prices of a set; sets that differ little are then judged by D(λ) itself."""
        homes, _ = _exactly(self.problem, opened)
        if homes:
            costs, room = self.problem.costs[:, list(opened)], self.problem.capacity[list(opened)]
            self.prices[list(opened)] = slot_prices(costs, homes, room.tolist())
            self.step /= 10
            self.exact_start = True

    def cost_of(self, opened: tuple[int, ...]) -> float:
        """Cost of a good way to serve all from these groups; infinite when they are too small."""
        groups = np.array(opened, np.intp)
        room = self.problem.capacity[groups]
        if not len(groups) or int(room.sum()) < self.rows.shape[1]:
            return float("inf")
        costs, prices = self.rows[groups], self.prices[groups]
        best = (-np.inf, prices)
        for i in range(PRICE_STEPS):
            priced = costs + prices[:, None]
            home = priced.argmin(axis=0)
            value = float(priced[home, np.arange(len(home))].sum() - (prices * room).sum())
            best = max(best, (value, prices), key=lambda pair: pair[0])
            excess = np.bincount(home, minlength=len(groups)) - room
            prices = np.maximum(prices + self.step / (1 + i / 5) * excess, 0)
        self.prices[groups] = best[1]
        self.work += PRICE_STEPS * costs.size
        if self.exact_start:
            return best[0] + float(self.problem.opening[groups].sum())
        return _served(costs, best[1], room) + float(self.problem.opening[groups].sum())


def _served(costs: Floats, prices: Floats, room: Indices) -> float:
    """Cost of an assignment led by prices: those who would lose most by going elsewhere are served first."""
    priced, room = costs + prices[:, None], room.copy()
    waiting, total = np.arange(costs.shape[1]), 0.0
    while len(waiting):
        offers = np.where((room > 0)[:, None], priced[:, waiting], np.inf)
        choice = offers.argmin(axis=0)
        best = offers[choice, np.arange(len(waiting))]
        if not np.isfinite(best).all():
            return float("inf")
        offers[choice, np.arange(len(waiting))] = np.inf
        loss = offers.min(axis=0) - best
        order = np.lexsort((-loss, choice))
        starts = np.searchsorted(choice[order], np.arange(len(room)))
        rank = np.arange(len(order)) - starts[choice[order]]
        accepted = order[rank < room[choice[order]]]
        total += float(costs[choice[accepted], waiting[accepted]].sum())
        room -= np.bincount(choice[accepted], minlength=len(room))
        waiting = np.delete(waiting, accepted)
    return total


def limited_improvement(problem: Problem, opened: tuple[int, ...], cost: float) -> tuple[int, ...]:
    """Local search under capacities: close a group, or swap it for one near it, or open one, while that saves.

    Two searches, each blind where the other sees: one judges by greedy assignments (too dear where places are scarce),
    one by D(λ) from exact prices (too cheap far from where it began). The better end by exact assignment is taken.
    Both look at a sample of the members where there are many.
    """
    some = sample(problem)
    ends = [opened, _searched(Congestion(some), opened)]
    best = min(ends, key=lambda end: _exactly(some, end)[1])
    for _ in range(RESTARTS):
        dual = Congestion(some)
        dual.start_from(best)
        end = _searched(dual, best)
        if _exactly(some, end)[1] >= _exactly(some, best)[1]:
            break
        best = end
    return best


def _searched(congestion: Congestion, opened: tuple[int, ...]) -> tuple[int, ...]:
    """Where local search ends, by one way of judging."""
    cost, better = congestion.cost_of(opened), True
    changes = _changes(congestion.rows, congestion.problem)
    while better:
        better = False
        for leaving, coming in changes:  # on from where the last one was made, not again from the first
            if congestion.work >= WORK:
                return opened
            if not (leaving <= set(opened) and not coming & set(opened)):
                continue
            candidate = tuple(sorted(set(opened) - leaving | coming))
            value = congestion.cost_of(candidate)
            if value < cost * (1 - 1e-6):
                opened, cost, better = candidate, value, True
    return opened


def _exactly(problem: Problem, opened: tuple[int, ...]) -> tuple[list[int], float]:
    """The cheapest assignment to these groups (costs to six digits) and what it costs; infinite when there is none."""
    groups = list(opened)
    costs = problem.costs[:, groups]
    finite = np.isfinite(costs)
    whole = np.where(finite, costs, 0) * (1e6 / max(float(costs[finite].max(initial=0)), 1e-300))
    rows = np.where(finite, np.round(whole), -1).astype(np.int64).tolist()
    homes = capacitated_assignment(
        [[None if c < 0 else c for c in row] for row in rows], problem.capacity[groups].tolist()
    )
    if isinstance(homes, Crowded):
        return [], float("inf")
    return homes, float(costs[np.arange(len(homes)), homes].sum() + problem.opening[groups].sum())


def sample(problem: Problem) -> Problem:
    """Every n-th member; opening costs and capacities shrink likewise."""
    step = max(1, len(problem.costs) // SAMPLE)
    if step == 1:
        return problem
    costs = problem.costs[::step]
    capacity = np.ceil(problem.capacity * (len(costs) / len(problem.costs))).astype(np.intp)
    return Problem(costs, problem.opening * (len(costs) / len(problem.costs)), capacity)


def _changes(rows: Floats, problem: Problem) -> list[tuple[set[int], set[int]]]:
    """Groups that close and groups that open: one closes, one is swapped for one near it, one opens."""
    usable = [int(g) for g in np.flatnonzero(np.isfinite(problem.opening))]
    near = _neighbours(rows, problem)
    swaps: list[tuple[set[int], set[int]]] = [({g}, {other}) for g in usable for other in near[g]]
    return [*(({g}, set()) for g in usable), *swaps, *((set(), {g}) for g in usable)]


def _neighbours(rows: Floats, problem: Problem) -> list[list[int]]:
    """For every group those that serve members at the most similar costs."""
    capped = np.where(np.isfinite(rows), rows, 2 * rows[np.isfinite(rows)].max(initial=0))
    found = []
    for row in capped:
        distance = np.abs(capped - row).mean(axis=1)
        order = np.argsort(distance, kind="stable")[1:]
        found.append([int(g) for g in order if np.isfinite(problem.opening[g])][:NEIGHBOURS])
    return found
