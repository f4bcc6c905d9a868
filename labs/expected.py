"""Run every lab over ten seeds, keep the numbers in expected.json, and write tables and pictures into the guides.

Usage: python labs/expected.py [LAB …] [--tables]; --tables runs nothing and writes the tables again. Without
AIOTWIN_DATA the labs on Fashion-MNIST are skipped, and keep the numbers they had. Runs are on the fast runtime
`stacked` (accuracies within 0.5 points of `embedded`); costs, rounds and configurations are the same on both.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any

from aiotwin_nb import api
from aiotwin_nb.widgets.figures import draw_topology, png
from aiotwin_nb.widgets.teaching import draw_seeds

HERE = Path(__file__).resolve().parent
RESULTS, IMAGES = HERE / "expected.json", HERE / "img"
SEEDS = range(1, 11)
BEGIN, END = "<!-- expected: begin; written by labs/expected.py -->", "<!-- expected: end -->"
ON_FASHION = "@fashion_mnist"
RECAST = ("improvement", "hands-on", "degradation", "degradation-mislabelled")  # the labs that keep their story there
ROADS = {"always_keep": "kept", "always_revert": "reverted"}

Expected = dict[str, Any]


def guides() -> list[str]:
    """Names of the labs."""
    return sorted(path.stem for path in HERE.glob("*.yaml"))


def scenarios() -> list[str]:
    """What is run: every lab, and some once more on Fashion-MNIST."""
    return [*guides(), *(f"{lab}{ON_FASHION}" for lab in RECAST)]


def measured(name: str, folder: Path) -> Expected:
    """The lab as it is, with the default policy, and both roads of its first change, over all seeds."""
    scenario = api.resolve(name, {})
    policies = list(dict.fromkeys([scenario.validation.policy, *(["default"] if scenario.events else [])]))
    swept = api.run_sweep(name, {"validation.policy": policies}, seeds=SEEDS, out=folder / name)
    if swept.failed:
        raise SystemExit(f"{name}: {swept.failed[0].error}")
    runs = [{"policy": o.cell.values["validation.policy"], **_run(o.cell.values["seed"], o.result or {})}
            for o in swept.outcomes]  # fmt: skip
    branches = api.compare(name, seeds=SEEDS)["branches"] if scenario.events else []
    return {"runtime": swept.runtime, "runs": runs, "branches": branches}


def _run(seed: int, result: Mapping[str, Any]) -> dict[str, Any]:
    decisions = [record["decision"] for record in result["reconfigurations"]]
    kept = {key: result[key] for key in ("final_accuracy", "rounds", "total_cost", "stop_reason")}
    return {"seed": seed, **kept, "decisions": decisions}


def pictures(name: str, folder: Path) -> None:
    """The topology, and both roads over the seeds where there are two."""
    IMAGES.mkdir(exist_ok=True)
    scenario = api.resolve(name, {})
    planned = api.plan(scenario)
    last = (planned["reconfigurations"] or [planned["initial"]])[-1]["clusters"]
    first = planned["initial"]["clusters"]
    clusters = first if any(change.removed for change in scenario.changes().values()) else last
    (IMAGES / f"{name}-topology.png").write_bytes(png(draw_topology(scenario, clusters), dpi=80))
    if any(event.add for event in scenario.events):
        grid = {"validation.policy": list(ROADS)}
        roads = api.run_sweep(name, grid, seeds=SEEDS, out=folder / f"{name}-roads")
        (IMAGES / f"{name}-seeds.png").write_bytes(png(draw_seeds(roads), dpi=80))


def table(name: str, expected: Expected) -> list[str]:
    """A Markdown table of what to expect."""
    policies = list(dict.fromkeys(run["policy"] for run in expected["runs"]))
    runs = [run for run in expected["runs"] if run["policy"] == policies[0]]
    lines = [
        f"`aiotwin run {name}`, runtime `{expected['runtime']}`, {len(runs)} seeds ({runs[0]['seed']} to "
        f"{runs[-1]['seed']}):",
        "",
        "| | mean | least to most |",
        "|---|---|---|",
        _row("final accuracy (%)", [run["final_accuracy"] for run in runs], ".1f"),
        _row("rounds", [run["rounds"] for run in runs], ",.0f"),
        _row("spent", [run["total_cost"] for run in runs], ",.0f"),
    ]
    for road in ("kept", "reverted"):
        ends = [branch[road]["final_accuracy"] for branch in expected["branches"] if branch[road]]
        if ends:
            lines.append(_row(f"road *{road}*: final accuracy, mean of the last 3 (%)", ends, ".1f"))
    lines.append("")
    for policy in policies:
        decisions = [d for run in expected["runs"] if run["policy"] == policy for d in run["decisions"]]
        if decisions:
            lines.append(f"- decided by the policy `{policy}`: {_counted(decisions)}")
    if expected["branches"]:
        lines.append(f"- the better road: {_counted(branch['best'] for branch in expected['branches'])}")
    return lines


def _row(title: str, values: Sequence[float], form: str) -> str:
    return f"| {title} | {fmean(values):{form}} | {min(values):{form}} to {max(values):{form}} |"


def _counted(words: Iterable[str]) -> str:
    return ", ".join(f"{count} {word.replace('_', ' ')}" for word, count in Counter(words).most_common())


def block(lab: str, results: Mapping[str, Expected]) -> str:
    """All tables of a lab's guide, between the markers."""
    lines: list[str] = []
    for name in (lab, f"{lab}{ON_FASHION}"):
        if name in results:
            lines += ["", *table(name, results[name])] if lines else table(name, results[name])
    return "\n".join([BEGIN, "", *lines, "", END])


def with_block(text: str, new: str) -> str:
    """A guide's text with another block between its markers."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"a guide lacks the markers {BEGIN} and {END}")
    return before + new + after


def main() -> None:
    """Run what is asked for, then write everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("labs", nargs="*", metavar="LAB", help="by default all")
    parser.add_argument("--tables", action="store_true", help="run nothing")
    options = parser.parse_args()
    chosen = [] if options.tables else options.labs or scenarios()
    results: dict[str, Expected] = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    with TemporaryDirectory() as folder:
        for name in chosen:
            if "fashion" in name and not os.environ.get("AIOTWIN_DATA"):
                print(f"{name}: skipped, Fashion-MNIST is in no folder that AIOTWIN_DATA names", file=sys.stderr)
                continue
            results[name] = measured(name, Path(folder))
            if ON_FASHION not in name:
                pictures(name, Path(folder))
            RESULTS.write_text(json.dumps(dict(sorted(results.items())), indent=1) + "\n")
            print("\n".join(table(name, results[name])), flush=True)
    for lab in guides():
        guide = HERE / f"{lab}.md"
        if guide.is_file() and lab in results:
            guide.write_text(with_block(guide.read_text(encoding="utf-8"), block(lab, results)), encoding="utf-8")


if __name__ == "__main__":
    main()
