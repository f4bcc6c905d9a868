"""Figures that teach: pure functions that return a matplotlib Figure whose label says its numbers.

They complement `figures` (topology, data, a run, a decision), all importable from here. White paper and dark ink,
so that they print and stay readable on a dark page; colours are Okabe and Ito's, and what colour says, hatches, dashes
or words say too. In a notebook `Picture(draw_…(…))` shows one with its alternative text.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from aiotwin_nb import api
from aiotwin_nb.continuum import Infrastructure
from aiotwin_nb.orchestration.replay import plan_along_events
from aiotwin_nb.orchestration.state import Rules
from aiotwin_nb.planning.balance import divergence, label_counts
from aiotwin_nb.planning.tiers import Tiers, tiers_of
from aiotwin_nb.scenario import Scenario, number
from aiotwin_nb.sweep import Outcome, Sweep
from aiotwin_nb.sweep.cells import shown
from aiotwin_nb.widgets.figures import (
    BLUE,
    GREEN,
    GREY,
    INK,
    LARGE,
    LEGEND,
    NORMAL,
    ORANGE,
    PALE,
    SKY,
    SMALL,
    VERMILION,
    Picture,
    alt_text,
    blank_figure,
    draw_accuracy,
    draw_data,
    draw_decision,
    draw_heat,
    draw_run,
    draw_topology,
)
from aiotwin_nb.widgets.futures import Summary, chosen, futures_of
from aiotwin_nb.widgets.pareto import draw_pareto

__all__ = [
    "Picture",
    "draw_clusters",
    "draw_cost_tiers",
    "draw_data",
    "draw_decision",
    "draw_futures",
    "draw_pareto",
    "draw_run",
    "draw_seeds",
    "draw_spending",
    "draw_topology",
]

Clusters = Mapping[str, Sequence[str]]
_BOX = {"facecolor": "white", "edgecolor": "none", "pad": 1.0}


# Accuracy over cost, with both futures.


def draw_futures(summary: Summary, other: Summary | None = None, *, decision: int | None = None) -> Figure:
    """Accuracy over spent cost with both predicted futures of one decision, and the road not taken as it really went.

    `summary`: a run's; `other`: the summary of the same run with the other decision, or None. `decision`: an index into
    `reconfigurations`, by default the last that was validated.
    """
    record = chosen(summary, decision)
    futures = [] if record is None else futures_of(summary, record)
    figure = blank_figure(9, 5.4, alt_text(summary).replace("over rounds and ", "") + _road_words(other))
    axes = figure.add_axes((0.08, 0.3, 0.895, 0.66))
    past = {row["round"]: row["total_cost"] for row in summary["history"]}
    draw_accuracy(axes, summary, futures, past, by_cost=True)
    if other is not None and record is not None:
        rows = [row for row in other["history"] if row["round"] >= record["after_round"]]
        style: dict[str, Any] = {"color": GREY, "lw": 1.8, "ls": (0, (1, 1.2)), "zorder": 2}
        label = f"the road not taken, run afterwards: {other['final_accuracy']:.1f} % at its end"
        axes.plot([row["total_cost"] for row in rows], [row["accuracy"] for row in rows], label=label, **style)
    axes.set_ylabel("accuracy on the test set (%)", size=NORMAL)
    handles, names = axes.get_legend_handles_labels()
    figure.legend(handles, names, loc="lower left", bbox_to_anchor=(0.07, 0.0), ncols=1, **LEGEND)
    return figure


def _road_words(other: Summary | None) -> str:
    if other is None:
        return ""
    return f" The road not taken, run afterwards, ended at {other['final_accuracy']:.1f} % in {other['rounds']} rounds."


# Clusters: a heat map of labels.


def draw_clusters(source: Scenario | Infrastructure, clusters: Clusters) -> Figure:
    """Samples of every label that each cluster trains on, and how far its mix is from everybody's (KL, nats).

    `clusters`: {aggregator: clients}. The mean of the last column is what strategies call imbalance.
    """
    infrastructure = _with_arrivals(source) if isinstance(source, Scenario) else source
    clients = [client for members in clusters.values() for client in members]
    labels = sorted({label for node in infrastructure.nodes.values() for label in node.data})
    if not labels or any(not infrastructure.nodes[client].data for client in clients):
        text = "The task divides the data itself, so nothing is known of the clusters' labels."
        figure = blank_figure(8, 1, text)
        figure.text(0.5, 0.5, text, size=NORMAL, color=INK, ha="center", va="center")
        return figure
    counts = [label_counts(infrastructure, members).sum(axis=0) for members in clusters.values()]
    far = [float(divergence(row, sum(counts))) for row in counts]
    mean = sum(far) / len(far)
    parts = (
        f"{name} ({', '.join(members)}): "
        + ", ".join(f"{int(count)} of label {label}" for label, count in zip(labels, row, strict=True) if count)
        + f", KL {kl:.2f}"
        for (name, members), row, kl in zip(clusters.items(), counts, far, strict=True)
    )
    words = f"Samples per cluster and label: {'; '.join(parts)}. Mean KL (imbalance): {mean:.3f} nats."
    names = [f"{name}: {_some(members)}" for name, members in clusters.items()]
    left, cell = 0.5 + 0.078 * max(map(len, names)), max(0.4, 0.52 - 0.01 * len(labels))
    width, height = left + cell * len(labels) + 1.35, 0.42 * len(counts) + 1.5
    figure = blank_figure(width, height, words)
    place = (left / width, 0.65 / height, cell * len(labels) / width, 0.42 * len(counts) / height)
    axes = figure.add_axes(place)
    draw_heat(axes, [[float(count) for count in row] for row in counts], labels)
    axes.set_yticks(range(len(names)), names, size=SMALL)
    right = (left + cell * len(labels) + 0.65) / width
    top = (0.65 + 0.42 * len(counts)) / height
    figure.text(right, top + 0.12 / height, "KL (nats)", size=SMALL, color=INK, ha="center")
    for row, kl in enumerate(far):
        y = top - 0.42 * (row + 0.5) / height
        figure.text(right, y, f"{kl:.2f}", size=NORMAL, color=INK, ha="center", va="center")
    figure.text(right, 0.34 / height, f"mean {mean:.3f}", size=SMALL, color=INK, ha="center", weight="bold")
    title = "What each cluster trains on: samples per label"
    figure.text(0.2 / width, 1 - 0.3 / height, title, size=LARGE, weight="bold", color=INK, va="center")
    return figure


def _some(members: Sequence[str]) -> str:
    return ", ".join(members) if len(members) <= 4 else f"{members[0]} … {members[-1]}, {len(members)} clients"


def _with_arrivals(scenario: Scenario) -> Infrastructure:
    """Everybody who is there at some time: a node that leaves stays, one that comes is there."""
    nodes = dict(scenario.infrastructure.nodes)
    for change in scenario.changes().values():
        nodes |= {node.id: node for node in change.added if node.id not in nodes}
    return Infrastructure.of(nodes.values())


# Costs: who they are paid for.

_TIERS = (
    ("clients ↔ aggregators, L times a round", GREEN, ""),
    ("local aggregators ↔ global aggregator", BLUE, "///"),
)
_ONCE = ("the change itself, Ψ_rc, once", ORANGE, "xxx")
_BACK = ("going back, once", VERMILION, "...")
_UNSPLIT = ("rounds", SKY, "")


def draw_cost_tiers(scenario: Scenario, configurations: Mapping[str, Clusters] | None = None) -> Figure:
    """What a round costs, Ψ_gr, by tier: a bar for each configuration, and one for each scripted change, paid once.

    `configurations`: {name: {aggregator: clients}}, all on the scenario's nodes at the start; by default what is
    planned at the start and after every event. A cost model that is no sum over links gives undivided bars.
    """
    rules = api.rules(scenario)
    unit = rules.cost_model.unit
    if configurations is None:
        bars = _planned_bars(scenario)
    else:
        bars = [(name, _split(*_cost_of(rules, clusters))) for name, clusters in configurations.items()]
    words = "; ".join(f"{name}: {_bar_words(parts)}" for name, parts in bars)
    return _draw_bars(bars, f"Cost by tier in {unit}", f"Cost of a round by tier, in {unit}: {words}.", unit)


def draw_spending(summary: Summary, scenario: Scenario) -> Figure:
    """What a run's budget went on: the two tiers of all its rounds, changes and ways back.

    `scenario`: the run's own (`Run.scenario`); a round on nodes that it does not know is not divided into tiers.
    """
    rules = api.rules(scenario)
    spent: dict[Part, float] = {}
    clusters = {row["round"]: row["clusters"] for row in summary["history"]}
    for entry in summary["ledger"]:
        if entry["kind"] == "round":
            request = rules.request(_present(scenario, entry["round"]), None)
            tiers = _tiers_or_none(request, clusters.get(entry["round"]))
            parts = _split(tiers, entry["cost"])
        else:
            parts = {_ONCE if entry["kind"] == "change" else _BACK: entry["cost"]}
        for part, cost in parts.items():
            spent[part] = spent.get(part, 0) + cost
    unit, total = rules.cost_model.unit, sum(spent.values())
    left = None if summary["budget"] is None else summary["budget"] - total
    bars = [("spent", {part: cost for part, cost in spent.items() if cost})]
    budget = "" if left is None else f"; {left:,} of {summary['budget']:,} were left"
    words = f"What {total:,} {unit} were spent on: {_bar_words(bars[0][1])}{budget}."
    title = f"What {summary['scenario']}, seed {summary['seed']}, spent its budget on"
    return _draw_bars(bars, title, words, unit, summary["budget"])


Part = tuple[str, str, str]  # words, colour, hatch
Bars = list[tuple[str, dict[Part, Any]]]


def _planned_bars(scenario: Scenario) -> Bars:
    rules = api.rules(scenario)
    planned = plan_along_events(rules)
    infrastructure, initial = scenario.infrastructure, planned["initial"]
    first = _tiers_or_none(rules.request(infrastructure, None), initial["clusters"])
    bars: Bars = [("a round at the start", _split(first, initial["round_cost"]))]
    for record in planned["reconfigurations"]:
        after_round = record["after_round"]
        request = rules.request(_present(scenario, after_round + 1), None)
        tiers = _tiers_or_none(request, record["clusters"])
        if record["change_cost"]:
            bars.append((f"the change after round {after_round}", {_ONCE: record["change_cost"]}))
        bars.append((f"a round after round {after_round}", _split(tiers, record["round_cost_after"])))
    return bars


def _cost_of(rules: Rules, clusters: Clusters) -> tuple[Tiers | None, Any]:
    """A round of these clusters at the scenario's start, by tier and as a whole."""
    infrastructure = rules.scenario.infrastructure
    request = rules.request(infrastructure, None)
    flat = infrastructure.global_aggregator in clusters
    parents = {client: aggregator for aggregator, members in clusters.items() for client in members}
    configuration = request.flat() if flat else request.hierarchical(parents)
    return _tiers_or_none(request, clusters), number(rules.cost_model.round_cost(infrastructure, configuration))


def _present(scenario: Scenario, round_: int) -> Infrastructure:
    """The infrastructure in which a round runs, as scripted; nodes that are to leave or came stay known."""
    infrastructure = scenario.infrastructure
    for after_round, change in scenario.changes().items():
        if after_round < round_:
            infrastructure = infrastructure.apply(change)
    return infrastructure


def _tiers_or_none(request: Any, clusters: Clusters | None) -> Tiers | None:
    if clusters is None or any(c not in request.infrastructure.nodes for m in clusters.values() for c in m):
        return None
    return tiers_of(request, clusters) if request.cost_model.additive else None


def _split(tiers: Tiers | None, total: Any) -> dict[Part, Any]:
    """A round's cost by tier; undivided where that is not known, or does not add up (a strategy with an own L)."""
    if tiers is None or number(tiers.total) != total:
        return {_UNSPLIT: total}
    parts = dict(zip(_TIERS, (number(tiers.clients), number(tiers.aggregators)), strict=True))
    return {part: cost for part, cost in parts.items() if cost}


def _bar_words(parts: Mapping[Part, Any]) -> str:
    return " and ".join(f"{cost:,} for {part[0]}" for part, cost in parts.items())


def _draw_bars(bars: Bars, title: str, words: str, unit: str, budget: Any = None) -> Figure:
    left, height = 0.45 + 0.085 * max(len(name) for name, _ in bars), 0.55 * len(bars) + 1.95
    figure = blank_figure(9.5, height, words)
    axes = figure.add_axes((left / 9.5, 1.15 / height, 0.955 - left / 9.5, 0.55 * len(bars) / height))
    most = max([sum(parts.values()) for _, parts in bars] + [budget or 0])
    for row, (_, parts) in enumerate(bars):
        begin = 0.0
        for part, cost in parts.items():
            label, colour, hatch = part
            face = PALE.get(colour, "white")
            axes.barh(
                row, cost, left=begin, height=0.62, color=face, edgecolor=colour, hatch=hatch, lw=1.6, label=label
            )
            if cost > 0.07 * most:
                place = begin + cost / 2, row
                axes.text(*place, f"{cost:,}", size=SMALL, color=INK, ha="center", va="center", bbox=_BOX)
            begin += cost
        axes.text(begin + 0.012 * most, row, f"{begin:,.10g}", size=NORMAL, weight="bold", color=INK, va="center")
    if budget is not None:
        axes.axvline(budget, color=INK, lw=2, ls=(0, (1, 1)), label=f"budget: {budget:,}")
    axes.set_xlim(0, most * 1.13)
    axes.set_ylim(len(bars) - 0.5, -0.5)
    axes.set_yticks(range(len(bars)), [name for name, _ in bars], size=SMALL)
    axes.set_xlabel(unit, size=NORMAL)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.tick_params(axis="x", labelsize=SMALL)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right"]].set_visible(False)
    handles = {label: handle for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="lower left", bbox_to_anchor=(0.02, 0.0), ncols=2, **LEGEND)
    figure.text(0.03, 1 - 0.3 / height, title, size=LARGE, weight="bold", color=INK, va="center")
    return figure


# Seeds: small multiples.

_LINES = ((GREEN, "-"), (VERMILION, (0, (5, 2))), (BLUE, (0, (5, 1.5, 1, 1.5))), (ORANGE, (0, (1, 1))))
_COLUMNS, _MOST_SEEDS = 5, 20


def draw_seeds(sweep: Sweep) -> Figure:
    """Accuracy over spent cost: a small panel for each seed, a line for each combination of the sweep's values.

    Both roads of a lab are the sweep over `{"validation.policy": ["always_keep", "always_revert"]}`. At most 20 seeds
    and 4 combinations are drawn; the label tells how each seed ended.
    """
    panels = _by_seed(sweep)
    drawn = dict(list(panels.items())[:_MOST_SEEDS])
    wide = min(len(drawn), _COLUMNS) or 1
    high = math.ceil(len(drawn) / wide) or 1
    size = max(1.2 + 1.9 * wide, 6), 1.75 + 1.6 * high
    figure = blank_figure(*size, _seeds_words(sweep, panels))
    grid = figure.subplots(high, wide, squeeze=False, sharex=True, sharey=True)
    figure.subplots_adjust(
        left=0.7 / size[0], right=1 - 0.2 / size[0], top=1 - 0.85 / size[1], bottom=0.92 / size[1], wspace=0.08,
        hspace=0.3,
    )  # fmt: skip
    handles: dict[str, Any] = {}
    for axes, (seed, outcomes) in zip(grid.flat, drawn.items(), strict=False):
        for (name, outcome), (colour, style) in zip(outcomes.items(), _LINES, strict=False):
            history = outcome.result["history"] if outcome.result else []
            x, y = [row["total_cost"] for row in history], [row["accuracy"] for row in history]
            (handles[name],) = axes.plot(x, y, color=colour, ls=style, lw=1.5)
        axes.set_title(f"seed {seed}: {_ends(outcomes)}", size=SMALL, color=INK)
        axes.set_ylim(0, 104)
        axes.tick_params(labelsize=8.5)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value / 1000:g}k" if value else "0")
        axes.grid(color="#E5E5E5", lw=0.7)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in grid.flat[len(drawn) :]:
        axes.set_visible(False)
    for axes in grid.flat[max(len(drawn) - wide, 0) : len(drawn)]:
        axes.tick_params(labelbottom=True)
    title = f"{sweep.source}: accuracy (%) over spent cost, final accuracy per seed"
    figure.text(0.2 / size[0], 1 - 0.3 / size[1], title, size=LARGE, weight="bold", color=INK, va="center")
    figure.text(0.5, 0.48 / size[1], "spent (cost units)", size=NORMAL, color=INK, ha="center")
    figure.legend(handles.values(), handles.keys(), loc="lower left", bbox_to_anchor=(0.02, 0), ncols=4, **LEGEND)
    return figure


def _by_seed(sweep: Sweep) -> dict[int, dict[str, Outcome]]:
    found: dict[int, dict[str, Outcome]] = {}
    for outcome in sweep.outcomes:
        values = outcome.cell.values
        name = ", ".join(f"{key} {shown(values[key])}" for key in sweep.keys) or "run"
        found.setdefault(values["seed"], {})[name] = outcome
    return found


def _ends(outcomes: Mapping[str, Outcome]) -> str:
    ends = ["failed" if o.result is None else f"{o.result['final_accuracy']:.1f}" for o in outcomes.values()]
    return " / ".join(ends[: len(_LINES)])


def _seeds_words(sweep: Sweep, panels: Mapping[int, Mapping[str, Outcome]]) -> str:
    names = " / ".join(next(iter(panels.values()), {}))
    ends = "; ".join(f"seed {seed}: {_ends(outcomes)}" for seed, outcomes in panels.items())
    return f"Accuracy over spent cost of {sweep.source}, a panel a seed. Final accuracy in percent of {names}: {ends}."
