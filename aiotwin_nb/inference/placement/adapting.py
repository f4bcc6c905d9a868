"""When a placement is changed: `step(state, observation) -> (state, actions)`, pure like the learning side's `decide`.

The rules, in this order:

1. what was observed is taken in; rates within the dead band of the planned ones count as unchanged;
2. a group whose quality of service (QoS) stays below target although the plan promises it gets a margin: the plan was
   too hopeful. The margin stays until the group's surroundings change;
3. without a placement, or when replicas went with their node, the best one is taken at once;
4. when requests miss their bounds that need not, it is taken once the last change is `dwell_s` old;
5. when everything is kept, a cheaper one is taken after the dwell, too, and only if it saves `min_gain` of the cost,
   its own change included.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from aiotwin_nb.continuum import Change, Infrastructure
from aiotwin_nb.inference.placement.problem import Group, Missed, Placement, Question
from aiotwin_nb.inference.placement.solving import described, place
from aiotwin_nb.inference.placement.terms import Terms, round_trips

Cause = Literal["first", "lost", "bounds", "cost"]
MARGIN_STEP, MARGIN_MOST = 1.5, 4.0


@dataclass(frozen=True)
class Rules:
    """How placements are made and changed.

    Attributes:
        target: QoS share of every group
        patience: observations in a row below target before a plan counts as too hopeful
        dwell_s: seconds that a placement stays at least, unless its replicas are lost
        min_gain: share of the cost that a cheaper placement must save
        dead_band: share by which a rate must differ from the planned one to count as changed
    """

    terms: Terms = field(default_factory=Terms)
    target: float = 0.95
    patience: int = 3
    dwell_s: float = 60.0
    min_gain: float = 0.1
    dead_band: float = 0.1
    horizon_h: float = 1.0
    moving: float = 0.0
    utilisation: float = 0.7
    quantile: float = 0.95
    time_limit_s: float = 5.0


@dataclass(frozen=True)
class Observation:
    """What has become known. Everything but the time may be left out.

    Attributes:
        now: seconds of a monotonic clock
        change: nodes that joined or left, link costs, nodes that are to be avoided, as on the learning side
        links_ms: round-trip times of links, {node: {peer: ms}}; replace the named ones
        load: share of a node, 0 to 1, that others use; replaces the named ones
        groups: all groups of clients as they are now
        qos: share of each group's requests within the bound since the last observation
        replicas: {host: replicas} as they really are, where they are not as placed (a replica died)
    """

    now: float
    change: Change = field(default_factory=Change)
    links_ms: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    load: Mapping[str, float] = field(default_factory=dict)
    groups: tuple[Group, ...] | None = None
    qos: Mapping[str, float] = field(default_factory=dict)
    replicas: Mapping[str, int] | None = None


@dataclass(frozen=True)
class Placed:
    """An action: run these replicas. `started` and `stopped`: {host: how many}."""

    placement: Placement
    cause: Cause
    reason: str
    started: Mapping[str, int]
    stopped: Mapping[str, int]


@dataclass(frozen=True)
class Refused:
    """For people: a better placement is known and not taken now."""

    placement: Placement
    cause: Cause
    reason: str


@dataclass(frozen=True)
class PlacementState:
    """All that is known at one moment.

    `avoided`: nodes that must not run replicas. `below`: observations in a row in which a group's QoS was below target;
    `margins`: factors on its rate. `placement`: what was placed last; `replicas`: what is left of it.
    """

    rules: Rules
    infrastructure: Infrastructure
    links_ms: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    groups: tuple[Group, ...] = ()
    load: Mapping[str, float] = field(default_factory=dict)
    avoided: frozenset[str] = frozenset()
    copies: frozenset[str] = frozenset()
    below: Mapping[str, int] = field(default_factory=dict)
    margins: Mapping[str, float] = field(default_factory=dict)
    replicas: Mapping[str, int] = field(default_factory=dict)
    placement: Placement | None = None
    changed_at: float = 0.0
    lost: bool = False
    skipped: tuple[str, ...] = ()
    asked: Question | None = None
    best: Placement | None = None

    def question(self) -> Question:
        """What is to be placed now. Clients may be where there is no node any more."""
        rules = self.rules
        places = dict.fromkeys([*self.infrastructure.nodes, *(group.node for group in self.groups)])
        hosts = rules.terms.hosts(self.infrastructure, self.load)
        return Question(
            hosts=tuple(replace(host, slots=0) if host.id in self.avoided else host for host in hosts),
            groups=tuple(replace(g, rate=g.rate * self.margins.get(g.id, 1.0)) for g in self.groups),
            round_trip_ms=round_trips(places, self.links_ms),
            current=self.replicas,
            copies=self.copies,
            moving=rules.moving,
            horizon_h=rules.horizon_h,
            utilisation=rules.utilisation,
            quantile=rules.quantile,
        )

    @property
    def missed(self) -> tuple[Missed, ...]:
        """Groups whose bound does not hold with what runs now."""
        return described(self.question(), self.replicas).missed


def step(state: PlacementState, seen: Observation) -> tuple[PlacementState, tuple[Placed | Refused, ...]]:
    """Take in an observation; return the state after it and what follows: nothing, or one change, or why not."""
    state = _doubted(_surroundings(state, seen), seen)
    question = state.question()
    asked_before = question == state.asked
    best = state.best if asked_before and state.best else place(question, time_limit_s=state.rules.time_limit_s)
    state = replace(state, asked=question, best=best)
    wanted = _wanted(state, question, best)
    if wanted is None:
        return replace(state, lost=False), ()
    cause, reason = wanted
    if cause in ("first", "lost") or seen.now - state.changed_at >= state.rules.dwell_s:
        return _taken(state, best, seen.now), (_placed(state, best, cause, reason),)
    if asked_before:  # it has been said
        return state, ()
    wait = state.rules.dwell_s - (seen.now - state.changed_at)
    return state, (Refused(best, cause, f"{reason}; the last change has to rest for another {wait:.0f} s"),)


def _wanted(state: PlacementState, question: Question, best: Placement) -> tuple[Cause, str] | None:
    """Why the best placement is to replace what runs now, if it is."""
    if dict(best.replicas) == dict(state.replicas):
        return None
    if state.placement is None:
        return "first", "nothing is placed yet"
    slots = {host.id: host.slots for host in question.hosts}
    allowed = {i: min(n, slots[i]) for i, n in state.replicas.items() if slots[i]}  # none on nodes to be avoided
    now = described(question, allowed)
    gain = now.missed_rate - best.missed_rate
    if gain > 1e-6 * sum(group.rate for group in question.groups):
        groups = ", ".join(missed.group for missed in now.missed)
        text = f"{gain:.3g} requests/s more within their bounds; missed so far by {groups}"
        return ("lost", f"replicas are gone: {text}") if state.lost else ("bounds", text)
    before = question.cost(state.replicas)
    saving = before - best.cost
    if saving >= max(state.rules.min_gain * before, 1e-9):
        return "cost", f"saves {saving:.3g} of {before:.3g} within the horizon, the change included"
    return None


def _placed(state: PlacementState, best: Placement, cause: Cause, reason: str) -> Placed:
    before, after = state.replicas, best.replicas
    hosts = sorted({*before, *after})
    differences = {h: after.get(h, 0) - before.get(h, 0) for h in hosts}
    return Placed(
        best,
        cause,
        reason,
        started={h: d for h, d in differences.items() if d > 0},
        stopped={h: -d for h, d in differences.items() if d < 0},
    )


def _taken(state: PlacementState, best: Placement, now: float) -> PlacementState:
    return replace(
        state,
        placement=best,
        replicas=dict(best.replicas),
        copies=state.copies | set(best.replicas),
        changed_at=now,
        lost=False,
        below={},
    )


def _surroundings(state: PlacementState, seen: Observation) -> PlacementState:
    """The state with what was observed, apart from quality; margins end where surroundings changed."""
    infrastructure, applied, skipped = state.infrastructure.apply_possible([seen.change])
    links = {a: {**state.links_ms.get(a, {}), **seen.links_ms.get(a, {})} for a in {*state.links_ms, *seen.links_ms}}
    load = {i: share for i, share in {**state.load, **seen.load}.items() if i in infrastructure.nodes}
    present = {i: n for i, n in (state.replicas if seen.replicas is None else seen.replicas).items() if n > 0}
    replicas = {i: n for i, n in present.items() if i in infrastructure.nodes}
    groups = state.groups if seen.groups is None else _settled(state, seen.groups)
    calm = not applied and links == state.links_ms and load == state.load
    unchanged = {g.id for g in groups} & {g.id for g in state.groups if g in groups} if calm else set()
    fewer = any(replicas.get(i, 0) < n for i, n in state.replicas.items())
    returned = {node.id for node in applied.added}
    return replace(
        state,
        infrastructure=infrastructure,
        links_ms=links,
        groups=groups,
        load=load,
        avoided=((state.avoided | set(applied.avoided)) - set(applied.readmitted) - returned)
        & set(infrastructure.nodes),
        copies=(state.copies - returned) & set(infrastructure.nodes),
        margins={i: m for i, m in state.margins.items() if i in unchanged},
        below={i: n for i, n in state.below.items() if i in unchanged},
        replicas=replicas,
        lost=state.lost or fewer,
        skipped=skipped,
    )


def _settled(state: PlacementState, groups: tuple[Group, ...]) -> tuple[Group, ...]:
    """Groups with the rates planned with so far where those of now are within the dead band."""
    known = {group.id: group for group in state.groups}

    def settled(group: Group) -> Group:
        old = known.get(group.id)
        near = old is not None and abs(group.rate - old.rate) <= state.rules.dead_band * old.rate
        return replace(group, rate=old.rate) if old is not None and near else group

    return tuple(settled(group) for group in groups)


def _doubted(state: PlacementState, seen: Observation) -> PlacementState:
    """The state with higher margins for groups whose QoS stays below target though the plan promises it."""
    if not seen.qos or state.placement is None:
        return state
    target, patience = state.rules.target, state.rules.patience
    below = {i: (state.below.get(i, 0) + 1 if qos < target else 0) for i, qos in seen.qos.items()}
    below = {**state.below, **below}
    tired = {i for i, times in below.items() if times >= patience}
    if not tired:
        return replace(state, below=below)
    hopeless = {missed.group for missed in state.missed}
    raised = {i: min(MARGIN_MOST, state.margins.get(i, 1.0) * MARGIN_STEP) for i in tired - hopeless}
    return replace(
        state,
        margins={**state.margins, **raised},
        below={i: 0 if i in tired else times for i, times in below.items()},
    )
