"""Whether a new model is kept: a pure function of what its instances and the others showed, window by window.

As on the learning side, a change is made, watched, and then kept or reverted; here both sides answer at the same time,
so that two shares are compared: right answers among the labelled ones, and answers within the bound among all (QoS).
The difference of two proportions has Newcombe's hybrid score interval ("Interval estimation for the difference between
independent proportions", 1998, method 10), which also holds for few answers and for shares of 0 and 1. All looks share
the error of one decision (Bonferroni), because it is looked after every window.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

from aiotwin_nb.decision.validation import Verdict
from aiotwin_nb.errors import InvalidInput
from aiotwin_nb.inference.monitoring.accuracy import wilson

_LIKELY = 0.2  # error of the interval by which a loss is probable in the end, as that of the learning side's forecasts


@dataclass(frozen=True)
class Counts:
    """Answers of some instances: all, those within the bound, the labelled ones and those of them that were right."""

    requests: int = 0
    within: int = 0
    labelled: int = 0
    right: int = 0

    def __post_init__(self) -> None:
        if not (0 <= self.within <= self.requests and 0 <= self.right <= self.labelled):
            raise InvalidInput(f"{self}: within must be at most requests, right at most labelled, and none below 0")

    def __add__(self, other: Counts) -> Counts:
        return Counts(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))


@dataclass(frozen=True)
class Window:
    """What was seen in one window of time of the instances with the old model and of those with the new one."""

    old: Counts
    new: Counts


@dataclass(frozen=True)
class Rules:
    """How a new model is judged.

    `windows`: to be seen before it is kept; `extra_windows`: more, while it is not clear. Margins in points: a loss of
    up to that is none. `labels`: the least labelled answers of each side; with 0, QoS will do. `confidence`: of
    what is called clear, over all looks together.
    """

    windows: int = 5
    extra_windows: int = 5
    accuracy_margin: float = 1.0
    qos_margin: float = 1.0
    labels: int = 30
    confidence: float = 0.95

    def __post_init__(self) -> None:
        if self.windows < 1 or self.extra_windows < 0 or self.labels < 0:
            raise InvalidInput("windows must be 1 or more, extra_windows and labels 0 or more")
        if not (0 < self.confidence < 1 and 0 <= self.accuracy_margin < 100 and 0 <= self.qos_margin < 100):
            raise InvalidInput("confidence must be between 0 and 1, the margins from 0 to below 100 points")

    @property
    def most(self) -> int:
        """Windows after which it is decided in any case."""
        return self.windows + self.extra_windows


@dataclass(frozen=True)
class Difference:
    """New minus old in points, with its interval."""

    points: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.points:+.1f} points [{self.low:+.1f}, {self.high:+.1f}]"


@dataclass(frozen=True)
class Judged:
    """A verdict, undecided while it takes another window, and why. The differences: None where nothing was seen."""

    verdict: Verdict
    reason: str
    accuracy: Difference | None = None
    qos: Difference | None = None


def judge(windows: Sequence[Window], rules: Rules | None = None) -> Judged:
    """Decide on a new model after some windows; it is never undecided after `rules.most` of them.

    Reverted as soon as it is clearly worse by more than a margin. Kept after `rules.windows` when it is clearly not;
    in the end one that is probably worse (80 % interval) is reverted, a tie keeps, and what could not be judged goes.
    """
    rules = rules or Rules()
    old, new = sum((w.old for w in windows), Counts()), sum((w.new for w in windows), Counts())
    error = (1 - rules.confidence) / rules.most
    enough = min(new.labelled, old.labelled) >= max(rules.labels, 1)
    accuracy, qos = _differences(old, new, enough, error)
    seen = [
        (name, found, margin)
        for name, found, margin in (("accuracy", accuracy, rules.accuracy_margin), ("QoS", qos, rules.qos_margin))
        if found is not None
    ]
    told = " and ".join(f"{name} {found}" for name, found, _ in seen) or "nothing to compare"

    def verdict(decided: Verdict, reason: str) -> Judged:
        return Judged(decided, f"after {len(windows)} windows the new model differs by {told}: {reason}", accuracy, qos)

    for name, found, margin in seen:
        if found.high < -margin:
            return verdict("reverted", f"its {name} is worse")
    lacking = _lacking(old, new, rules, enough)
    last = len(windows) >= rules.most
    if lacking:
        return verdict("reverted", f"{lacking}, so it could not be judged") if last else verdict("undecided", lacking)
    if len(windows) >= rules.windows and all(found.low >= -margin for _, found, margin in seen):
        return verdict("kept", "it is no worse")
    if not last:
        return verdict("undecided", "another window is awaited")
    likely = [found for found in _differences(old, new, enough, _LIKELY) if found is not None]
    for (name, found, margin), probable in zip(seen, likely, strict=True):
        if found.points < -margin and probable.high < 0:
            return verdict("reverted", f"its {name} is probably worse")
    return verdict("kept", "no loss is seen, and a tie keeps")


def _differences(old: Counts, new: Counts, enough: bool, error: float) -> tuple[Difference | None, Difference | None]:
    """In accuracy, where labels are enough, and in QoS."""
    accuracy = difference(new.right, new.labelled, old.right, old.labelled, error) if enough else None
    return accuracy, difference(new.within, new.requests, old.within, old.requests, error)


def _lacking(old: Counts, new: Counts, rules: Rules, enough: bool) -> str:
    """What is not there to judge by."""
    if not (old.requests and new.requests):
        return f"the {'new' if old.requests else 'old'} model had no request"
    if rules.labels and not enough:
        return f"{new.labelled} and {old.labelled} labelled answers are there of {rules.labels} that each side needs"
    return ""


def difference(hits_new: int, count_new: int, hits_old: int, count_old: int, error: float) -> Difference | None:
    """Difference of two shares in points with its interval of confidence 1 − error; None where a share has no cases."""
    if not (count_new and count_old):
        return None
    new, old = hits_new / count_new, hits_old / count_old
    low_new, high_new = wilson(hits_new, count_new, error)
    low_old, high_old = wilson(hits_old, count_old, error)
    points = new - old
    down, up = math.hypot(new - low_new, high_old - old), math.hypot(high_new - new, old - low_old)
    return Difference(100 * points, 100 * (points - down), 100 * (points + up))
