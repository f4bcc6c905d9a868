"""Facility location: which groups to open, so that opening them and serving all members costs least.

Small problems go to SciPy's HiGHS as a mixed-integer programme with the strong formulation x_ij ≤ y_j, whose bound is
tight. Large ones (10 000 × 100 would be a million rows) get the same bound from Lagrangian relaxation: with prices u_i
for serving member i instead of the constraint that somebody does,

    L(u) = Σ_i u_i + min_y Σ_j y_j · ( f_j + Σ of the most negative (c_ij − u_i), at most capacity_j of them )

is a lower bound for every u; subgradient steps raise it, each y it opens is a candidate, and local search (open one,
close one, swap two) improves the best. Under capacities a candidate is judged by congestion prices (capacities.py).
Iterations are counted, not timed, so results are reproducible.
Sources: Erlenkotter, Oper. Res. 26 (1978); Beasley, Eur. J. Oper. Res. 65 (1993).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aiotwin_nb.planning.capacities import Congestion, Problem, limited_improvement, sample

Floats = NDArray[Any]
Indices = NDArray[np.intp]

MILP_PAIRS = 3000  # members × groups up to which HiGHS is used
MILP_NODES = 20_000
STEPS = 400
RAISING_STEPS = 150
PATIENCE = 15  # steps without a better bound before the step length is halved


@dataclass(frozen=True)
class Location:
    """Groups to open, ascending, and a proven lower bound on the cost of any solution."""

    opened: tuple[int, ...]
    bound: float


def locate(problem: Problem, time_limit_s: float | None = None) -> Location | None:
    """Return which groups to open and a lower bound; None when the solver found no feasible solution."""
    if problem.costs.size <= MILP_PAIRS:
        return _milp(problem, time_limit_s)
    return _relaxed(problem, time_limit_s)


def _milp(problem: Problem, time_limit_s: float | None) -> Location | None:
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import coo_array

    members, groups = problem.costs.shape
    i, j = np.nonzero(np.isfinite(problem.costs) & np.isfinite(problem.opening))
    pairs, k = len(i), np.arange(len(i))
    objective = np.concatenate([problem.costs[i, j], np.where(np.isfinite(problem.opening), problem.opening, 0)])
    scale = 1e4 / max(float(np.abs(objective).max(initial=0)), 1e-300)  # far above HiGHS's absolute tolerances
    width = pairs + groups
    ones = np.ones(pairs)
    served = coo_array((ones, (i, k)), (members, width))
    linked = coo_array((np.concatenate([ones, -ones]), (np.tile(k, 2), np.concatenate([k, pairs + j]))), (pairs, width))
    rooms = coo_array(
        (
            np.concatenate([ones, -problem.capacity.astype(float)]),
            (np.concatenate([j, np.arange(groups)]), np.arange(width)),
        ),
        (groups, width),
    )
    constraints = [LinearConstraint(served.tocsr(), 1, 1), LinearConstraint(linked.tocsr(), -np.inf, 0)]
    if problem.limited:
        constraints.append(LinearConstraint(rooms.tocsr(), -np.inf, 0))
    options: Any = {"node_limit": MILP_NODES, "mip_rel_gap": 0.0}
    if time_limit_s is not None:
        options["time_limit"] = time_limit_s
    upper = np.concatenate([ones, np.isfinite(problem.opening).astype(float)])
    integral = np.concatenate([np.zeros(pairs), np.ones(groups)])
    found = milp(
        objective * scale, integrality=integral, bounds=Bounds(0, upper), constraints=constraints, options=options
    )
    if found.x is None:
        return None
    opened = tuple(int(g) for g in np.flatnonzero(found.x[pairs:] > 0.5))
    return Location(opened, float(found.mip_dual_bound) / scale)


def _relaxed(problem: Problem, time_limit_s: float | None) -> Location | None:
    best: tuple[float, tuple[int, ...]] = (np.inf, ())
    bound, stale, length, began = -np.inf, 0, 2.0, perf_counter()
    prices = np.where(np.isfinite(problem.costs), problem.costs, np.inf).min(axis=1)
    tried: set[tuple[int, ...]] = set()
    cost_of = _judge(problem)
    for _ in range(STEPS):
        value, opened, served = _lagrangian(problem, prices)
        stale = 0 if value > bound + 1e-9 * abs(bound) else stale + 1
        bound = max(bound, value)
        candidate = tuple(int(g) for g in np.flatnonzero(opened))
        if candidate not in tried:
            tried.add(candidate)
            best = min(best, (cost_of(candidate), candidate))
        if stale >= PATIENCE:
            length, stale = length / 2, 0
        slack = 1.0 - served
        norm = float(slack @ slack)
        late = time_limit_s is not None and perf_counter() - began > time_limit_s
        if late or norm == 0 or length < 1e-4 or best[0] - bound <= 1e-9 * abs(best[0]):
            break
        target = best[0] if np.isfinite(best[0]) else abs(value) * 1.1 + 1.0
        prices = prices + length * max(target - value, 1e-6 * abs(target)) / norm * slack
    if not np.isfinite(best[0]):
        everything = tuple(int(g) for g in np.flatnonzero(np.isfinite(problem.opening)))
        best = (cost_of(everything), everything)
    improve = limited_improvement if problem.limited else _improved
    return Location(improve(problem, best[1], best[0]) if np.isfinite(best[0]) else best[1], float(bound))


def raised_bound(problem: Problem, prices: Floats, cost: float) -> float:
    """The best L(u) of some steps from good prices (those of an exact assignment that costs `cost`)."""
    bound, length, stale = -np.inf, 0.5, 0
    for _ in range(RAISING_STEPS):
        value, _, served = _lagrangian(problem, prices)
        stale = 0 if value > bound else stale + 1
        bound = max(bound, value)
        slack = 1.0 - served
        norm = float(slack @ slack)
        if norm == 0 or bound >= cost:
            break
        if stale >= PATIENCE // 3:
            length, stale = length / 2, 0
        prices = prices + length * max(cost - value, 0.0) / norm * slack
    return float(bound)


def _judge(problem: Problem) -> Callable[[tuple[int, ...]], float]:
    """What a set of open groups costs: exactly, or under capacities by congestion prices on a sample of members."""
    if not problem.limited:
        return lambda opened: _cost_of(problem, opened)
    some = sample(problem)
    congestion, share = Congestion(some), len(some.costs) / len(problem.costs)
    return lambda opened: congestion.cost_of(opened) / share


def _lagrangian(problem: Problem, prices: Floats) -> tuple[float, NDArray[np.bool_], Floats]:
    """L(u), the groups it opens, and how often it serves every member."""
    reduced = np.minimum(problem.costs - prices[:, None], 0.0)
    if problem.limited:
        reduced = _cheapest_only(reduced, problem.capacity)
    value = problem.opening + reduced.sum(axis=0)
    opened = value < 0
    lacking = problem.fewest - int(opened.sum())
    if lacking > 0:
        others = np.flatnonzero(~opened)
        opened[others[np.argsort(value[others], kind="stable")[:lacking]]] = True
    served = (reduced[:, opened] < 0).sum(axis=1).astype(float)
    return float(prices.sum() + value[opened].sum()), opened, served


def _cheapest_only(reduced: Floats, capacity: Indices) -> Floats:
    """Only the most negative entries of every column, as many as its capacity."""
    kept = np.zeros_like(reduced)
    for j, room in enumerate(capacity):
        column = reduced[:, j]
        if room >= len(column):
            kept[:, j] = column
        elif room > 0:
            rows = np.argpartition(column, room - 1)[:room]
            kept[rows, j] = column[rows]
    return kept


def _cost_of(problem: Problem, opened: tuple[int, ...]) -> float:
    """Cost with these groups open and everybody at the cheapest of them."""
    columns = list(opened)
    if not columns:
        return float("inf")
    return float(problem.costs[:, columns].min(axis=1).sum() + problem.opening[columns].sum())


def _improved(problem: Problem, opened: tuple[int, ...], cost: float) -> tuple[int, ...]:
    """Local search: open one, close one or swap two groups while that saves; without capacities."""
    inside = np.zeros(len(problem.opening), np.bool_)
    inside[list(opened)] = True
    for _ in range(len(problem.opening)):
        saving, change = _best_change(problem, inside)
        if saving <= 1e-9 * abs(cost):
            break
        inside[list(change)] ^= True
        cost -= saving
    return tuple(int(g) for g in np.flatnonzero(inside))


def _best_change(problem: Problem, inside: NDArray[np.bool_]) -> tuple[float, tuple[int, ...]]:
    """The change of the open groups that saves most: {in}, {out} or {in, out}."""
    columns = np.flatnonzero(inside)
    others = [int(g) for g in np.flatnonzero(~inside & np.isfinite(problem.opening))]
    costs = problem.costs[:, columns]
    order = np.argsort(costs, axis=1, kind="stable")[:, :2]
    rows = np.arange(len(costs))
    first = costs[rows, order[:, 0]]
    second = costs[rows, order[:, 1]] if len(columns) > 1 else np.full(len(costs), np.inf)

    def closing(other: Floats | None) -> Floats:
        """What closing each open group saves, with a group of these costs open as well."""
        refuge = second if other is None else np.minimum(second, other)
        kept = first if other is None else np.minimum(first, other)
        loss = np.zeros(len(columns))
        np.add.at(loss, order[:, 0], refuge - kept)
        return np.asarray(problem.opening[columns] - loss)

    found: tuple[float, tuple[int, ...]] = (0.0, ())
    alone = closing(None)
    if len(columns) > 1:
        found = max(found, (float(alone.max()), (int(columns[alone.argmax()]),)), key=lambda pair: pair[0])
    for new in others:
        column = problem.costs[:, new]
        gain = float(np.maximum(first - column, 0).sum() - problem.opening[new])
        swap = closing(column)
        place = int(swap.argmax())
        for saving, change in ((gain, (new,)), (gain + float(swap[place]), (new, int(columns[place])))):
            if np.isfinite(saving) and saving > found[0]:
                found = (saving, change)
    return found
