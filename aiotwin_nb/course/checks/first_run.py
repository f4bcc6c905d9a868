"""Chapter 01: whole rounds that a budget buys."""

from __future__ import annotations

from typing import Any

from aiotwin_nb.course.examine import call, checks, expect


@checks.register("01-first-run/rounds")
def rounds(attempt: Any) -> None:
    """How many rounds a budget buys at one price."""
    found = call(attempt, 100_000, 1_320)
    expect(isinstance(found, int | float), f"it must return a number, and returns {found!r}")
    expect(found == int(found), f"{found:.2f} rounds: the last one is not paid for")
    expect(found != 76, "that is rounded up: the last round is not paid for")
    expect(found == 75, f"100,000 at 1,320 a round is not {found} rounds")
    expect(call(attempt, 100, 1_320) == 0, "too little money buys no round at all")
