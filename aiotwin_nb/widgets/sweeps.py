"""Pictures of a sweep: how runs ended over the grid's values, and their curves; small multiples, seeds as spread.

Pure functions that return a matplotlib Figure whose label describes it: no pyplot, no global state.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from aiotwin_nb.sweep import Outcome, Sweep
from aiotwin_nb.sweep.cells import shown
from aiotwin_nb.widgets.figures import BLUE, GREEN, GREY, INK, ORANGE, SKY, VERMILION

_MOST_COLUMNS, _MOST_ROWS, _MOST_PANELS = 5, 6, 12
_NAMES = {"final_accuracy": "final accuracy (%)", "rounds": "rounds", "total_cost": "spent (cost units)"}
# What a decision is drawn with: colour and hatch of bars, colour and style of lines.
_STYLES = {
    "kept": (GREEN, "", "-"),
    "reverted": (VERMILION, "///", "--"),
    "forced": (SKY, "...", "-."),
    "refused": (ORANGE, "xxx", ":"),
}
_OTHER = (GREY, "\\\\\\", ":")
_KEY = (
    Line2D([], [], linestyle="", marker="o", markerfacecolor="none", markeredgecolor=GREY, label="a run"),
    Line2D([], [], linestyle="", marker="D", color=BLUE, label="mean"),
    Line2D([], [], linewidth=2, alpha=0.5, color=BLUE, label="range"),
)

Group = list[Outcome]


def draw_sweep(sweep: Sweep) -> Figure:
    """How runs ended: a row of panels for each measure, along the first key's values, a column for the other keys'.

    Circles are runs (seeds), diamonds their means, bars go from the least to the most; means of numbers are
    joined. For scenarios the last row counts decisions.
    """
    columns = list(_grouped(sweep.outcomes, sweep.keys[1:]).items())
    measures = sweep.measures()[:_MOST_ROWS]
    rows = [*measures, *(["decisions"] if sweep.runtime else [])]
    drawn = columns[:_MOST_COLUMNS]
    figure = _figure(2.2 + 3.2 * len(drawn), 1.0 + 1.9 * len(rows))
    panels = figure.subplots(max(len(rows), 1), len(drawn), squeeze=False, sharey="row", sharex=True)
    table = sweep.runs()
    for place, (title, outcomes) in enumerate(drawn):
        groups = _grouped(outcomes, sweep.keys[:1], named=False)
        for line, name in enumerate(rows):
            axes = panels[line][place]
            if name == "decisions":
                _bars(axes, list(groups.values()))
            else:
                ordered = all(isinstance(o.cell.values[key], int | float) for o in outcomes for key in sweep.keys[:1])
                _points(axes, [_values(table, group, name) for group in groups.values()], joined=ordered)
            if place == 0:
                axes.set_ylabel(_NAMES.get(name, name), fontsize=9.5)
            _tidy(axes, list(groups))
        panels[0][place].set_title(title, fontsize=10, color=INK)
        panels[-1][place].set_xlabel(sweep.keys[0] if sweep.keys else "", fontsize=9.5)
    _entitle(figure, sweep, len(columns) - len(drawn))
    figure.legend(handles=_KEY, loc="outside upper right", ncols=len(_KEY), frameon=False, fontsize=9)
    figure.set_label(_described(sweep))
    return figure


def draw_curves(sweep: Sweep) -> Figure:
    """Accuracy over spent cost: a panel for each combination of values, a line for each seed.

    The line's colour and style say what was decided about the first reconfiguration; it begins to apply at the dot.
    """
    groups = list(_grouped(sweep.outcomes, sweep.keys).items())
    drawn = groups[:_MOST_PANELS]
    last = len({shown(o.cell.values[sweep.keys[-1]]) for o in sweep.outcomes}) if len(sweep.keys) > 1 else len(drawn)
    wide = min(last, len(drawn), 4)
    high = math.ceil(len(drawn) / wide)
    figure = _figure(1.6 + 2.8 * wide, 1.3 + 2.3 * high)
    panels = figure.subplots(high, wide, squeeze=False, sharex=True, sharey=True)
    seen: dict[str, Any] = {}
    for axes, (title, group) in zip(panels.flat, drawn, strict=False):
        for outcome in group:
            if outcome.result is not None:
                seen |= _curve(axes, outcome.result)
        axes.set_title(title, fontsize=10, color=INK)
        _grid(axes)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=4))
        _thousands(axes.xaxis)
    for axes in panels.flat[len(drawn) :]:
        axes.set_visible(False)
    for axes in panels.flat[max(len(drawn) - wide, 0) : len(drawn)]:
        axes.tick_params(labelbottom=True)  # also above the empty places of the last row
    for axes in panels[:, 0]:
        axes.set_ylabel("accuracy (%)", fontsize=9.5)
    figure.supxlabel("spent (cost units)", fontsize=9.5)
    if seen:
        figure.legend(seen.values(), seen.keys(), loc="outside upper right", ncols=len(seen), frameon=False, fontsize=9)
    _entitle(figure, sweep, len(groups) - len(drawn))
    figure.set_label(
        f"Accuracy over spent cost, a panel for each combination, a line for each seed. {_described(sweep)}"
    )
    return figure


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def _grouped(outcomes: Sequence[Outcome], keys: Sequence[str], *, named: bool = True) -> dict[str, Group]:
    """Outcomes by the values that they have for some keys, as titles: `key = value` lines, or the values alone."""
    groups: dict[str, Group] = {}
    for outcome in outcomes:
        words = [f"{key} = " * named + shown(outcome.cell.values[key]) for key in keys]
        groups.setdefault("\n".join(words), []).append(outcome)
    return groups


def _values(table: Any, group: Group, name: str) -> list[float]:
    """A measure of the runs of a group that finished."""
    chosen = []
    for outcome in group:
        rows = table
        for key, value in outcome.cell.values.items():
            rows = rows[rows[key].map(shown) == shown(value)]
        chosen += [float(v) for v in rows[name].dropna()]
    return chosen


def _points(axes: Axes, groups: Sequence[Sequence[float]], *, joined: bool) -> None:
    places, means = [], []
    for place, values in enumerate(groups):
        if not values:
            axes.text(
                place, 0.5, "no result", transform=axes.get_xaxis_transform(), ha="center", color=GREY, fontsize=9
            )
            continue
        mean = sum(values) / len(values)
        jitter = [place + 0.2 * ((i + 0.5) / len(values) - 0.5) for i in range(len(values))]
        axes.plot([place, place], [min(values), max(values)], color=BLUE, linewidth=2, alpha=0.5)
        axes.plot(jitter, values, "o", markersize=4.5, markerfacecolor="none", markeredgecolor=GREY)
        places.append(place)
        means.append(mean)
    axes.plot(places, means, "D-" if joined else "D", color=BLUE, markersize=5.5, linewidth=1.2)
    axes.margins(y=0.18)
    _thousands(axes.yaxis)


def _bars(axes: Axes, groups: Sequence[Group]) -> None:
    """Counts of decisions, stacked; the count and the decision stand in the bar."""
    for place, group in enumerate(groups):
        decisions = [r["decision"] for o in group if o.result for r in o.result["reconfigurations"]]
        bottom = 0
        for decision in sorted(set(decisions)):
            count = decisions.count(decision)
            colour, hatch, _ = _STYLES.get(decision, _OTHER)
            axes.bar(
                place, count, bottom=bottom, width=0.6, color="white", edgecolor=colour, hatch=hatch, linewidth=1.8
            )
            text = f"{count} {decision.replace('_', ' ')}"
            blank = {"facecolor": "white", "edgecolor": "none", "pad": 1.0}
            axes.text(place, bottom + count / 2, text, ha="center", va="center", fontsize=8.5, color=INK, bbox=blank)
            bottom += count
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))


def _curve(axes: Axes, summary: Any) -> dict[str, Any]:
    """One run's line; returns its entry for the legend."""
    history, records = summary["history"], summary["reconfigurations"]
    decision = records[0]["decision"] if records else "no change"
    colour, _, style = _STYLES.get(decision, _OTHER)
    spent, accuracy = [row["total_cost"] for row in history], [row["accuracy"] for row in history]
    (line,) = axes.plot(spent, accuracy, linestyle=style, color=colour, linewidth=1.1, alpha=0.8)
    for row in history:
        if records and row["round"] == records[0]["after_round"]:
            axes.plot(row["total_cost"], row["accuracy"], "o", color=colour, markersize=4)
    return {decision.replace("_", " "): line}


def _tidy(axes: Axes, titles: Sequence[str]) -> None:
    axes.set_xticks(range(len(titles)), [_shortened(title) for title in titles], fontsize=9)
    if max(map(len, titles), default=0) > 9 and len(titles) > 3:
        axes.tick_params(axis="x", rotation=30)
    axes.set_xlim(-0.6, len(titles) - 0.4)
    _grid(axes)


def _thousands(axis: Any) -> None:
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"))


def _grid(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#E5E5E5", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=9)


def _entitle(figure: Figure, sweep: Sweep, left_out: int) -> None:
    where = f", runtime {sweep.runtime}" if sweep.runtime else ""
    more = f"; {left_out} more are in results.csv" if left_out else ""
    figure.suptitle(f"{sweep.source}{where}{more}", fontsize=11.5, color=INK, x=0.02, ha="left")


def _described(sweep: Sweep) -> str:
    """One sentence a combination, for those who do not see the picture."""
    name = (sweep.measures() or [""])[0]
    parts = []
    for row in sweep.summary()[:_MOST_PANELS]:
        where = ", ".join(f"{key} {row[key]}" for key in sweep.keys) or "all runs"
        spread = row.get(name)
        said = (
            "no result"
            if spread is None
            else f"mean {spread['mean']:.4g}, {spread['least']:.4g} to {spread['most']:.4g}"
        )
        decided = ", ".join(f"{n} {word}" for word, n in row.get("decisions", {}).items())
        parts.append(f"{where}: {said}" + (f", {decided}" if decided else ""))
    what = _NAMES.get(name, name)
    return f"Sweep of {sweep.source}; {what} over seeds: {'; '.join(parts)}."


def _shortened(text: str, most: int = 18) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
