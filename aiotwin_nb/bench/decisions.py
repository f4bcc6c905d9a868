"""`aiotwin bench decisions`: run a population's branches, let every policy decide, score them, write the results."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from aiotwin_nb.bench import recorded
from aiotwin_nb.bench.branches import Case, from_json, is_held_out, run_case, to_json
from aiotwin_nb.bench.population import DATA_SETS, HARD_FROM, is_hard, scenario
from aiotwin_nb.bench.scoring import METHODS, Outcome, decide, interpolated, summary
from aiotwin_nb.errors import AIoTwinError, InvalidInput

EXTENSIONS = (0, 3)
SEEDS = {"digits": [*range(1000), *range(1000, 1800, 2)], "fashion_mnist": range(560)}
QUICK_SEEDS = {"digits": range(1, 60, 2), "fashion_mnist": range(1, 12, 2)}
CASE_BY_CASE = ("original", "default")  # methods whose every decision is written down
RECORDED = Path("../shared/reference/icmlcn")


def bench_decisions(
    *,
    seeds: Sequence[int] | None = None,
    quick: bool = False,
    out: Path | None = None,
    data_sets: Sequence[str] = tuple(DATA_SETS),
    processes: int = 2,
    recorded_runs: Path = RECORDED,
    tell: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Score every policy on the held-out (odd) seeds; returns {data_sets, recorded, notes}.

    `out`: folder for decisions-*.csv, decisions.png and the cases (cases-<data set>.jsonl), which are not run again
    when they are there; even seeds are run only then, for `aiotwin_nb.bench.learn`. `tell`: told what goes on.
    """
    results: dict[str, Any] = {"data_sets": {}, "notes": [], "recorded": recorded.forecasts(recorded_runs)}
    every: list[Outcome] = []
    for data_set in data_sets:
        numbers = list(seeds if seeds is not None else (QUICK_SEEDS if quick else SEEDS)[data_set])
        if out is None:
            numbers = [number for number in numbers if is_held_out(number)]
        if missing := _missing(data_set):
            results["notes"].append(f"{data_set}: skipped; {missing}")
            continue
        cases = [case for case in _cases(data_set, numbers, out, processes, tell) if is_held_out(case.seed)]
        if not cases:
            raise InvalidInput(f"--seeds: none of them is held out (odd) and leads to a decision on {data_set}")
        outcomes = [decide(method, case, interpolated) for method in METHODS for case in cases]
        every += outcomes
        results["data_sets"][data_set] = {
            method.name: summary([o for o in outcomes if o.method == method.name]) for method in METHODS
        }
    if not results["recorded"]:
        results["notes"].append(f"recorded cluster runs: skipped; there is no {recorded_runs}")
    if out is not None:
        _write(out, results, every)
    return results


def _missing(data_set: str) -> str | None:
    """Why a data set cannot be used here, if so."""
    from fl_service.errors import TaskError
    from fl_service.tasks import datasets

    try:
        datasets.load(data_set)
    except TaskError as error:
        return str(error)
    return None


def _cases(
    data_set: str, numbers: Iterable[int], out: Path | None, processes: int, tell: Callable[[str], None]
) -> list[Case]:
    """Return the cases of some numbers: from the folder's file, the others run now and added to it."""
    file = None if out is None else out / f"cases-{data_set}.jsonl"
    lines = dict(_lines(file)) if file is not None and file.is_file() else {}
    missing = [number for number in numbers if number not in lines]
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
    for done, (number, line) in enumerate(_run_all(data_set, missing, processes), start=1):
        lines[number] = line
        if file is not None:
            with file.open("a", encoding="utf-8") as stream:
                stream.write(line + "\n")
        if done % 20 == 0 or done == len(missing):
            tell(f"{data_set}: {done} of {len(missing)} scenarios run")
    found = (from_json(lines[number]) for number in numbers)
    return [case for case in found if case is not None]


def _lines(file: Path) -> Iterator[tuple[int, str]]:
    import json

    for line in file.read_text(encoding="utf-8").splitlines():
        yield int(json.loads(line)["seed"]), line


def _run_all(data_set: str, numbers: Sequence[int], processes: int) -> Iterator[tuple[int, str]]:
    tasks = [(data_set, number) for number in numbers]
    if processes < 2 or len(tasks) < 2:
        yield from zip(numbers, map(_run_one, tasks), strict=True)
        return
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        yield from zip(numbers, pool.map(_run_one, tasks), strict=True)


def _run_one(task: tuple[str, int]) -> str:
    data_set, number = task
    try:
        return to_json(run_case(scenario(data_set, number), EXTENSIONS), number)
    except AIoTwinError as error:
        raise type(error)(f"{data_set} scenario {number}: {error}") from error


# Results.

COLUMNS = {
    "cases": "{:.0f}", "right": "{:.1%}", "strictly_right": "{:.1%}", "mean_regret": "{:.2f}", "worst_regret": "{:.1f}",
    "coverage": "{:.0%}", "forecast_error": "{:.1f}", "extra_rounds": "{:.2f}", "milliseconds": "{:.1f}",
}  # fmt: skip


def as_text(results: dict[str, Any]) -> str:
    """Return the tables for people."""
    lines = []
    for data_set, methods in results["data_sets"].items():
        lines.append(f"{data_set}: held-out scenarios; regret and forecast error in points, coverage of 80 % intervals")
        lines.append(f"{'':30}" + "".join(f"{name.replace('_', ' '):>16}" for name in COLUMNS))
        for name, figures in methods.items():
            cells = ("-" if figures[key] is None else form.format(figures[key]) for key, form in COLUMNS.items())
            lines.append(f"{name:30}" + "".join(f"{cell:>16}" for cell in cells))
        lines.append("")
    if results["recorded"]:
        lines.append("recorded cluster runs (CIFAR-10; nothing tuned on them): predicted and real final accuracy")
    lines += [
        f"{row['run']} {row['method']:24} {row['future']}: {row['predicted']:6.2f} "
        f"(real {row['happened']:.2f}, error {row['error']:+.2f}) {row['decision']}"
        for row in results["recorded"]
        if row["predicted"] is not None
    ]
    return "\n".join([*lines, *results["notes"]])


_WITHOUT_TIME = tuple(key for key in COLUMNS if key != "milliseconds")


def _by_part(outcomes: Sequence[Outcome]) -> dict[tuple[str, str, str], list[Outcome]]:
    """Return outcomes by (data set, part, method); parts are the first scenarios, later ones, later hard ones."""
    parts: dict[tuple[str, str, str], list[Outcome]] = {}
    for o in outcomes:
        later = "hard" if is_hard(o.data_set, o.seed) else "later"
        part = later if o.seed >= HARD_FROM[o.data_set] else "first"
        parts.setdefault((o.data_set, part, o.method), []).append(o)
    return parts


def _write(out: Path, results: dict[str, Any], outcomes: Sequence[Outcome]) -> None:
    with (out / "decisions-summary.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["data_set", "method", *COLUMNS])
        for data_set, methods in results["data_sets"].items():
            for name, figures in methods.items():
                writer.writerow([data_set, name, *(_rounded(figures[key]) for key in COLUMNS)])
    with (out / "decisions-parts.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["data_set", "part", "method", *_WITHOUT_TIME])
        for (data_set, part, name), chosen in _by_part(outcomes).items():
            figures = summary(chosen)
            writer.writerow([data_set, part, name, *(_rounded(figures[key]) for key in _WITHOUT_TIME)])
    with (out / "decisions-cases.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["data_set", "scenario", "method", "decision", "extra_rounds", "final", "best", "regret"])
        for o in outcomes:
            if not o.method.startswith(CASE_BY_CASE):
                continue
            numbers = (_rounded(o.final), _rounded(o.best), _rounded(o.regret))
            writer.writerow([o.data_set, o.case, o.method, o.decision, o.extra_rounds, *numbers])
    with (out / "decisions-recorded.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["run", "method", "future", "predicted", "happened", "error", "decision"])
        for row in results["recorded"]:
            numbers = (_rounded(row["predicted"]), row["happened"], _rounded(row["error"]))
            writer.writerow([row["run"], row["method"], row["future"], *numbers, row["decision"]])
    _draw(results).savefig(out / "decisions.png", dpi=80)


def _rounded(value: float | None) -> float | str:
    return "" if value is None else round(value, 3)


def _draw(results: dict[str, Any]) -> Any:
    """Return the picture: share of right decisions and mean regret by method, one row of panels for each data set."""
    from matplotlib.figure import Figure

    sets = list(results["data_sets"])
    figure = Figure(figsize=(10, 3.4 * max(len(sets), 1)), layout="constrained")
    panels = figure.subplots(max(len(sets), 1), 2, squeeze=False)
    for row, data_set in zip(panels, sets, strict=False):
        methods = results["data_sets"][data_set]
        names = list(methods)[::-1]
        colours = ["tab:green" if name.startswith("default") else "tab:gray" for name in names]
        for panel, key, title, target in (
            (row[0], "right", "right decisions", 0.85),
            (row[1], "mean_regret", "mean regret (points)", 0.5),
        ):
            panel.barh(names, [methods[name][key] for name in names], color=colours)
            panel.axvline(target, color="tab:red", linewidth=1, linestyle="--")
            panel.set_title(f"{data_set}: {title}", fontsize=10)
            panel.tick_params(labelsize=8)
        row[1].set_yticklabels([])
    return figure
