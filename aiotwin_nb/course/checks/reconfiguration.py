"""Chapters 05 and 06: what a change is and costs, the rule that keeps or reverts, and clients that look suspicious."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiotwin_nb.course.examine import call, checks, expect

HELPS, HURTS = "05-reconfiguration-helps", "06-reconfiguration-hurts"


@checks.register(f"{HELPS}/change-cost")
def change_cost(attempt: Any) -> None:
    """Ψ_rc: half a round trip for every client that is new or moves."""
    links = {("c1", "a1"): 20, ("c1", "a2"): 60, ("c2", "a1"): 30, ("c2", "a2"): 40, ("c3", "a2"): 100}

    def link(one: str, other: str) -> float:
        return links.get((one, other), links.get((other, one), 1_000_000))

    old = {"a1": ["c1", "c2"]}
    nothing = call(attempt, old, {"a1": ["c2", "c1"]}, link, 2.0)
    expect(nothing == 0, f"nobody is new and nobody moves, so the change costs 0, not {nothing}")
    found = call(attempt, old, {"a1": ["c1", "c2"], "a2": ["c3"]}, link, 2.0)
    expect(found != 200, "a newcomer downloads the model once and sends nothing yet: half of a round trip")
    expect(found != 50, "S megabytes travel, not one")
    expect(found == 100, f"c3 joins over a link of 100, S = 2: the change must cost 100, not {found}")
    moved = call(attempt, old, {"a1": ["c1"], "a2": ["c2", "c3"]}, link, 2.0)
    expect(moved != 100, "c2 moves to a2 and downloads the model there too")
    expect(moved != 130, "who moves pays for the link to the new aggregator, not for the old one")
    expect(moved == 140, f"c3 joins (100) and c2 moves to a2 over a link of 40: not {moved}")
    gone = call(attempt, {"a1": ["c1", "c2"]}, {"a1": ["c1"]}, link, 2.0)
    expect(gone == 0, f"a client that leaves downloads nothing: 0, not {gone}")


@checks.register(f"{HELPS}/decide")
def decide(attempt: Any) -> None:
    """Step 5 of the validation: compare both trends where the budget ends."""

    def trend(a: float, b: float) -> Any:
        return lambda round: a + b * round

    arguments = (20, 10_000, 0, 1_000, 2_000)
    found = call(attempt, trend(50, 1), trend(50, 1), *arguments)
    expect(found in ("keep", "revert"), f"return 'keep' or 'revert', not {found!r}")
    expect(found == "revert", "the trends are alike, and the old configuration has ten rounds left, the new one five")
    expect(call(attempt, trend(50, 1), trend(60, 2), *arguments) == "keep", "the new one is far ahead at its own end")
    # Better at the same round, worse at its own end: who forgets that rounds differ in price decides wrongly.
    expect(
        call(attempt, trend(50, 1), trend(51, 1), *arguments) == "revert",
        "read each trend where its own configuration runs out of money, not both at the same round",
    )
    expect(call(attempt, trend(50, 1), trend(55, 1), *arguments) == "keep", "a tie keeps the new configuration")
    late = call(attempt, trend(0, 1), trend(8, 1), 20, 10_000, 4_500, 1_000, 2_000)
    expect(late == "keep", "going back costs money too, which is missing for rounds in the old configuration")


@checks.register(f"{HURTS}/suspects")
def suspects(attempt: Any) -> None:
    """Clients whose training loss stands out."""
    calm = {"c1": 0.31, "c2": 0.28, "c3": 0.35, "c4": 0.30}
    found = call(attempt, calm, 3.0)
    expect(found is not None and not isinstance(found, str | Mapping), "return a list of names")
    expect(list(found) == [], f"these clients are all alike, and yet you suspect {', '.join(found)}")
    noisy = call(attempt, {**calm, "c5": 1.9}, 3.0)
    expect(list(noisy) == ["c5"], f"c5's loss is six times the others'; you name {list(noisy) or 'nobody'}")
    two = call(attempt, {**calm, "c5": 1.9, "c6": 1.7}, 3.0)
    expect(
        sorted(two) == ["c5", "c6"],
        f"with two bad clients of six you name {list(two) or 'nobody'}: do the bad ones raise what you compare with?",
    )
    strict = call(attempt, {**calm, "c5": 0.62}, 1.5)
    expect(list(strict) == ["c5"], "use the factor that is given, not one of your own")
