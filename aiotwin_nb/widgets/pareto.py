"""The picture of `aiotwin plan --strategies`: cost against imbalance, with the Pareto front.

A pure function that returns a matplotlib Figure: no pyplot, no global state, nothing is shown or saved here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

BLUE, VERMILION, GREY, INK = "#0072B2", "#D55E00", "#6B6B6B", "#1A1A1A"  # Okabe and Ito's, safe for colour-blind eyes


def draw_pareto(
    comparison: Mapping[str, Any], title: str = "Cost against imbalance", *, size: tuple[float, float] = (8, 5)
) -> Figure:
    """Draw what `aiotwin plan --strategies … --json` prints: one mark a strategy, the front as a line.

    Strategies without a plan or without known labels are left out and named below the picture. `size`: inches.
    """
    rows = [row for row in comparison["strategies"] if "error" not in row and row["imbalance"] is not None]
    absent = [row["name"] for row in comparison["strategies"] if row not in rows]
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    front = sorted((row for row in rows if row["pareto"]), key=lambda row: (row["round_cost"], -row["imbalance"]))
    axes.step(
        [row["round_cost"] for row in front],
        [row["imbalance"] for row in front],
        where="post", color=BLUE, linewidth=1.5, label="Pareto front: no plan is better in both",
    )  # fmt: skip
    for label, marker, colour, chosen in (
        ("on the front", "o", BLUE, [row for row in rows if row["pareto"]]),
        ("worse in both than another", "X", VERMILION, [row for row in rows if not row["pareto"]]),
    ):
        points = [row["round_cost"] for row in chosen], [row["imbalance"] for row in chosen]
        axes.scatter(*points, marker=marker, color=colour, s=60, zorder=3, label=label)
    fronts = {(row["round_cost"], round(row["imbalance"], 9)) for row in front}
    for place, names in _names(rows).items():
        above = place not in fronts  # the front's names hang to the right of its corners, the others stand above
        axes.annotate(
            fill(", ".join(names), int(5.5 * size[0])), place, textcoords="offset points",
            xytext=(0, 9) if above else (8, 5), ha="center" if above else "left", color=INK, fontsize=9.5,
        )  # fmt: skip
    axes.margins(x=0.18, y=0.14)
    axes.set(title=title, xlabel=f"cost of a round, Ψ_gr ({comparison.get('unit', 'cost units')})")
    axes.set_ylabel("imbalance: mean KL of the clusters (nats)")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#E5E5E5", linewidth=0.7)
    axes.legend(frameon=False, loc="best", fontsize=9.5)
    if absent:
        figure.supxlabel(f"without a place here: {', '.join(absent)}", fontsize=9, color=GREY)
    figure.set_label(_description(rows, front))
    return figure


def _names(rows: Sequence[Mapping[str, Any]]) -> dict[tuple[float, float], list[str]]:
    """Names by place: strategies with the same plan share one label."""
    places: dict[tuple[float, float], list[str]] = {}
    for row in rows:
        places.setdefault((row["round_cost"], round(row["imbalance"], 9)), []).append(row["name"])
    return places


def _description(rows: Sequence[Mapping[str, Any]], front: Sequence[Mapping[str, Any]]) -> str:
    best = ", ".join(f"{r['name']} (cost {r['round_cost']:,}, imbalance {r['imbalance']:.3f})" for r in front)
    return f"Cost of a round against imbalance for {len(rows)} strategies; on the Pareto front: {best or 'none'}."
