"""Chapters 11 and 12: quality of service, a balancing rule, and what a lamp does."""

from __future__ import annotations

from typing import Any

from aiotwin_nb.course.examine import call, checks, expect

PROXY = "11-inference"
LIGHTING = "12-smart-lighting"


@checks.register(f"{PROXY}/share-in-time")
def share_in_time(attempt: Any) -> None:
    """Share of requests that were answered within the bound."""
    expect(call(attempt, [10.0, 20.0], 100.0) == 1.0, "two answers, both early enough: the share is 1")
    expect(call(attempt, [100.0], 100.0) == 1.0, "an answer exactly at the bound is in time: ≤, not <")
    found = call(attempt, [50.0, None, 150.0, 90.0], 100.0)
    expect(found != 2 / 3, "a failed request (None) was a request: it counts among all, and not among those in time")
    expect(found == 0.5, f"two of four are in time: 0.5, not {found}")
    expect(call(attempt, [None, None], 100.0) == 0.0, "if everything failed, nothing was in time")


@checks.register(f"{PROXY}/updated")
def updated(attempt: Any) -> None:
    """An exponentially weighted moving average of latencies."""
    expect(call(attempt, None, 80.0, 0.2) == 80.0, "before the first measurement there is nothing to average with")
    found = call(attempt, 100.0, 50.0, 0.2)
    expect(found != 60.0, "the weight belongs to the new measurement, the rest (1 − weight) to what was known")
    expect(abs(found - 90.0) < 1e-9, f"0.8 · 100 + 0.2 · 50 = 90, not {found}")
    expect(call(attempt, 100.0, 50.0, 1.0) == 50.0, "with weight 1 only the last measurement counts")


@checks.register(f"{PROXY}/choose")
def choose(attempt: Any) -> None:
    """The least busy of the instances whose estimate keeps the bound, else the fastest."""
    estimates = {"a": 40.0, "b": 90.0, "c": 200.0}
    found = call(attempt, estimates, {"a": 5, "b": 1, "c": 0}, 100.0)
    expect(found != "c", "c is the least busy, but it breaks the bound, and others do not")
    expect(found != "a", "a is the fastest, but b keeps the bound too and is less busy: spare the fast one")
    expect(found == "b", f"it must be b, not {found!r}")
    slow = {"a": 300.0, "b": 250.0}
    expect(call(attempt, slow, {"a": 0, "b": 9}, 100.0) == "b", "nobody keeps the bound: then the fastest, b")
    expect(
        call(attempt, {"a": None, "b": 90.0}, {"a": 0, "b": 4}, 100.0) == "a",
        "an instance without any measurement (None) must be tried, or one never learns of it: count it as good",
    )


@checks.register(f"{LIGHTING}/light")
def light(attempt: Any) -> None:
    """Brightness of a lamp from a count and the confidence in it."""
    expect(call(attempt, 0, 0.9, 0.5) == 0.0, "nobody is there: dark")
    expect(call(attempt, 4, 0.9, 0.5) == 1.0, "four people: full light")
    expect(abs(call(attempt, 2, 0.9, 0.1) - 0.5) < 1e-9, "a quarter of the light for each person: two make 0.5")
    expect(call(attempt, 7, 0.9, 0.5) == 1.0, "more than full is not possible")
    expect(
        call(attempt, 0, 0.3, 0.75) == 0.75,
        "a count with a confidence below 0.5 is a guess: leave the light as it was, rather than in the dark",
    )
