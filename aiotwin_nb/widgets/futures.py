"""What a run's record says of its changes, its decisions and the two predicted futures, ready to be drawn; pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Record = Mapping[str, Any]  # a reconfiguration, as in summary.json
Summary = Mapping[str, Any]  # of a summary, only `rounds` and `reconfigurations` are read here


def change_words(record: Record) -> str:
    """What set a reconfiguration off: `n9 joins`, `n4 leaves`, `links change`."""
    trigger = record["trigger"]
    words = [f"{i} joins" for i in trigger["added"]] + [f"{i} leaves" for i in trigger["removed"]]
    words += ["links change"] * bool(trigger["links"]) + ["data changes"] * bool(trigger["data"])
    return ", ".join(words) or "change"


def decision_words(decision: str) -> str:
    """A decision as people read it: `not validated`."""
    return decision.replace("_", " ")


def chosen(summary: Summary, index: int | None = None) -> Record | None:
    """The reconfiguration with this index; by default the last that was validated, None where there is none."""
    if index is not None:
        record: Record = summary["reconfigurations"][index]
        return record
    validated = [r for r in summary["reconfigurations"] if r["accuracy_at_evaluation"] is not None]
    return validated[-1] if validated else None


@dataclass(frozen=True)
class Mark:
    """A line at the end of a round, with a word to it."""

    round: int
    text: str
    decided: bool


def marks_of(summary: Summary) -> list[Mark]:
    """All changes and decisions of a run, ascending."""
    marks = []
    for record in summary["reconfigurations"]:
        decided = record["accuracy_at_evaluation"] is not None
        text = change_words(record) + ("" if decided else f": {decision_words(record['decision'])}")
        marks.append(Mark(record["after_round"], text, False))
        if decided:
            text = "as it stands" if record["decision"] == "pending" else decision_words(record["decision"])
            marks.append(Mark(record["evaluation_round"], text, True))
    return sorted(marks, key=lambda mark: (mark.round, mark.decided))


@dataclass(frozen=True)
class Future:
    """One predicted future: its trend by round, its end, and what its rounds cost."""

    which: str
    trend: list[tuple[int, float]]
    predicted: float | None
    interval: tuple[float, float] | None
    end: int | None
    now: int
    paid: float
    round_cost: float

    @classmethod
    def of(cls, summary: Summary, record: Record, which: str) -> Future | None:
        """The future "old" or "new" of a record; None when nothing was predicted."""
        fit, predicted = record[f"fit_{which}"], record[f"predicted_{which}"]
        now = record["after_round" if record["evaluation_round"] is None else "evaluation_round"]
        if fit is not None:
            trend, end = _fitted(summary, fit, which, now), fit["horizon"]
        elif predicted is not None and record[f"rounds_left_{which}"] is not None:
            # No formula is on record for this trend: a straight line to where it ends.
            end = now + record[f"rounds_left_{which}"]
            trend = [(end, clip(predicted))]
            if (accuracy := record["accuracy_at_evaluation"]) is not None:
                trend.insert(0, (now, clip(accuracy)))
        else:
            return None
        return cls(
            which=which,
            trend=trend,
            predicted=predicted,
            interval=record[f"interval_{which}"],
            end=end,
            now=now,
            paid=record["revert_cost"] or 0 if which == "old" else 0,
            round_cost=record["round_cost_before" if which == "old" else "round_cost_after"],
        )

    def places(self, past: Mapping[int, float], by_cost: bool) -> list[float]:
        """The trend's x: rounds, or the cost spent by then (what was spent, then what this future's rounds cost)."""
        if not by_cost:
            return [r for r, _ in self.trend]
        spent = past[self.now]
        return [
            past[r] if r <= self.now else spent + self.paid + (r - self.now) * self.round_cost for r, _ in self.trend
        ]

    @property
    def ends_here(self) -> bool:
        """Whether the drawn trend goes as far as the prediction (a target may be millions of rounds away)."""
        return self.end is not None and self.trend[-1][0] == self.end

    def words(self) -> str:
        """The legend's line."""
        name = "new configuration" if self.which == "new" else "old configuration"
        if self.predicted is None:
            return f"{name}: its trend never reaches the target"
        interval = "" if self.interval is None else f", 80 % interval {self.interval[0]:.1f} to {self.interval[1]:.1f}"
        return f"{name}: {self.predicted:.1f} % predicted at round {self.end}{interval}"

    def short(self) -> str:
        """The same for where there is little room: `new: 94.1 % (92.0–96.3)`."""
        if self.predicted is None:
            return f"{self.which}: never at the target"
        interval = "" if self.interval is None else f" ({self.interval[0]:.1f}–{self.interval[1]:.1f})"
        return f"{self.which}: {self.predicted:.1f} %{interval}"


_POINTS = 200  # of a drawn trend, about
# A trend is drawn up to so many times the rounds so far: a budget has an end that is worth seeing also early in a run,
# a target may be millions of rounds away.
_TO_BUDGET, _TO_TARGET = 12, 4


def _fitted(summary: Summary, fit: Mapping[str, Any], which: str, now: int) -> list[tuple[int, float]]:
    """A logarithmic trend by round, up to its horizon, as far as that is worth seeing."""
    shift = _shift(summary, fit) if which == "old" else 0
    far = max(summary["rounds"], now)
    times = _TO_TARGET if summary["budget"] is None else _TO_BUDGET
    first, last = int(fit["first"]) - shift, far if fit["horizon"] is None else min(fit["horizon"], times * far)
    rounds = [*range(first, last, max(1, (last - first) // _POINTS)), last]
    return [(r, clip(fit["a"] + fit["b"] * math.log(r + shift + 1))) for r in rounds]


def _shift(summary: Summary, fit: Mapping[str, Any]) -> int:
    """How far a fit's x is ahead of its rounds: 1 for the original's trend, which sees round r at r + 1; else 0.

    The fit before a change ends with the last round of the old configuration, so at some change's round, or one later.
    """
    return 0 if fit["last"] in {record["after_round"] for record in summary["reconfigurations"]} else 1


def futures_of(summary: Summary, record: Record) -> list[Future]:
    """The futures that were predicted when a reconfiguration was decided: none, one or two."""
    return [future for which in ("old", "new") if (future := Future.of(summary, record, which))]


def clip(accuracy: float) -> float:
    """An accuracy in percent, within 0 to 100."""
    return min(max(accuracy, 0.0), 100.0)
