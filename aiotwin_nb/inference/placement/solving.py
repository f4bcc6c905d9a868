"""The cheapest placement: a mixed-integer linear programme (MILP), solved by SciPy's HiGHS with a proven gap.

As many requests as possible are served within their bounds first, and then at least cost. How many that is needs no
integers: with every slot in use, it is a flow. Groups that reach the same hosts are one in the programme, which is
exact and makes large questions small.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import ceil, floor
from time import monotonic
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aiotwin_nb.inference.placement.problem import Group, Missed, Placement, Question

Floats = NDArray[Any]
EXACT = 1e-9  # relative gap at which an optimum counts as proven
SLACK = 1e-7  # of a rate: what the solver's tolerance may leave
SMALL = 5000  # pairs of a class and a host up to which the MILP is asked at once
FINE = 10**9  # steps into which the sum of rates is divided where flows are whole numbers


@dataclass(frozen=True)
class _Classes:
    """Rates of classes of groups, and which host columns each reaches."""

    rates: Floats
    reach: tuple[tuple[int, ...], ...]

    @cached_property
    def pairs(self) -> list[tuple[int, int]]:
        return [(c, h) for c, reached in enumerate(self.reach) for h in reached]


def place(question: Question, *, time_limit_s: float = 10.0) -> Placement:
    """Return the placement that serves most within the bounds, at least cost.

    Small questions are solved exactly. When the time is over, `Placement.gap` says what may be missing at most; the
    result then depends on the machine's speed.
    """
    classes = _classes(question)
    capacity = np.array([question.capacity(host) for host in question.hosts])
    slots = np.array([host.slots for host in question.hosts])
    missed = _least_missed(classes, capacity * slots)
    replicas, bound = _milp(question, classes, capacity, missed, time_limit_s)
    return described(question, {question.hosts[h].id: int(n) for h, n in enumerate(replicas) if n}, bound)


def described(question: Question, replicas: Mapping[str, int], bound: float | None = None) -> Placement:
    """Return what given replicas do and cost; without a `bound` nothing is known about better ones (bound 0)."""
    routes, missed = _routes(question, replicas)
    return Placement(
        replicas=dict(replicas),
        routes=routes,
        missed=missed,
        running_cost=question.running_cost(replicas),
        change_cost=question.change_cost(replicas),
        cost=question.cost(replicas),
        bound=min(question.cost(replicas), bound or 0.0),
    )


def _classes(question: Question) -> _Classes:
    """Groups that have requests and reach somebody, those with the same reach as one."""
    column = {host.id: h for h, host in enumerate(question.hosts)}
    rates: defaultdict[tuple[int, ...], float] = defaultdict(float)
    for group in question.groups:
        reach = tuple(column[i] for i in question.within_reach(group))
        if reach and group.rate > 0:
            rates[reach] += group.rate
    return _Classes(np.array(list(rates.values()), float), tuple(rates))


def _least_missed(classes: _Classes, room: Floats) -> float:
    """Requests per second that stay out of reach with this room at every host; 0 when they are only rounding."""
    if not classes.rates.size:
        return 0.0
    flow = _transport(classes.rates, room, classes.pairs, np.zeros(len(classes.pairs)))
    missed = float(classes.rates.sum() - flow.sum())
    return missed if missed > SLACK * classes.rates.sum() else 0.0


def _transport(rates: Floats, room: Floats, pairs: Sequence[tuple[int, int]], ways: Floats) -> Floats:
    """Requests per second along every pair: as many as possible, then along the shortest `ways`."""
    from scipy.optimize import linprog
    from scipy.sparse import csr_array

    rows, columns, ones = [c for c, _ in pairs], [h for _, h in pairs], np.ones(len(pairs))
    place = np.arange(len(pairs))
    limits = np.concatenate([rates, room])
    matrix: Any = csr_array(
        (
            np.concatenate([ones, ones]),
            (np.concatenate([rows, len(rates) + np.array(columns)]), np.concatenate([place, place])),
        ),
        shape=(len(limits), len(pairs)),
    )
    worth = 2 * len(rates) * (1.0 + float(ways.max(initial=0.0)))  # a longest detour of all is dearer than nothing
    found = linprog(ways - worth, A_ub=matrix, b_ub=limits, bounds=(0, None), method="highs")
    return np.asarray(found.x, float)


def _milp(
    question: Question, classes: _Classes, capacity: Floats, missed: float, time_limit_s: float
) -> tuple[Floats, float]:
    """Replicas per host column and a proven lower bound of their cost."""
    hosts = question.hosts
    if not classes.rates.size:
        return np.zeros(len(hosts), int), 0.0
    programme = _Programme(question, classes, capacity, missed)
    if len(classes.pairs) <= SMALL:
        found = programme.solve(time_limit_s)
        if found.x is not None:
            return _whole(found.x, len(hosts)), float(found.mip_dual_bound)
    return _large(programme, time_limit_s)


def _large(programme: _Programme, time_limit_s: float) -> tuple[Floats, float]:
    """The rounded relaxation, or what the MILP finds in the rest of the time if that is better, and the best bound."""
    start = monotonic()
    question, hosts = programme.question, programme.question.hosts
    relaxed = programme.solve(None, whole=False)
    upper = np.minimum(np.ceil(relaxed.x[: len(hosts)] - 1e-6), [host.slots for host in hosts]).astype(int)
    best, bound = _thinned(programme, upper), float(relaxed.fun)
    rest = time_limit_s - (monotonic() - start)
    if rest <= 0 or programme.cost(best) <= bound * (1 + EXACT):
        return best, bound
    found = programme.solve(rest)
    if found.mip_dual_bound is not None:
        bound = max(bound, float(found.mip_dual_bound))
    if found.x is not None:
        best = min(best, _whole(found.x, len(question.hosts)), key=programme.cost)
    return best, bound


def _whole(solution: Floats, hosts: int) -> Floats:
    return np.asarray(np.rint(solution[:hosts]).astype(int))


def _thinned(programme: _Programme, replicas: Floats) -> Floats:
    """Without the replicas that nobody needs, the dearest per request first; all of them if too few serve already."""
    hosts, capacity = programme.question.hosts, programme.capacity
    for h in sorted(np.flatnonzero(replicas), key=lambda h: -hosts[h].price / capacity[h]):
        while replicas[h]:
            replicas[h] -= 1
            if not _suffices(programme.classes, capacity * replicas, programme.missed):
                replicas[h] += 1
                break
    return replicas


def _suffices(classes: _Classes, room: Floats, missed: float) -> bool:
    """Whether all but `missed` requests per second find room: a maximum flow in whole numbers, rounded carefully."""
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import maximum_flow

    scale = FINE / max(float(classes.rates.sum()), float(room.max(initial=0.0)))
    wanted, taken = np.ceil(scale * classes.rates), np.floor(scale * room)
    C, H = len(wanted), len(taken)
    rows = [*([0] * C), *(1 + c for c, _ in classes.pairs), *(1 + C + h for h in range(H))]
    columns = [*range(1, C + 1), *(1 + C + h for _, h in classes.pairs), *([1 + C + H] * H)]
    limits = [*wanted, *(wanted[c] for c, _ in classes.pairs), *np.minimum(taken, FINE)]
    graph = csr_array((np.array(limits, np.int32), (rows, columns)), shape=(C + H + 2, C + H + 2))
    flow = maximum_flow(graph, 0, C + H + 1).flow_value
    return bool(flow >= wanted.sum() - np.floor(scale * missed))


class _Programme:
    """Variables: replicas, replicas started, downloads (per host), requests per second (per pair), missed (per class).

    Rows: every class is served or missed; a host takes what its replicas take; one that serves a class at all has a
    replica's share of it; starts and downloads follow from replicas; what is missed altogether is what must be; and,
    for every class, whole replicas for all classes that reach nothing beyond its hosts (a cut).
    """

    def __init__(self, question: Question, classes: _Classes, capacity: Floats, missed: float) -> None:
        self.question = question
        self.classes = classes
        self.capacity = capacity
        self.missed = missed
        self.hosts = len(question.hosts)
        self.width = 3 * self.hosts + len(classes.pairs) + len(classes.rates)
        self._rows: list[int] = []
        self._columns: list[int] = []
        self._values: list[float] = []
        self._low: list[float] = []
        self._high: list[float] = []
        self._build()

    def _row(self, entries: Sequence[tuple[int, float]], low: float, high: float) -> None:
        for column, value in entries:
            self._rows.append(len(self._low))
            self._columns.append(column)
            self._values.append(value)
        self._low.append(low)
        self._high.append(high)

    def _build(self) -> None:
        H, classes, inf = self.hosts, self.classes, np.inf
        served = 3 * H
        lost = served + len(classes.pairs)
        by_class: defaultdict[int, list[int]] = defaultdict(list)
        by_host: defaultdict[int, list[int]] = defaultdict(list)
        for k, (c, h) in enumerate(classes.pairs):
            by_class[c].append(served + k)
            by_host[h].append(served + k)
            if classes.rates[c] < self.capacity[h]:
                self._row([(served + k, 1.0), (h, -classes.rates[c])], -inf, 0.0)
        for c, rate in enumerate(classes.rates):
            self._row([*((k, 1.0) for k in by_class[c]), (lost + c, 1.0)], rate, rate)
        for h, host in enumerate(self.question.hosts):
            self._row([*((k, 1.0) for k in by_host[h]), (h, -self.capacity[h])], -inf, 0.0)
            self._row([(h, 1.0), (H + h, -1.0)], -inf, float(self.question.current.get(host.id, 0)))
            self._row([(h, 1.0), (2 * H + h, -float(host.slots))], -inf, 0.0)
        if self.missed > 0:
            self._row([(lost + c, 1.0) for c in range(len(classes.rates))], -inf, self.missed * (1 + SLACK))
        else:
            self._cuts()

    def _cuts(self) -> None:
        """Whole replicas are needed for every closed set of hosts."""
        for reached in self.classes.reach:
            inside = set(reached)
            rate = sum(
                r for r, others in zip(self.classes.rates, self.classes.reach, strict=True) if inside >= {*others}
            )
            most = max(self.capacity[h] for h in reached)
            self._row([(h, 1.0) for h in reached], float(ceil(rate / most - 1e-6)), np.inf)

    def cost(self, replicas: Floats) -> float:
        """What replicas per host column cost."""
        return self.question.cost({self.question.hosts[h].id: int(n) for h, n in enumerate(replicas) if n})

    def solve(self, time_limit_s: float | None, *, whole: bool = True) -> Any:
        """SciPy's result; `x` is None when the time was over before anything was found."""
        from scipy.optimize import Bounds, LinearConstraint, milp
        from scipy.sparse import csr_array

        question, H = self.question, self.hosts
        objective, highest = np.zeros(self.width), np.full(self.width, np.inf)
        integral: Any = np.zeros(self.width, int)
        for h, host in enumerate(question.hosts):
            objective[h], highest[h] = question.horizon_h * host.price, host.slots
            objective[H + h] = question.moving
            objective[2 * H + h] = 0.0 if question.has_copy(host.id) else host.download
            highest[2 * H + h] = 1
        integral[:H] = integral[2 * H : 3 * H] = whole
        if self.missed == 0:
            highest[3 * H + len(self.classes.pairs) :] = 0
        matrix = csr_array((self._values, (self._rows, self._columns)), shape=(len(self._low), self.width))
        options: Any = {"mip_rel_gap": EXACT} | ({} if time_limit_s is None else {"time_limit": time_limit_s})
        return milp(
            objective,
            constraints=LinearConstraint(matrix, self._low, self._high),
            bounds=Bounds(0, highest),
            integrality=integral,
            options=options,
        )


def _routes(question: Question, replicas: Mapping[str, int]) -> tuple[dict[str, dict[str, float]], tuple[Missed, ...]]:
    """The shortest ways that the replicas allow, and whom they leave without."""
    hosts = [question.by_id[i] for i in replicas]
    asking = [group for group in question.groups if group.rate > 0]
    pairs, ways = [], []
    for g, group in enumerate(asking):
        for h, host in enumerate(hosts):
            ms = question.latency_ms(group, host)
            if ms is not None and ms <= group.bound_ms:
                pairs.append((g, h))
                ways.append(ms)
    rates = np.array([group.rate for group in asking], float)
    room = np.array([question.capacity(host) * replicas[host.id] for host in hosts], float)
    flow = _transport(rates, room, pairs, np.array(ways)) if pairs else np.zeros(0)
    routes: dict[str, dict[str, float]] = {group.id: {} for group in question.groups}
    for (g, h), requests in zip(pairs, flow, strict=True):
        if requests > SLACK * rates[g]:
            routes[asking[g].id][hosts[h].id] = float(requests / rates[g])
    lacking = [(group, group.rate * (1 - sum(routes[group.id].values()))) for group in asking]
    missed = tuple(
        Missed(group.id, rate, _reason(question, group, replicas))
        for group, rate in lacking
        if rate > 10 * SLACK * rates.sum()
    )
    return routes, missed


def _reason(question: Question, group: Group, replicas: Mapping[str, int]) -> str:
    """Why a group's bound does not hold."""
    reach = question.within_reach(group)
    if reach:
        most = sum(question.capacity(question.by_id[i]) * question.by_id[i].slots for i in reach)
        now = sum(question.capacity(question.by_id[i]) * replicas.get(i, 0) for i in reach)
        return (
            f"capacity: {', '.join(reach)} can keep {group.bound_ms:g} ms, but take {floor(10 * now) / 10:g} "
            f"requests/s with the replicas there ({floor(10 * most) / 10:g} with all slots), for all who ask there"
        )
    ways = [(ms, host.id) for host in question.hosts if host.slots and (ms := question.latency_ms(group, host))]
    if not ways:
        return f"connection: no host with a slot can be reached from {group.node}"
    ms, nearest = min(ways)
    return f"latency: the nearest host, {nearest}, answers within {ms:.0f} ms, and the bound is {group.bound_ms:g} ms"
