"""Chapter 09: what makes two experiments the same, and what a table of seeds says."""

from __future__ import annotations

from typing import Any

import pandas as pd

from aiotwin_nb.course.examine import call, checks, expect

CHAPTER = "09-papermill"
CONTENT = {
    "notebook": "a.ipynb",
    "parameters": {"seed": 1, "budget": 30000},
    "seed": 1,
    "results": {"final_accuracy": 91.4, "decisions": ["kept"]},
    "versions": {"python": "3.12.1", "torch": "2.9.0"},
}


@checks.register(f"{CHAPTER}/reproduced")
def reproduced(attempt: Any) -> None:
    """Whether a second result repeats a first one."""
    expect(call(attempt, CONTENT, {**CONTENT}) is True, "two equal files: the second one does repeat the first")
    newer = {**CONTENT, "versions": {"python": "3.13.0", "torch": "2.10.0"}}
    expect(
        call(attempt, CONTENT, newer) is True, "with other versions the same numbers came out: that is a reproduction"
    )
    results = {**CONTENT, "results": {"final_accuracy": 91.6, "decisions": ["kept"]}}
    expect(
        call(attempt, CONTENT, results) is True, "0.2 points of accuracy apart on another machine: within half a point"
    )
    off = {**CONTENT, "results": {"final_accuracy": 93.0, "decisions": ["kept"]}}
    expect(call(attempt, CONTENT, off) is False, "1.6 points apart is too much: more than half a point")
    decided = {**CONTENT, "results": {"final_accuracy": 91.4, "decisions": ["reverted"]}}
    expect(call(attempt, CONTENT, decided) is False, "the accuracy is the same, but another decision was made")
    other = {**CONTENT, "parameters": {"seed": 1, "budget": 60000}}
    expect(
        call(attempt, CONTENT, other) is False, "the parameters differ: that is another experiment, whatever came out"
    )


@checks.register(f"{CHAPTER}/spread")
def spread(attempt: Any) -> None:
    """Mean, least and most of a sweep's accuracies by value."""
    rows = [(3, 90.0), (3, 94.0), (5, 91.0), (5, 92.0), (5, 99.0), (3, 92.0)]
    table = pd.DataFrame([{"window": w, "final_accuracy": a, "seed": i} for i, (w, a) in enumerate(rows)])
    found = call(attempt, table, "window")
    expect(isinstance(found, dict), f"return a dictionary, value: (mean, least, most), not {type(found).__name__}")
    expect(set(found) == {3, 5}, f"the keys must be the values of the column, 3 and 5; they are {sorted(found)}")
    expect(abs(found[3][0] - 92.0) < 1e-6, f"the mean of 90, 94 and 92 is 92, not {found[3][0]}")
    expect(
        tuple(map(float, found[3][1:])) == (90.0, 94.0), f"then the least and the most, 90 and 94, not {found[3][1:]}"
    )
    expect(tuple(map(float, found[5])) == (94.0, 91.0, 99.0), f"for 91, 92 and 99 it gives {found[5]}")
