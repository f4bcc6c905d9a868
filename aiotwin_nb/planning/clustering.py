"""Balanced clusters that look alike: least linear cost plus weighted mean score of the clusters.

    minimise   Σ_i linear[i, home(i)]  +  weight · mean_k score(Σ_{i in cluster k} features[i])

over all assignments whose sizes differ by at most one. Small problems are solved exactly as set partitioning, one
column a possible cluster (SciPy's HiGHS). Larger ones are improved by exchanging clients between clusters from several
starts; the bound is then the linear relaxation of the set partitioning with every cluster at the place it likes best,
or, where there are too many possible clusters for that, what the two terms could reach at best, each alone. Work is
counted, not timed, so results are reproducible.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations
from math import comb
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aiotwin_nb.planning.balanced import balanced_assignment

Floats = NDArray[Any]
Indices = NDArray[np.intp]

COLUMNS = 20_000  # possible clusters up to which the optimum is proven
RELAXED = 60_000  # possible clusters up to which the bound is that of the linear relaxation
NODES = 20_000
STARTS = 6
EXCHANGES = 400  # per start
PAIRS = 20_000  # looked at per exchange
NOISE = 1 << 20


@dataclass(frozen=True)
class Grouping:
    """The problem. `linear[i, k]`: infinite where forbidden; `score`: sums of features → scores, over the last axis.

    `least_linear`, `least_score`: lower bounds on the linear sum and on every score.
    """

    linear: Floats
    features: Floats
    score: Callable[[Floats], Floats]
    weight: float
    least_linear: float = 0.0
    least_score: float = 0.0

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Clients, clusters, and clients in every cluster at least."""
        clients, clusters = self.linear.shape
        return clients, clusters, clients // clusters

    def sums(self, home: Indices) -> Floats:
        """Sums of features of every cluster."""
        sums = np.zeros((self.linear.shape[1], self.features.shape[1]))
        np.add.at(sums, home, self.features)
        return sums

    def value(self, home: Indices) -> float:
        """The objective of an assignment."""
        linear = self.linear[np.arange(len(home)), home].sum()
        return float(linear + self.weight * self.score(self.sums(home)).mean())


@dataclass(frozen=True)
class Grouped:
    """The cluster of every client, its objective and a proven lower bound."""

    home: tuple[int, ...]
    objective: float
    bound: float


def group(problem: Grouping, first: Indices) -> Grouped:
    """Return the best clusters found; `first` is any balanced assignment along the allowed pairs, to start from."""
    clients, clusters, floor = problem.sizes
    columns = comb(clients, floor) + (comb(clients, floor + 1) if clients % clusters else 0)
    if columns * (1 if _interchangeable(problem) else clusters) <= COLUMNS:
        found = _partitioned(problem)
        if found is not None:
            return found
    candidates = [_exchanged(problem, start, seed) for seed, start in enumerate(_starts(problem, first))]
    home = min(candidates, key=problem.value)
    value = problem.value(home)
    bound = problem.least_linear + problem.weight * problem.least_score
    if columns <= RELAXED:
        bound = max(bound, _relaxation(problem))
    return Grouped(tuple(int(k) for k in home), value, _without_noise(bound, value, abs(value)))


def _interchangeable(problem: Grouping) -> bool:
    """Whether it is all the same which cluster is which."""
    return bool(np.isfinite(problem.linear).all() and (problem.linear == problem.linear[:, :1]).all())


# Exactly.


def _partitioned(problem: Grouping) -> Grouped | None:
    """Choose possible clusters so that everybody is in exactly one and every place has one."""
    from scipy.optimize import Bounds, LinearConstraint, milp

    clients, clusters, _ = problem.sizes
    inside, place, costs = _columns(problem)
    if not len(costs):
        return None
    places = 1 if _interchangeable(problem) else clusters
    matrix, right = _partition(problem, inside, place, places)
    shift, spread = float(costs.min()), float(np.ptp(costs)) or 1.0
    options: Any = {"node_limit": NODES, "mip_rel_gap": 0.0}
    found = milp(
        (costs - shift) / spread * 1e4,  # far above HiGHS's absolute tolerances
        integrality=np.ones(len(costs), np.int64),
        bounds=Bounds(0, 1),
        constraints=[LinearConstraint(matrix, right, right)],
        options=options,
    )
    if found.x is None:
        return None
    home = np.zeros(clients, np.intp)
    for k, column in enumerate(np.flatnonzero(found.x > 0.5)):
        home[inside[column] > 0] = place[column] if places > 1 else k
    value, bound = problem.value(home), float(found.mip_dual_bound) / 1e4 * spread + clusters * shift
    return Grouped(tuple(int(k) for k in home), value, _without_noise(bound, value, spread))


def _without_noise(bound: float, value: float, spread: float) -> float:
    """The last bits of a solver's bound must not look like a gap."""
    return value if bound >= value - 1e-8 * spread else bound


def _partition(problem: Grouping, inside: Floats, place: Indices, places: int) -> tuple[Any, Floats]:
    """Rows and right-hand side: everybody once, every place filled, as many larger clusters as there must be."""
    from scipy.sparse import csr_array, vstack

    clients, clusters, floor = problem.sizes
    count = (place[None, :] == np.arange(places)[:, None]).astype(float)
    larger = (inside.sum(axis=1) > floor).astype(float)[None, :]
    right = np.concatenate([np.ones(clients), np.full(places, clusters // places), [clients % clusters]])
    return vstack([csr_array(inside.T), csr_array(count), csr_array(larger)]), right


def _relaxation(problem: Grouping) -> float:
    """Lower bound: parts of possible clusters that cover everybody once, each at its own best place."""
    from scipy.optimize import linprog

    clients, clusters, floor = problem.sizes
    sizes = (floor, floor + 1) if clients % clusters else (floor,)
    inside = np.vstack([_membership(size, clients) for size in sizes])
    allowed = np.isfinite(problem.linear)
    linear = inside @ np.where(allowed, problem.linear, 0)
    linear[inside @ (~allowed).astype(float) > 0] = np.inf
    costs = linear.min(axis=1) + problem.weight / clusters * problem.score(inside @ problem.features)
    inside, costs = inside[np.isfinite(costs)], costs[np.isfinite(costs)]
    matrix, right = _partition(problem, inside, np.zeros(len(inside), np.intp), 1)
    scale = 1e4 / (float(np.abs(costs).max(initial=0)) or 1.0)
    found = linprog(costs * scale, A_eq=matrix, b_eq=right, bounds=(0, 1), method="highs")
    return -np.inf if found.fun is None else float(found.fun) / scale


def _columns(problem: Grouping) -> tuple[Floats, Indices, Floats]:
    """Every possible cluster at every place: members (0 or 1 a client), place, and its part of the objective."""
    clients, clusters, floor = problem.sizes
    sizes = (floor, floor + 1) if clients % clusters else (floor,)
    inside = np.vstack([_membership(size, clients) for size in sizes])
    scores = problem.weight / clusters * problem.score(inside @ problem.features)
    if _interchangeable(problem):
        return inside, np.zeros(len(inside), np.intp), scores + inside @ problem.linear[:, 0]
    allowed = np.isfinite(problem.linear)
    costs = inside @ np.where(allowed, problem.linear, 0) + scores[:, None]
    rows, place = np.nonzero(inside @ (~allowed).astype(float) == 0)
    return inside[rows], place, costs[rows, place]


def _membership(size: int, clients: int) -> Floats:
    subsets = np.array(list(combinations(range(clients), size)), np.intp).reshape(-1, size)
    inside = np.zeros((len(subsets), clients))
    inside[np.arange(len(subsets))[:, None], subsets] = 1
    return inside


# By exchanges.


def _starts(problem: Grouping, first: Indices) -> Iterator[Indices]:
    """The given assignment, and random balanced ones (fewer where there are many clients)."""
    yield first
    clients, clusters, _ = problem.sizes
    allowed = np.isfinite(problem.linear).tolist()
    for start in range(STARTS if clients <= 200 else 1):
        noise = np.random.default_rng(start).integers(NOISE, size=(clients, clusters)).tolist()
        costs = [[c if ok else None for c, ok in zip(*rows, strict=True)] for rows in zip(noise, allowed, strict=True)]
        home = balanced_assignment(costs, [0] * clusters)
        if home is not None:
            yield np.array(home)


def _exchanged(problem: Grouping, home: Indices, seed: int) -> Indices:
    """Swap two clients, or move one from a larger to a smaller cluster, while that lowers the objective."""
    random, everything = np.random.default_rng(seed), len(home) ** 2 <= 2 * PAIRS
    home, sums, idle = home.copy(), problem.sums(home), 0
    for _ in range(EXCHANGES):
        exchanges = _swaps(problem, home, sums, random) + _moves(problem, home, sums)
        touched: set[int] = set()  # clusters; what was computed for them holds for the first exchange only
        for _gain, leaving, coming, target in sorted(exchanges):
            source = int(home[leaving])
            if {source, target} & touched:
                continue
            touched |= {source, target}
            delta = problem.features[leaving] - (problem.features[coming] if coming >= 0 else 0)
            sums[source] -= delta
            sums[target] += delta
            home[leaving] = target
            if coming >= 0:
                home[coming] = source
        idle = 0 if touched else idle + 1
        if idle > (0 if everything else 2):
            break
    return home


Exchange = tuple[float, int, int, int]  # change of the objective, client that goes, client that comes or -1, target


def _swaps(problem: Grouping, home: Indices, sums: Floats, random: np.random.Generator) -> list[Exchange]:
    """The best changes of place of two clients, of all pairs or of a sample where there are many."""
    clients = len(home)
    if clients**2 <= 2 * PAIRS:
        one, other = np.triu_indices(clients, 1)
    else:
        one, other = random.integers(clients, size=(2, PAIRS))
    apart = home[one] != home[other]
    one, other = one[apart], other[apart]
    here, there, linear = home[one], home[other], problem.linear
    delta = problem.features[other] - problem.features[one]
    gains = linear[one, there] + linear[other, here] - linear[one, here] - linear[other, there]
    return _best(gains + _score_change(problem, sums, here, there, delta), one, other, there)


def _moves(problem: Grouping, home: Indices, sums: Floats) -> list[Exchange]:
    """The best moves of one client from a larger to a smaller cluster."""
    _, clusters, floor = problem.sizes
    loads = np.bincount(home, minlength=clusters)
    grid = np.meshgrid(np.flatnonzero(loads[home] > floor), np.flatnonzero(loads == floor), indexing="ij")
    step = max(1, grid[0].size // PAIRS)
    client, target = grid[0].ravel()[::step], grid[1].ravel()[::step]
    gains = problem.linear[client, target] - problem.linear[client, home[client]]
    change = _score_change(problem, sums, home[client], target, -problem.features[client])
    return _best(gains + change, client, np.full(len(client), -1), target)


def _score_change(problem: Grouping, sums: Floats, here: Indices, there: Indices, delta: Floats) -> Floats:
    """Change of weight · mean score when the sums of `here` grow by delta and those of `there` shrink by it."""
    before = problem.score(sums)
    after = problem.score(sums[here] + delta) + problem.score(sums[there] - delta)
    return np.asarray(problem.weight / len(sums) * (after - before[here] - before[there]))


def _best(gains: Floats, leaving: Indices, coming: Indices, target: Indices) -> list[Exchange]:
    best = np.argsort(gains, kind="stable")[:50]
    return [(float(gains[b]), int(leaving[b]), int(coming[b]), int(target[b])) for b in best if gains[b] < -1e-12]
