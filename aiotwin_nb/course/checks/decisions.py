"""Chapters 07 and 08: the trend, a policy of one's own, label coverage and the forecast of a load."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from aiotwin_nb.course.examine import Wrong, call, checks, expect
from aiotwin_nb.decision import Evidence, validate

REVERT, PROACTIVE = "07-when-to-revert", "08-proactive"


@checks.register(f"{REVERT}/fit")
def fit(attempt: Any) -> None:
    """Least squares of accuracy = a + b · ln(round + 1)."""
    rounds = [1, 2, 3, 4, 5, 6]
    exact = _pair(call(attempt, rounds, [20 + 10 * math.log(r + 1) for r in rounds]))
    a, b = exact
    expect(not (abs(a - 10) < 0.01 and abs(b - 20) < 0.01), "a and b have changed places: return (a, b)")
    shifted = np.polyfit(np.log(rounds), [20 + 10 * math.log(r + 1) for r in rounds], 1)
    expect(not (abs(b - shifted[0]) < 0.01), "the trend is in ln(round + 1), not in ln(round)")
    line = np.polyfit(rounds, [20 + 10 * math.log(r + 1) for r in rounds], 1)
    expect(not (abs(b - line[0]) < 0.01), "that is a straight line in the round; take its logarithm first")
    expect(
        abs(a - 20) < 0.01 and abs(b - 10) < 0.01,
        f"points that lie exactly on 20 + 10 · ln(round + 1) give ({a:.2f}, {b:.2f})",
    )
    noisy = [21.0, 30.0, 36.0, 33.0, 40.0, 38.0]
    slope, level = np.polyfit(np.log(np.array(rounds) + 1), noisy, 1)
    a, b = _pair(call(attempt, rounds, noisy))
    expect(
        abs(a - level) < 0.01 and abs(b - slope) < 0.01,
        "with noisy points it is not the least-squares line: no other a and b may have a smaller sum of squares",
    )


@checks.register(f"{REVERT}/policy")
def policy(attempt: Any) -> None:
    """A policy of one's own: sensible where the answer is plain."""
    before = [(r, 30 + 12 * math.log(r), 1.0) for r in range(1, 11)]
    better = [(r, 70 + 3.0 * (r - 10), 0.6) for r in range(11, 16)]
    worse = [(r, 40 - 2.0 * (r - 10), 1.8) for r in range(11, 16)]
    flat = [(r, 57.0, 1.0) for r in range(11, 16)]
    verdicts = {
        name: _verdict(call(attempt, _evidence(before, rows, dearer)))
        for name, rows, dearer in (("better", better, 1.2), ("worse", worse, 1.5), ("flat", flat, 3.0))
    }
    expect(verdicts["better"] == "kept", "15 points up in five rounds, hardly dearer, and your policy goes back")
    expect(verdicts["worse"] == "reverted", "the accuracy falls and every round is dearer, and your policy keeps it")
    expect(
        verdicts["flat"] == "reverted",
        "the window stands still at three times the price, and your policy keeps it: does it look at the money at all?",
    )


@checks.register(f"{PROACTIVE}/coverage")
def coverage(attempt: Any) -> None:
    """Share of all labels that the members hold."""
    data = {"c1": {0: 40, 1: 40}, "c2": {1: 10}, "c3": {2: 5, 3: 5}}
    found = call(attempt, ["c1", "c2"], data)
    expect(found != 1.0, "labels that only an outsider holds exist, too: everybody's labels are the measure")
    expect(found != 0.75, "a label that two members hold counts once")
    expect(abs(found - 0.5) < 1e-9, f"c1 and c2 hold the labels 0 and 1 of 0, 1, 2 and 3: a half, not {found}")
    expect(call(attempt, ["c1", "c2", "c3"], data) == 1.0, "all together hold all there is: 1")
    empty = call(attempt, ["c1", "c3"], {**data, "c3": {2: 0, 3: 5}})
    expect(abs(empty - 1.0) < 1e-9, "a label with 0 samples is a label that nobody has")


@checks.register(f"{PROACTIVE}/forecast")
def forecast(attempt: Any) -> None:
    """A line through a node's last loads, read some rounds ahead."""
    rising = call(attempt, [0.1, 0.2, 0.3, 0.4, 0.5], 3)
    expect(abs(rising - 0.5) > 1e-6, "that is the present load; three rounds ahead it will be higher")
    expect(abs(rising - 0.6) > 1e-6, "that is one round ahead; three are asked for")
    expect(abs(rising - 0.8) < 1e-6, f"0.1, 0.2, … 0.5 goes on to 0.8 in three rounds, not to {rising:.2f}")
    expect(abs(call(attempt, [0.4, 0.4, 0.4], 5) - 0.4) < 1e-6, "a load that stands still stays what it is")
    expect(call(attempt, [0.6, 0.8, 1.0], 4) <= 1.0, "a node cannot be busier than busy: no load above 1")
    expect(call(attempt, [0.4, 0.2, 0.0], 4) >= 0.0, "no load is below 0")
    noisy = [0.30, 0.42, 0.38, 0.55, 0.50]
    slope, level = np.polyfit(range(5), noisy, 1)
    found = call(attempt, noisy, 2)
    expect(
        abs(found - (level + slope * 6)) < 1e-6,
        "use all the points, not the first and the last only: one noisy value must not decide",
    )


def _evidence(before: Any, window: Any, dearer: float) -> Evidence:
    after = round(1000 * dearer)
    return validate(
        before, window, round_cost_before=1000, round_cost_after=after, spent=20_000, budget=50_000
    ).evidence


def _verdict(found: Any) -> str:
    if not isinstance(found, tuple) or len(found) != 2 or not isinstance(found[1], str):
        raise Wrong(f"a policy returns a pair (verdict, reason in words), not {found!r}")
    expect(found[0] in ("kept", "reverted", "undecided"), f"the verdict {found[0]!r} is none; say 'kept' or 'reverted'")
    return str(found[0])


def _pair(found: Any) -> tuple[float, float]:
    expect(isinstance(found, tuple | list | np.ndarray) and len(found) == 2, f"return the pair (a, b), not {found!r}")
    return float(found[0]), float(found[1])
