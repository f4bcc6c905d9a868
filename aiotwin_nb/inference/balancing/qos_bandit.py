"""The toolkit's own policy: a bandit whose arms pay when an answer keeps the bound.

For each instance it estimates P(latency ≤ bound) of a request that is sent now:

- The logarithms of the latencies have a discounted mean and variance: an answer weighs less with every later one and
  with time. Latencies change, and only what is recent says something.
- What was seen with n requests under way is corrected for how many are under way now, by a fixed elasticity. That is
  how a queue is noticed before its answers are late; so is a request that has been under way for too long.
- Belief fades towards a hopeful prior. An instance that was bad is tried again when it may be better than what else
  there is, and costs nothing while others are good.

A request goes to the better of two instances drawn from those that keep the bound almost surely. So several proxies,
each of which sees its own requests only, do not all rush to the same instance at once (Mitzenmacher 2001, "The power
of two choices"), and all good instances stay known. When none is likely to keep the bound, requests that are lost
anyway go where they do the least harm.

After a failure an instance is left alone for a short, growing time, and then gets one request as a trial.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import exp, inf, log, sqrt
from operator import attrgetter, itemgetter

from aiotwin_nb.inference.balancing.base import Policy, Setting, policies
from aiotwin_nb.inference.balancing.blind import Blind
from aiotwin_nb.inference.balancing.draws import draw
from aiotwin_nb.inference.services import Instance


@dataclass(frozen=True, slots=True)
class Tuning:
    """What was fixed on the training scenarios (see tests/benchmarks/bench_balancing.py).

    Attributes:
        memory: answers that are remembered at most
        fade_s: belief is down to 1/e after this time without an answer
        hope: the prior latency, in bounds
        hope_weight: of the prior, in answers
        spread: least standard deviation of a latency's logarithm
        elasticity: of the latency to the number of own requests under way
        safe: standard deviations below the bound from which on instances count as equally good
        lost: standard deviations below the bound under which a request counts as lost; negative: above the bound
        explore: share of the requests that go to an instance of which nothing recent is known
        cooldown_s: after a first failure; twice that after the next, and so on
        max_cooldown_s: the longest
    """

    memory: float = 15.0
    fade_s: float = 4.0
    hope: float = 0.5
    hope_weight: float = 0.5
    spread: float = 0.1
    elasticity: float = 0.5
    safe: float = 2.0
    lost: float = -1.0
    explore: float = 0.005
    cooldown_s: float = 0.5
    max_cooldown_s: float = 1.5


FAILED = 3.0  # a failure counts as this many bounds
PRIOR_VARIANCE = 0.25
LOG = [log(n) for n in range(1, 1026)]  # of one more than the requests under way


@dataclass(slots=True)
class Belief:
    """What is known of one instance. Latencies count as logarithms of bounds: 0 is the bound, below is better.

    Attributes:
        weight: of what follows, in answers, at the time `at`
        mean, variance: of the latencies
        load: mean logarithm of the requests under way when those were sent, the request itself included
        way: when the requests under way were sent, and with which load
        failures: in a row
        until: the end of the cool-down
    """

    weight: float = 0.0
    mean: float = 0.0
    variance: float = 0.0
    load: float = 0.0
    at: float = -inf
    way: deque[tuple[float, float]] = field(default_factory=deque)
    failures: int = 0
    until: float = -inf

    def learn(self, latency: float, load: float, now: float, tuning: Tuning) -> None:
        """Move towards one latency."""
        faded = self.weight * exp((self.at - now) / tuning.fade_s)
        self.weight = min(faded, tuning.memory - 1) + 1
        share, off = 1 / self.weight, latency - self.mean
        self.variance = (1 - share) * (self.variance + share * off * off)
        self.mean += share * off
        self.load += share * (load - self.load)
        self.at = now


@dataclass
class Beliefs(Blind):
    """What one proxy believes of all instances."""

    setting: Setting
    tuning: Tuning
    number: int = 0  # of requests sent
    of: dict[str, Belief] = field(default_factory=dict)

    @property
    def bound_s(self) -> float:
        """The service's, in seconds."""
        return self.setting.bound_ms / 1000

    def sent(self, instance: str, now: float) -> None:
        """One more is under way."""
        self.number += 1
        belief = self.of.get(instance)
        if belief is None:
            belief = self.of[instance] = Belief()
        way = belief.way
        way.append((now, LOG[min(len(way), 1024)]))

    def answered(self, instance: str, latency_ms: float, now: float) -> None:
        """Learn the latency; whatever failed before is forgiven."""
        belief = self._arrived(instance)
        belief.failures, belief.until = 0, -inf
        belief.learn(log(max(latency_ms, 1e-3) / self.setting.bound_ms), belief.way.popleft()[1], now, self.tuning)

    def failed(self, instance: str, now: float) -> None:
        """Count a late answer and begin a cool-down; requests that fail together count as one failure."""
        belief = self._arrived(instance)
        belief.learn(log(FAILED), belief.way.popleft()[1], now, self.tuning)
        if now < belief.until:
            return
        tuning = self.tuning
        belief.failures += 1
        pause = min(tuning.cooldown_s * 2.0 ** min(belief.failures - 1, 16), tuning.max_cooldown_s)
        belief.until = now + pause * (0.75 + 0.25 * draw(self.setting.seed, self.number))

    def _arrived(self, instance: str) -> Belief:
        """The belief of an instance with a request under way; they are taken to end in the order of sending."""
        belief = self.of.get(instance)
        if belief is None or not belief.way:
            self.sent(instance, 0.0)
            belief = self.of[instance]
        return belief


Arm = tuple[float, float, Instance]  # margin in standard deviations, expected logarithm of the latency in bounds


class QosBandit(Policy[Beliefs]):
    """Chooses by the probability that the bound is kept."""

    def __init__(self, tuning: Tuning | None = None) -> None:
        self.tuning = tuning or Tuning()
        self._hope = log(self.tuning.hope)

    def estimates(self, setting: Setting) -> Beliefs:
        """Return that nothing is known."""
        return Beliefs(setting, self.tuning)

    def choose(self, instances: Sequence[Instance], estimates: Beliefs, now: float) -> Instance:
        """Return one that keeps the bound almost surely, or the likeliest to."""
        arms: list[Arm] = []
        unknown: list[Instance] = []
        for instance in instances if len(instances) == 1 else sorted(instances, key=_by_id):
            belief = estimates.of.get(instance.id)
            if belief is None:
                belief = _NOTHING
            elif belief.failures:
                if now < belief.until or belief.way:
                    continue
                return instance  # the trial after a cool-down
            margin, latency, weight = self._predict(belief, estimates.bound_s, now)
            arms.append((margin, latency, instance))
            if weight < 0.5 and not belief.way:
                unknown.append(instance)
        if not arms:
            return min(instances, key=lambda i: (estimates.of[i.id].until, i.id))
        seed, number = estimates.setting.seed, 4 * estimates.number
        good = [arm for arm in arms if arm[0] >= self.tuning.safe]
        if good and unknown and draw(seed, number) < self.tuning.explore:
            return unknown[int(draw(seed, number + 1) * len(unknown))]
        if len(good) > 1:
            first = int(draw(seed, number + 2) * len(good))
            second = int(draw(seed, number + 3) * (len(good) - 1))
            return min(good[first], good[second + (second >= first)], key=_latency)[2]
        best = max(arms, key=_margin)
        return best[2] if best[0] >= self.tuning.lost else min(arms, key=_margin)[2]

    def _predict(self, belief: Belief, bound_s: float, now: float) -> tuple[float, float, float]:
        """Return the margin and the latency of a request sent now, and how many answers that is known from."""
        tuning, way = self.tuning, belief.way
        weight = belief.weight * exp((belief.at - now) / tuning.fade_s) if belief.weight else 0.0
        known = weight / (weight + tuning.hope_weight)
        under_way = len(way)
        corrected = belief.mean + tuning.elasticity * (LOG[min(under_way, 1024)] - belief.load)
        latency = known * corrected + (1 - known) * self._hope
        variance = known * belief.variance + (1 - known) * PRIOR_VARIANCE
        if under_way:
            age = now - way[0][0]
            if age > 0.3 * bound_s:
                latency = max(latency, log(age / bound_s))
        return -latency / sqrt(variance + tuning.spread * tuning.spread), latency, weight


_NOTHING = Belief()
_margin, _latency, _by_id = itemgetter(0), itemgetter(1), attrgetter("id")
qos_bandit = policies.register("qos_bandit")(QosBandit())
