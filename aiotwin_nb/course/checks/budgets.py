"""Chapter 04: how many rounds a budget buys, and what a target costs."""

from __future__ import annotations

from typing import Any

from aiotwin_nb.course.examine import call, checks, expect

CHAPTER = "04-budgets"


@checks.register(f"{CHAPTER}/rounds-bought")
def rounds_bought(attempt: Any) -> None:
    """Rounds of a run with one change, under a hard budget."""
    plain = call(attempt, 10_000, 1_000, 99, 0, 1_000)
    expect(not isinstance(plain, float) or plain == int(plain), "rounds are whole numbers; half a round buys nothing")
    expect(plain == 10, f"10,000 at 1,000 a round, and nothing ever changes: ten rounds, not {plain}")
    expect(call(attempt, 10_900, 1_000, 99, 0, 1_000) == 10, "a round that the budget does not cover is never started")
    found = call(attempt, 100_000, 1_320, 10, 165, 1_980)
    expect(
        found != 53 + 1, "one round too many: the change itself (Ψ_rc) has to be paid as well, or money was rounded up"
    )
    expect(found not in (75, 50), "before the change rounds cost Ψ_gr, after it Ψ_gr + Ψ_pr: two prices, not one")
    expect(found != 43, "the rounds before the change count too")
    expect(found == 53, f"in the lab of the first run it must be 53 rounds, not {found}")
    expect(
        call(attempt, 5_000, 1_000, 10, 165, 2_000) == 5, "the money may be gone before the change: then there is none"
    )
    expect(call(attempt, 10_100, 1_000, 10, 165, 2_000) == 10, "100 is left after round 10, and the change costs 165")


@checks.register(f"{CHAPTER}/cost-of-target")
def cost_of_target(attempt: Any) -> None:
    """What had been spent when an accuracy was first reached."""
    history = [(0, 8.0), (1_000, 40.0), (2_000, 61.0), (3_000, 59.0), (4_000, 75.0)]
    found = call(attempt, history, 60.0)
    expect(found != 4_000, "the first round that reaches the target counts, also if the accuracy falls again later")
    expect(found == 2_000, f"60 % is first reached after 2,000 units, not {found}")
    expect(call(attempt, history, 75.0) == 4_000, "a round that reaches the target exactly has reached it")
    expect(call(attempt, history, 5.0) == 0, "the untrained model may do already: that costs 0")
    expect(call(attempt, history, 90.0) is None, "a target that is never reached has no cost: return None")
