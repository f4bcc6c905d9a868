"""Quality of service over time: share within the bound, latency, accuracy, and which policy was in force."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from aiotwin_nb.widgets.figures import BLUE, GREY, INK, ORANGE, PALE, SKY, SMALL, VERMILION, blank_figure

Row = dict[str, Any]
SHOWN = 120  # windows


def quality_words(rows: Sequence[Row]) -> str:
    """The last window in words, and the mean of what is drawn."""
    shares = [row["inference/qos_share"] for row in rows[-SHOWN:] if "inference/qos_share" in row]
    if not shares:
        return "No requests yet."
    mean = 100 * sum(shares) / len(shares)
    words = f"{100 * shares[-1]:.0f} % in time in the last window, {mean:.0f} % on average of {len(shares)}"
    accuracy = [row["inference/accuracy"] for row in rows if "inference/accuracy" in row]
    return words + (f"; accuracy {accuracy[-1]:.0f} %." if accuracy else ".")


def quality_by_policy(rows: Iterable[Row]) -> dict[str, float]:
    """Share within the bound under each policy that was in force, requests counted alike; in percent."""
    kept: dict[str, list[float]] = {}
    for row in rows:
        if "inference/qos_share" in row:
            total = kept.setdefault(row["policy"], [0.0, 0.0])
            total[0] += row["inference/qos_share"] * row["inference/requests"]
            total[1] += row["inference/requests"]
    return {policy: 100 * within / requests for policy, (within, requests) in kept.items() if requests}


def draw_quality(rows: Sequence[Row], bound_ms: float, events: Sequence[tuple[int, str]] = ()) -> Figure:
    """Draw the last windows.

    Args:
        rows: one per window, as `Site.rows` gives them
        bound_ms: the service's
        events: (window, words) of what was done to the continuum
    """
    rows = list(rows)[-SHOWN:]
    first = rows[0]["round"] if rows else 0
    events = [event for event in events if event[0] >= first]
    with_accuracy = any("inference/accuracy" in row for row in rows)
    figure = blank_figure(9.4, 4.6 if with_accuracy else 3.3, quality_words(rows))
    plots = figure.subplots(3 if with_accuracy else 2, 1, sharex=True)
    _share(plots[0], rows)
    _latency(plots[1], rows, bound_ms)
    if with_accuracy:
        _accuracy(plots[2], rows)
    for plot in plots:
        plot.grid(alpha=0.3)
        plot.tick_params(labelsize=SMALL - 1)
        for window, _ in events:
            plot.axvline(window, color=GREY, linestyle=":", linewidth=1)
    for k, (window, words) in enumerate(events):
        plots[0].text(window, 104 + 9 * (k % 2), f" {words}", fontsize=SMALL - 2, color=INK, va="bottom", clip_on=False)
    plots[-1].set_xlabel("window", fontsize=SMALL)
    plots[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.subplots_adjust(left=0.09, right=0.985, top=0.86, bottom=0.15 if not with_accuracy else 0.11, hspace=0.22)
    return figure


def _share(axes: Axes, rows: Sequence[Row]) -> None:
    known = [row for row in rows if "inference/qos_share" in row]
    axes.plot([r["round"] for r in known], [100 * r["inference/qos_share"] for r in known], color=BLUE, linewidth=2)
    shades = (PALE[BLUE], PALE[ORANGE])
    for k, (policy, part) in enumerate(groupby(rows, key=lambda row: row["policy"])):
        windows = [row["round"] for row in part]
        axes.axvspan(windows[0] - 0.5, windows[-1] + 0.5, color=shades[k % 2], alpha=0.45, linewidth=0)
        axes.text(windows[0], 4, policy, fontsize=SMALL - 1, color=INK)
    axes.set_ylim(0, 102)
    axes.set_ylabel("in time (%)", fontsize=SMALL)


def _latency(axes: Axes, rows: Sequence[Row], bound_ms: float) -> None:
    for name, colour, dashes in (("p50", BLUE, "-"), ("p95", SKY, "--"), ("p99", ORANGE, "-.")):
        known = [row for row in rows if f"inference/{name}_ms" in row]
        axes.plot(
            [r["round"] for r in known],
            [r[f"inference/{name}_ms"] for r in known],
            color=colour,
            linestyle=dashes,
            label=name,
        )
    axes.axhline(bound_ms, color=VERMILION, linewidth=1.2, label=f"bound {bound_ms:g} ms")
    axes.set_yscale("log")
    axes.set_ylabel("latency (ms)", fontsize=SMALL)
    axes.legend(loc="upper left", ncols=4, fontsize=SMALL - 2, frameon=False)


def _accuracy(axes: Axes, rows: Sequence[Row]) -> None:
    known = [row for row in rows if "inference/accuracy" in row]
    windows = [row["round"] for row in known]
    low, high = ([row[f"inference/accuracy_{end}"] for row in known] for end in ("low", "high"))
    axes.fill_between(windows, low, high, color=PALE[BLUE], linewidth=0)
    axes.plot(windows, [row["inference/accuracy"] for row in known], color=BLUE, marker="o", markersize=3)
    axes.set_ylim(0, 102)
    axes.set_ylabel("accuracy (%)", fontsize=SMALL)
