"""Static pictures of a scenario and of a run: pure functions that return a matplotlib Figure.

Object-oriented matplotlib only: no pyplot, no global state, nothing is shown or saved here. Every figure carries a
one-sentence description as its label; `Picture` shows a figure in a notebook with that description as alternative text.
Colours are Okabe and Ito's, which stay apart for colour-blind eyes; what colour says, shape or text says too.
"""

from __future__ import annotations

import base64
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from io import BytesIO
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyBboxPatch

from aiotwin_nb.continuum import Infrastructure, Node, Role, natural_sorted
from aiotwin_nb.planning.configuration import Configuration
from aiotwin_nb.scenario import Scenario, number
from aiotwin_nb.widgets.futures import (
    Future,
    Mark,
    Record,
    Summary,
    change_words,
    chosen,
    clip,
    decision_words,
    futures_of,
    marks_of,
)

BLUE, ORANGE, GREEN, VERMILION, SKY, GREY, INK = (
    "#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#6B6B6B", "#1A1A1A",
)  # fmt: skip
PALE = {BLUE: "#D9EAF5", ORANGE: "#FCEBC8", GREEN: "#D5EFE6", GREY: "#EFEFEF"}
SMALL, NORMAL, LARGE = 9.5, 10.5, 12.5
_BLANK = {"boxstyle": "round,pad=0.12", "facecolor": "white", "edgecolor": "none"}
_BLUES = LinearSegmentedColormap.from_list("blues", ["#FFFFFF", "#BBD9EC", BLUE, "#003E63"])


class Picture:
    """A figure as a notebook shows it: a PNG with alternative text.

    JupyterLab drops a PNG's alternative text but not an HTML image's, so both are given.
    """

    def __init__(self, figure: Figure, alt: str | None = None, dpi: int = 96) -> None:
        self.png = png(figure, dpi)
        self.alt = alt or str(figure.get_label())

    @property
    def html(self) -> str:
        """The picture as an HTML image that carries its data."""
        data = base64.b64encode(self.png).decode()
        return f'<img alt="{escape(self.alt)}" src="data:image/png;base64,{data}">'

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> tuple[dict[str, str], dict[str, Any]]:
        data = base64.b64encode(self.png).decode()
        return {"image/png": data, "text/html": self.html, "text/plain": self.alt}, {"image/png": {"alt": self.alt}}


def png(figure: Figure, dpi: int = 110) -> bytes:
    """The figure as a PNG file's bytes; equal figures give equal bytes."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    return buffer.getvalue()


def blank_figure(width: float, height: float, description: str) -> Figure:
    """An empty white figure of so many inches; `description` becomes its alternative text."""
    figure = Figure(figsize=(width, height), facecolor="white", layout=None)
    FigureCanvasAgg(figure)
    figure.set_label(description)
    return figure


# Topology: a tree from left to right, one row a client, so that labels never collide however many there are.

_ROW, _CHIP = 0.44, 0.27  # inches
_GA_X, _LA_X, _CLIENT_X, _DATA_X = 0.88, 2.8, 4.9, 5.5
_CHIPS_AT_MOST = 12
_SHORT, _LONGEST = 6, 12  # letters of a node's id that fit in a box, and in the widest one


def draw_topology(
    source: Scenario | Infrastructure,
    clusters: Configuration | Mapping[str, Sequence[str]],
    *,
    joining: Collection[str] | None = None,
    title: str = "",
) -> Figure:
    """Who trains where: GA, LAs and clients with the cost per MB of every link used, and each client's labels.

    `clusters`: a Configuration or {aggregator: clients}. `joining`: nodes to highlight; for a scenario, by default
    those that come by one of its events. Nodes without a part are drawn in grey.
    """
    tree = _Tree.of(source, clusters, joining)
    chips = tree.labels if len(tree.labels) <= _CHIPS_AT_MOST else []
    words = max(len(_data_words(node, chips, tree)) for node in tree.infrastructure.nodes.values())
    width = _DATA_X + _CHIP * len(chips) + 0.4 + 0.082 * words
    height = _ROW * len(tree.rows) + (1.35 if title else 1.0)
    figure = blank_figure(width, height, tree.describe())
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(0, height), frame_on=False, xticks=[], yticks=[])
    top = height - (0.85 if title else 0.5)
    if title:
        axes.text(0.25, height - 0.3, title, size=LARGE, weight="bold", color=INK, va="center")
    _headings(axes, top + 0.12)
    _draw_tree(axes, tree, {row: top - _ROW * (i + 0.65) for i, row in enumerate(tree.rows)}, chips)
    axes.text(0.25, 0.2, "numbers on links: cost per MB", size=SMALL, color=GREY, va="center")
    return figure


@dataclass(frozen=True)
class _Tree:
    """What `draw_topology` draws. `rows`: ids from top to bottom: clients, then nodes without a part."""

    infrastructure: Infrastructure
    parents: Mapping[str, str]
    joining: frozenset[str]
    rows: tuple[str, ...]

    @classmethod
    def of(
        cls,
        source: Scenario | Infrastructure,
        clusters: Configuration | Mapping[str, Sequence[str]],
        joining: Collection[str] | None,
    ) -> _Tree:
        members = clusters.as_dict() if isinstance(clusters, Configuration) else clusters
        parents = {client: aggregator for aggregator, clients in members.items() for client in clients}
        present = source.infrastructure if isinstance(source, Scenario) else source
        coming = [node for node in _arriving(source) if node.id in parents and node.id not in present.nodes]
        infrastructure = Infrastructure.of([*present.nodes.values(), *coming])
        drawn = {*parents, *members, infrastructure.global_aggregator}
        idle = [node_id for node_id in infrastructure.nodes if node_id not in drawn]
        new = frozenset(joining if joining is not None else (node.id for node in coming))
        return cls(infrastructure, parents, new, (*parents, *idle))

    @property
    def used(self) -> list[str]:
        """Local aggregators with clients."""
        ga = self.infrastructure.global_aggregator
        return [aggregator for aggregator in dict.fromkeys(self.parents.values()) if aggregator != ga]

    @property
    def labels(self) -> list[int]:
        return sorted({label for node in self.infrastructure.nodes.values() for label in node.data})

    def describe(self) -> str:
        aggregators = natural_sorted(set(self.parents.values()))
        groups = (f"{a} with {', '.join(c for c in self.parents if self.parents[c] == a)}" for a in aggregators)
        joins = f"; {', '.join(natural_sorted(self.joining))} joins" if self.joining else ""
        ga = self.infrastructure.global_aggregator
        return f"Tree of the nodes: global aggregator {ga}, {' and '.join(groups)}{joins}."


def _arriving(source: Scenario | Infrastructure) -> Iterable[Node]:
    """Nodes that come by a scripted event, the first of each id."""
    if isinstance(source, Scenario):
        found: dict[str, Node] = {}
        for change in source.changes().values():
            for node in change.added:
                found.setdefault(node.id, node)
        yield from found.values()


def _headings(axes: Axes, y: float) -> None:
    for x, text in ((_GA_X, "global aggregator"), (_LA_X, "local aggregators"), (_CLIENT_X, "clients")):
        axes.text(x, y, text, size=SMALL, color=GREY, ha="center", va="center")
    axes.text(_DATA_X, y, "training data", size=SMALL, color=GREY, va="center")


def _draw_tree(axes: Axes, tree: _Tree, y: dict[str, float], chips: Sequence[int]) -> None:
    places = _places(tree, y)
    ga = tree.infrastructure.global_aggregator
    for child, parent in [*((a, ga) for a in tree.used), *tree.parents.items()]:
        start, end = _beside(parent, places[parent], 1), _beside(child, places[child], -1)
        _link(axes, tree.infrastructure.link(child, parent), start, end, child in tree.joining)
    for node_id, place in places.items():
        _node(axes, node_id, place, _colour(tree, node_id))
        if place[0] == _CLIENT_X:
            _data(axes, tree.infrastructure.nodes[node_id], place[1], chips, tree)
        elif node_id in tree.rows:
            axes.text(place[0] + _half_width(node_id) + 0.12, place[1], "not used", size=SMALL, color=GREY, va="center")


def _places(tree: _Tree, y: dict[str, float]) -> dict[str, tuple[float, float]]:
    """Where every node is drawn: rows as given, aggregators in the middle of their clients."""
    clients = set(tree.infrastructure.clients)
    places = {i: (_CLIENT_X if i in clients else _LA_X, y[i]) for i in tree.rows}
    for aggregator in tree.used:
        heights = [y[c] for c, parent in tree.parents.items() if parent == aggregator]
        places[aggregator] = (_LA_X, (heights[0] + heights[-1]) / 2)
    heights = [y[c] for c in tree.parents] or list(y.values()) or [0.8]
    places[tree.infrastructure.global_aggregator] = (_GA_X, (heights[0] + heights[-1]) / 2)
    return places


def _colour(tree: _Tree, node_id: str) -> str:
    if node_id in tree.joining:
        return ORANGE
    if node_id in tree.parents:
        return GREEN
    return GREY if node_id in tree.rows else BLUE


def _link(axes: Axes, cost: Any, start: tuple[float, float], end: tuple[float, float], joining: bool) -> None:
    """A link, its cost near the child's end, where links are a row apart."""
    (x0, y0), (x1, y1) = start, end
    style: Any = (0, (4, 2)) if joining else "-"
    axes.plot([x0, x1], [y0, y1], color=ORANGE if joining else "#A8A8A8", lw=2 if joining else 1.3, ls=style, zorder=1)
    share = 0.42 / (x1 - x0)
    text = "?" if cost is None else f"{number(cost):,}"
    place = x1 + share * (x0 - x1), y1 + share * (y0 - y1)
    axes.text(*place, text, size=SMALL, color=INK, ha="center", va="center", bbox=_BLANK, zorder=2)


def _half_width(node_id: str) -> float:
    """Half of the width of a node's box in inches: all short names have the same."""
    return 0.28 + 0.034 * (min(max(len(node_id), _SHORT), _LONGEST) - _SHORT)


def _beside(node_id: str, place: tuple[float, float], side: int) -> tuple[float, float]:
    """The middle of a node's right (1) or left (-1) edge."""
    return place[0] + side * _half_width(node_id), place[1]


def _node(axes: Axes, node_id: str, place: tuple[float, float], colour: str) -> None:
    x, y = place
    half = _half_width(node_id) - 0.06
    shape = FancyBboxPatch(
        (x - half, y - 0.1), 2 * half, 0.2, boxstyle="round,pad=0.06", facecolor=PALE[colour], edgecolor=colour, lw=1.6,
        zorder=3,
    )  # fmt: skip
    axes.add_patch(shape)
    text = node_id if len(node_id) <= _LONGEST else f"{node_id[: _LONGEST - 1]}…"
    size = NORMAL if len(node_id) <= _SHORT else SMALL - 1
    axes.text(x, y, text, size=size, weight="bold", color=INK, ha="center", va="center_baseline", zorder=4)


def _data(axes: Axes, node: Node, y: float, chips: Sequence[int], tree: _Tree) -> None:
    """A chip per label of the scenario, filled when the client has it, then what else there is to say."""
    colour = _colour(tree, node.id)
    for i, label in enumerate(chips):
        has, x = node.data.get(label, 0) > 0, _DATA_X + _CHIP * i
        face, edge = (PALE[colour], colour) if has else ("white", "#E3E3E3")
        axes.add_patch(FancyBboxPatch((x, y - 0.1), 0.2, 0.2, boxstyle="round,pad=0.01", fc=face, ec=edge, lw=0.9))
        if has:
            axes.text(x + 0.1, y, str(label), size=SMALL, color=INK, ha="center", va="center_baseline")
    words = _data_words(node, chips, tree)
    axes.text(_DATA_X + _CHIP * len(chips) + 0.1, y, words, size=SMALL, color=INK, va="center")


def _data_words(node: Node, chips: Sequence[int], tree: _Tree) -> str:
    """`120 samples, joins`."""
    if not node.data:
        words = ["divided by the task"]
    else:
        words = [f"{node.samples:,} samples" if chips else f"{len(node.data)} labels, {node.samples:,} samples"]
    words += _noise_words(node)
    words += ["joins"] * (node.id in tree.joining) + ["takes no part"] * (node.id not in tree.parents)
    return ", ".join(words)


def _noise_words(node: Node) -> list[str]:
    noise = node.label_noise
    return [f"{100 * noise.share:g} % of the labels {_NOISE[noise.kind]}"] if noise.share else []


_NOISE = {"none": "right", "shift": "one too high", "random": "random"}


# Data: a heat map.


def draw_data(scenario: Scenario) -> Figure:
    """How many samples of which label every client has; clients that join later are below the line."""
    rounds = {n.id: r for r, change in reversed(scenario.changes().items()) for n in change.added}
    clients = [n for n in scenario.infrastructure.nodes.values() if n.role is Role.CLIENT]
    later = [n for n in _arriving(scenario) if n.role is Role.CLIENT]
    rows = [*clients, *later]
    labels = sorted({label for node in rows for label in node.data})
    if not labels or scenario.task.partition is not None:
        return _message("The task divides the data among the clients itself; the scenario does not say who gets what.")
    names = [_row_name(scenario, node, rounds if i >= len(clients) else {}) for i, node in enumerate(rows)]
    cell = 0.5 if len(labels) <= _CHIPS_AT_MOST else max(0.12, 6 / len(labels))
    left = 0.35 + 0.078 * max(map(len, names))
    width, height = left + cell * len(labels) + 0.35, 0.36 * len(rows) + 1.15
    figure = blank_figure(width, height, f"Heat map of samples per client and label: {_data_sentence(rows)}.")
    axes = figure.add_axes((left / width, 0.62 / height, cell * len(labels) / width, 0.36 * len(rows) / height))
    draw_heat(axes, [[node.data.get(label, 0) for label in labels] for node in rows], labels)
    axes.set_yticks(range(len(rows)), names, size=SMALL)
    axes.set_title(
        "Training samples per client and label",
        size=LARGE,
        weight="bold",
        loc="left",
        pad=8,
        x=-(left - 0.25) / (cell * len(labels)),
    )
    if later:
        axes.axhline(len(clients) - 0.5, color=ORANGE, lw=2.5)
    return figure


def draw_heat(axes: Axes, counts: Sequence[Sequence[float]], labels: Sequence[int]) -> None:
    """A heat map of samples, a row for each of `counts`, a column for each label; few labels have numbers in them."""
    most = max(map(max, counts))
    axes.imshow(counts, cmap=_BLUES, vmin=0, vmax=most * 1.25, aspect="auto")
    if len(labels) <= _CHIPS_AT_MOST:
        axes.set_xticks(range(len(labels)), [str(label) for label in labels], size=SMALL)
        for y, row in enumerate(counts):
            for x, count in enumerate(row):
                colour = "white" if count > most * 0.4 else INK
                axes.text(x, y, f"{int(count) or ''}", size=SMALL, ha="center", va="center", color=colour)
    axes.set_xlabel("label (class)", size=NORMAL)
    axes.set_xticks([x - 0.5 for x in range(1, len(labels))], minor=True)
    axes.set_yticks([y - 0.5 for y in range(1, len(counts))], minor=True)
    axes.grid(which="minor", color="#DDDDDD", lw=0.8)
    axes.tick_params(which="both", length=0)
    for spine in axes.spines.values():
        spine.set_color("#BBBBBB")


def _row_name(scenario: Scenario, node: Node, joins: Mapping[str, int]) -> str:
    """`n9, joins after round 10`; wrong labels, leaving and new data are named as well."""
    notes = [f"joins after round {joins[node.id]}"] if node.id in joins else []
    for after_round, change in scenario.changes().items():
        notes += [f"leaves after round {after_round}"] * (node.id in change.removed)
        notes += [f"new data after round {after_round}"] * (node.id in change.data)
    return ", ".join([node.id, *notes, *_noise_words(node)])


def _data_sentence(rows: Sequence[Node]) -> str:
    labels = {node.id: " ".join(str(label) for label, count in node.data.items() if count) for node in rows}
    return "; ".join(f"{node_id} has {f'labels {text}' if text else 'none'}" for node_id, text in labels.items())


def _message(text: str) -> Figure:
    figure = blank_figure(8, 1, text)
    figure.text(0.5, 0.5, text, size=NORMAL, color=INK, ha="center", va="center")
    return figure


# The run: accuracy over rounds and over spent cost.


def draw_run(summary: Summary, decision: int | None = None) -> Figure:
    """Accuracy over rounds and over spent cost, with every reconfiguration and decision marked.

    Of one decision (index into `reconfigurations`; by default the last that was validated) both predicted futures are
    drawn with their 80 % intervals, within 0 to 100 %.
    """
    record = chosen(summary, decision)
    futures = [] if record is None else futures_of(summary, record)
    figure = blank_figure(11, 5.2, alt_text(summary))
    figure.text(0.07, 0.945, _title(summary), size=LARGE, weight="bold", color=INK, va="center")
    rounds, costs = figure.subplots(1, 2, sharey=True)
    figure.subplots_adjust(left=0.07, right=0.975, top=0.895, bottom=0.26, wspace=0.07)
    spent = {row["round"]: row["total_cost"] for row in summary["history"]}
    draw_accuracy(rounds, summary, futures, {r: r for r in spent}, by_cost=False)
    draw_accuracy(costs, summary, futures, spent, by_cost=True)
    rounds.set_ylabel("accuracy on the test set (%)", size=NORMAL)
    handles, names = costs.get_legend_handles_labels()
    figure.legend(handles, names, loc="lower left", bbox_to_anchor=(0.06, 0.005), ncols=1 + (len(names) != 3), **LEGEND)
    return figure


def draw_decision(summary: Summary, index: int) -> Figure:
    """Accuracy over rounds with one reconfiguration's window, and both predicted futures with their 80 % intervals.

    `index`: into `reconfigurations`. Of a record that is pending, the evidence is as it stands at its evaluation round.
    """
    record = summary["reconfigurations"][index]
    futures = futures_of(summary, record)
    figure = blank_figure(8.6, 3.9, f"Accuracy over rounds: {_told(record)}.")
    axes = figure.add_axes((0.075, 0.3, 0.905, 0.665))
    draw_accuracy(axes, summary, futures, {row["round"]: row["round"] for row in summary["history"]}, by_cost=False)
    if record["evaluation_round"] is not None:
        axes.axvspan(record["after_round"], record["evaluation_round"], color=PALE[ORANGE], alpha=0.6, lw=0, zorder=0)
    axes.set_ylabel("accuracy (%)", size=NORMAL)
    handles, names = axes.get_legend_handles_labels()
    figure.legend(handles, names, loc="lower left", bbox_to_anchor=(0.065, 0.0), ncols=1, **LEGEND)
    return figure


LEGEND: dict[str, Any] = {"fontsize": SMALL, "frameon": False, "handlelength": 3, "columnspacing": 2.5}


def alt_text(summary: Summary) -> str:
    """One sentence that says what `draw_run` shows."""
    name = f"Accuracy over rounds and over spent cost of the run {summary['scenario']}, seed {summary['seed']}"
    if not summary["history"]:
        return f"{name}: no round has finished."
    first, last = summary["history"][0], summary["history"][-1]
    parts = [
        f"{name}: from {first['accuracy']:.1f} % to {last['accuracy']:.1f} % in {summary['rounds']} rounds",
        f"{summary['total_cost']:,} spent" + (f" of {summary['budget']:,}" if summary["budget"] is not None else ""),
        *(_told(record) for record in summary["reconfigurations"]),
    ]
    return "; ".join(parts) + "."


def explain(summary: Summary) -> str:
    """What happened in a run and why, a paragraph for every reconfiguration, computed from its summary."""
    if not summary["history"]:
        return "No round has finished yet."
    records = summary["reconfigurations"]
    paragraphs = [_explain_change(record) + " " + _explain_decision(record) for record in records]
    spent = f"{summary['total_cost']:,} spent" + ("" if summary["budget"] is None else f" of {summary['budget']:,}")
    end = f"The run ended after {summary['rounds']} rounds at {summary['final_accuracy']:.1f} %, {spent}."
    if not records:
        end = "Nothing changed during the run, so there was nothing to decide. " + end
    elif records[-1]["decision"] in ("kept", "reverted"):
        end += _hindsight(summary, records[-1])
    return "\n\n".join([*paragraphs, end])


def _explain_change(record: Record) -> str:
    clusters = "; ".join(f"{aggregator} with {', '.join(c)}" for aggregator, c in record["clusters"].items())
    return (
        f"After round {record['after_round']}: {change_words(record)}. The strategy proposes {clusters}. "
        f"The change itself costs {record['change_cost']:,} (Ψ_rc). A round costs {record['round_cost_after']:,} "
        f"instead of {record['round_cost_before']:,} (Ψ_pr = {record['post_cost']:+,})."
    )


def _explain_decision(record: Record) -> str:
    if (
        record["predicted_old"] is None
        or record["predicted_new"] is None
        or record["budget_left_at_evaluation"] is None
    ):
        return f"Decision: {decision_words(record['decision'])}, because {record['reason']}."
    window = record["evaluation_round"] - record["after_round"]
    return (
        f"{window} rounds later (the window W), after round {record['evaluation_round']}, the accuracy was "
        f"{record['accuracy_at_evaluation']:.1f} % and {record['budget_left_at_evaluation']:,} of the budget was left. "
        f"That buys {record['rounds_left_new']} rounds in the new configuration, whose trend then reaches "
        f"{_range(record, 'new')}. Going back costs {record['revert_cost']:,}; what remains buys "
        f"{record['rounds_left_old']} rounds in the old one, whose trend then reaches {_range(record, 'old')}. "
        f"{verdict_words(record)}"
    )


def _range(record: Record, which: str) -> str:
    predicted, interval = record[f"predicted_{which}"], record[f"interval_{which}"]
    if interval is None:
        return f"{predicted:.1f} %"
    return f"{predicted:.1f} % (80 % interval {interval[0]:.1f} to {interval[1]:.1f})"


def verdict_words(record: Record) -> str:
    """Which future was predicted to be better, what was decided, and whether the intervals overlap."""
    old, new, decision = record["predicted_old"], record["predicted_new"], record["decision"]
    text = _tie(record) or f"The prediction is higher for the {'new' if new > old else 'old'} one."
    expected = decision == ("reverted" if old > new else "kept")
    text += f" Decision: {decision_words(decision)}" + ("." if expected else f", because {record['reason']}.")
    return f"{text} {_overlap(record)}".strip()


def caveats(record: Record) -> str:
    """What makes a decision on two predictions doubtful; empty where nothing does."""
    return f"{_tie(record)} {_overlap(record)}".strip()


def _tie(record: Record) -> str:
    if record["predicted_old"] != record["predicted_new"]:
        return ""
    cut = " (both trends run past 100 %, where they are cut)" if record["predicted_new"] == 100 else ""
    return f"The prediction is the same for both{cut}, and a tie keeps."


def _overlap(record: Record) -> str:
    a, b = record["interval_old"], record["interval_new"]
    if a is None or b is None or a[0] > b[1] or b[0] > a[1]:
        return ""
    return "The two intervals overlap, so the curves alone do not settle it."


def _hindsight(summary: Summary, record: Record) -> str:
    """How good the prediction for the configuration that went on was; nothing where it ended at a target."""
    predicted = record["predicted_new" if record["decision"] == "kept" else "predicted_old"]
    if predicted is None or record["budget_left_at_evaluation"] is None:
        return ""
    off = predicted - summary["final_accuracy"]
    return f" Its trend had predicted {predicted:.1f} %, {abs(off):.1f} points too {'much' if off > 0 else 'little'}."


def _told(record: Record) -> str:
    decision = decision_words(record["decision"]) if record["decision"] != "pending" else "as it stands"
    text = f"after round {record['after_round']} {change_words(record)}, {decision}"
    if record["accuracy_at_evaluation"] is None:
        return text
    text += f" after round {record['evaluation_round']}"
    if record["predicted_old"] is None or record["predicted_new"] is None:
        return text
    return (
        f"{text} (predicted {record['predicted_new']:.1f} % with the change, {record['predicted_old']:.1f} % without)"
    )


def _title(summary: Summary) -> str:
    text = f"{summary['scenario']}, seed {summary['seed']}"
    if summary["history"]:
        text += f": {summary['final_accuracy']:.1f} % after {summary['rounds']} rounds, {summary['total_cost']:,} spent"
    return text


_LANE = 7.5  # percent points below 0 for one line of marks' words, where no curve can be


def draw_accuracy(
    axes: Axes, summary: Summary, futures: Sequence[Future], past: Mapping[int, float], *, by_cost: bool
) -> None:
    """Draw a run's accuracy, its marks and futures, over rounds or cost. `past`: x of every finished round."""
    x, y = list(past.values()), [row["accuracy"] for row in summary["history"]]
    axes.plot(x, y, color=BLUE, lw=2.4, label="measured accuracy", zorder=3)
    if by_cost and summary["budget"] is not None:
        axes.axvline(summary["budget"], color=INK, lw=2, ls=(0, (1, 1)), label=f"budget: {summary['budget']:,}")
    for future in futures:
        draw_future(axes, future, past, by_cost)
    marks = marks_of(summary)
    lanes = min(len(marks), 6)
    axes.set_xlim(0, _furthest(summary, futures, past, by_cost) * 1.03)
    draw_marks(axes, marks, past, lanes)
    axes.set_ylim(-_LANE * lanes - 2 * bool(lanes), 105)
    axes.set_yticks(range(0, 101, 20))
    axes.set_xlabel("spent cost (cost units)" if by_cost else "global round", size=NORMAL)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.tick_params(labelsize=SMALL)
    axes.grid(color="#E4E4E4", lw=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _furthest(summary: Summary, futures: Sequence[Future], past: Mapping[int, float], by_cost: bool) -> float:
    ends = [x for future in futures for x in future.places(past, by_cost)[-1:]]
    return max([*past.values(), *ends, (summary["budget"] or 0) if by_cost else 0]) or 1


# The new future's mark fits into the old one's: where both end at the same place, both can be seen.
_LOOKS: dict[str, dict[str, Any]] = {
    "old": {"color": VERMILION, "ls": (0, (5, 2)), "marker": "s", "ms": 8.5, "mfc": "none", "capsize": 7},
    "new": {"color": GREEN, "ls": (0, (5, 1.5, 1, 1.5)), "marker": "o", "ms": 4.5, "mfc": GREEN, "capsize": 3},
}


def draw_future(axes: Axes, future: Future, past: Mapping[int, float], by_cost: bool) -> Line2D:
    """A trend and, at its end, the predicted accuracy with its interval; an arrow head says it is beyond the scale.

    `past`: x of every finished round. Returns the trend's line.
    """
    look = dict(_LOOKS[future.which])
    colour, style, capsize = look.pop("color"), look.pop("ls"), look.pop("capsize")
    x, y = future.places(past, by_cost), [accuracy for _, accuracy in future.trend]
    (line,) = axes.plot(x, y, color=colour, ls=style, lw=1.8, label=future.words(), zorder=2)
    if future.predicted is None or not future.ends_here:
        return line
    if future.interval is not None:
        low, high = map(clip, future.interval)
        bar: dict[str, Any] = {"capsize": capsize, "capthick": 2, "lw": 2, "zorder": 4, "clip_on": False}
        axes.errorbar(x[-1], (low + high) / 2, yerr=(high - low) / 2, color=colour, **bar)
    if not 0 <= future.predicted <= 100:
        look["marker"] = "^" if future.predicted > 100 else "v"
    axes.plot(x[-1], clip(future.predicted), mec=colour, mew=2, zorder=5, clip_on=False, **look)
    return line


def draw_marks(
    axes: Axes,
    marks: Sequence[Mark],
    past: Mapping[int, float],
    lanes: int,
    *,
    ink: str = INK,
    paper: str = "white",
    lane: float = _LANE,
    size: float = SMALL,
) -> None:
    """Lines at the marked rounds, words below the zero line; a later line starts above the words of earlier ones.

    `lane`: percent points that one line of words takes.
    """
    for i, mark in enumerate(marks):
        x = past[min(mark.round, max(past))]
        y = -lane * (lanes - i % lanes - 0.5) - 1
        colour, style, weight = (ink, "-", "bold") if mark.decided else (ORANGE, "--", "normal")
        axes.plot([x, x], [y - lane / 3, 105], color=colour, ls=style, lw=1.5, zorder=1)
        left = x > 0.65 * axes.get_xlim()[1]
        words: dict[str, Any] = {"size": size, "color": ink, "weight": weight, "va": "center"}
        words |= {"ha": "right" if left else "left", "xytext": (-6 if left else 6, 0), "textcoords": "offset points"}
        words["bbox"] = {**_BLANK, "facecolor": paper}
        axes.annotate(mark.text, (x, y), **words)
    if marks:
        axes.axhline(0, color="#9A9A9A", lw=0.8)
