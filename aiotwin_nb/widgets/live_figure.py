"""The live plots as one matplotlib figure that lives long: what moves is drawn over a background that is kept.

A whole figure takes a tenth of a second to draw, the lines alone some milliseconds. So axes, words, marks and futures
are drawn when they change, with room for what is to come, and copied from then on.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import ScaledTranslation

from aiotwin_nb.widgets.curves import CHARTS, Chart, Series, Story
from aiotwin_nb.widgets.figures import BLUE, GREEN, GREY, INK, ORANGE, SKY, VERMILION, draw_future, draw_marks

WIDTH, ROW, DPI = 9.0, 2.55, 100  # inches, inches, pixels an inch
_LEFT, _RIGHT, _TOP, _BOTTOM, _GAP = 0.62, 0.3, 0.36, 0.46, 0.78  # inches around and between the axes
_LANE = 11.0  # percent points for a line of marks' words
_MANY = 8  # clients; more are drawn in grey, with their median
_MARKERS = "osD^vPX*"


@dataclass(frozen=True)
class Look:
    """Colours for a light or a dark page."""

    paper: str
    ink: str
    muted: str
    grid: str
    main: str
    clients: tuple[str, ...]


LIGHT = Look("#FFFFFF", INK, GREY, "#E4E4E4", BLUE, (BLUE, ORANGE, GREEN, VERMILION, "#CC79A7", SKY, GREY, "#8A6D00"))
DARK = Look(
    "#111111", "#E8E8E8", "#A6A6A6", "#333333", SKY,
    (SKY, ORANGE, "#2BC79A", "#FF8A3D", "#E39CC6", "#F0E442", "#B5B5B5", "#5AA0FF"),
)  # fmt: skip


class LiveFigure:
    """Plots of a run that are painted again and again; not to be used by two threads at once.

    `charts`: keys of `CHARTS`, drawn in two columns. `selected`: a client that is brought out.
    """

    def __init__(self, charts: Sequence[str], *, look: Look = LIGHT, selected: str = "") -> None:
        rows = -(-len(charts) // 2)
        self.figure = Figure(figsize=(WIDTH, ROW * rows), dpi=DPI, facecolor=look.paper, layout=None)
        self._canvas: Any = FigureCanvasAgg(self.figure)
        self._plots = [
            _Plot(self.figure, CHARTS[key], _place(i, len(charts)), look, selected) for i, key in enumerate(charts)
        ]
        self._charts = tuple(charts)
        self._framed: tuple[Any, ...] = ()
        self._background: Any = None

    def paint(self, story: Story) -> bytes:
        """The story as a PNG file's bytes."""
        if self.show(story) or self._background is None:
            self._canvas.draw()  # leaves out what moves
            self._background = self._canvas.copy_from_bbox(self.figure.bbox)
        else:
            self._canvas.restore_region(self._background)
        for plot in self._plots:
            plot.draw_moving()
        return encode_png(np.asarray(self._canvas.buffer_rgba()))

    def show(self, story: Story) -> bool:
        """Bring the figure up to date without drawing it; returns whether more than its moving parts has changed."""
        series = [story.series(plot.chart) for plot in self._plots]
        framed = (story.marks, story.futures, story.budget, story.expected)
        new = framed != self._framed or not all(map(_Plot.holds, self._plots, series))
        for plot, lines in zip(self._plots, series, strict=True):
            if new:
                plot.frame(story, lines)
            plot.move(lines)
        self._framed = framed
        self.figure.set_label(story.tell(self._charts))
        return new


class _Plot:
    """One chart with its axes."""

    def __init__(
        self, figure: Figure, chart: Chart, place: tuple[float, float, float, float], look: Look, selected: str
    ) -> None:
        self.chart = chart
        self._axes: Axes = figure.add_axes(place)
        self._look = look
        self._selected = selected
        self._lines: dict[str, Line2D] = {}
        self._now: Any = None  # the newest value, as text

    def holds(self, series: Sequence[Series]) -> bool:
        """Whether the axes as they are framed have room for all points."""
        if [s.name for s in series] != list(self._lines):
            return False
        right, top = self._axes.get_xlim()[1], self._axes.get_ylim()[1]
        return _most(x for s in series for x in s.x[-1:]) <= right and _most(y for s in series for y in s.y) <= top

    def frame(self, story: Story, series: Sequence[Series]) -> None:
        """Draw anew everything that does not move."""
        axes, look, chart = self._axes, self._look, self.chart
        axes.clear()
        self._dress()
        past = {row["round"]: row[chart.x] for row in story.rows if chart.x in row}
        futures = [draw_future(axes, f, past, chart.by_cost) for f in story.futures] if chart.of_accuracy else []
        axes.set_xlim(0, self._furthest(story, past))
        if chart.of_accuracy:
            lanes = min(len(story.marks), 4)
            words: dict[str, Any] = {"ink": look.ink, "paper": look.paper, "lane": _LANE, "size": 8.5}
            draw_marks(axes, story.marks, past, lanes, **words)
            bottom = -_LANE * lanes - 2 * bool(lanes)
            axes.set_ylim(bottom, 105)
            if chart.by_cost and story.budget is not None:
                self._budget_line(story.budget, bottom)
            axes.set_yticks(range(0, 101, 20))
        else:
            axes.set_ylim(0, self._highest(story, series))
            self._mark_lines(story, past)
        self._make_lines([s.name for s in series])
        self._legend(story, futures)

    def move(self, series: Sequence[Series]) -> None:
        """Give the lines their points and the newest value its text."""
        for one in series:
            line = self._lines[one.name]
            line.set_data(one.x, one.y)
            if not one.name:
                line.set_markevery([len(one.x) - 1] if one.x else [])
                self._now.set_text(self._newest(one))
        if len(series) > _MANY:
            self._median.set_data(series[0].x, _medians(series))

    def draw_moving(self) -> None:
        """Draw lines and newest value over the background."""
        for artist in (*self._lines.values(), self._median, self._now):
            self._axes.draw_artist(artist)

    def _dress(self) -> None:
        axes, look = self._axes, self._look
        axes.set_facecolor(look.paper)
        axes.set_title(self.chart.title, loc="left", size=10, weight="bold", color=look.ink, pad=7)
        axes.tick_params(labelsize=8.5, colors=look.muted, length=3)
        axes.grid(color=look.grid, lw=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        for spine in axes.spines.values():
            spine.set_color(look.muted)
        axes.xaxis.set_major_formatter("{x:,.0f}")
        if self.chart.by_cost:  # long numbers need room
            axes.xaxis.set_major_locator(MaxNLocator(5))
        if self.chart.y.startswith("cost/"):
            axes.yaxis.set_major_formatter("{x:,.0f}")
        axes.set_xlabel("spent cost" if self.chart.by_cost else "global round", size=8.5, color=look.muted, labelpad=2)
        (self._median,) = axes.plot([], [], color=look.main, lw=2.2, animated=True, zorder=4)
        place = axes.transAxes + ScaledTranslation(0, 7 / 72, axes.figure.dpi_scale_trans)
        self._now = axes.text(1, 1, "", ha="right", size=10, weight="bold", color=look.main, transform=place)
        self._now.set_animated(True)

    def _budget_line(self, budget: float, bottom: float) -> None:
        self._axes.axvline(budget, color=self._look.ink, lw=2, ls=(0, (1, 1)))
        words: dict[str, Any] = {"ha": "right", "va": "center", "size": 8.5, "color": self._look.muted}
        self._axes.annotate("budget", (budget, bottom / 2 or 5), (-4, 0), textcoords="offset points", **words)

    def _furthest(self, story: Story, past: dict[int, float]) -> float:
        ends = [x for future in story.futures for x in future.places(past, self.chart.by_cost)[-1:]]
        seen = [*past.values(), *(ends if self.chart.of_accuracy else ())]
        if self.chart.by_cost:
            ahead = story.budget if story.budget is not None else 1.5 * max(past.values(), default=0)
        else:
            ahead = story.expected or 1.5 * max(past.values(), default=0)
        return 1.02 * max(*seen, ahead, 1) if seen else 1.02 * max(ahead, 1)

    def _highest(self, story: Story, series: Sequence[Series]) -> float:
        """The upper end of y, with room for a while."""
        if self.chart.y == "cost/budget_left" and story.budget is not None:
            return 1.05 * float(story.budget)
        room = 1.35 if self.chart.of_clients else 1.2
        return room * _most(y for s in series for y in s.y) or 1.0

    def _mark_lines(self, story: Story, past: dict[int, float]) -> None:
        """Changes and decisions as in the accuracy's plots, their words at the top."""
        for i, mark in enumerate(story.marks):
            colour, style = (self._look.ink, "-") if mark.decided else (ORANGE, "--")
            self._axes.axvline(past[mark.round], color=colour, ls=style, lw=1.3, zorder=1)
            look: dict[str, Any] = {"size": 8, "color": self._look.ink, "weight": "bold" if mark.decided else "normal"}
            look |= {"xycoords": ("data", "axes fraction"), "textcoords": "offset points", "va": "top"}
            look["bbox"] = {"boxstyle": "round,pad=0.1", "facecolor": self._look.paper, "edgecolor": "none"}
            left = past[mark.round] > 0.75 * self._axes.get_xlim()[1]
            look |= {"ha": "right", "xytext": (-4, -11 * (i % 3))} if left else {"xytext": (4, -11 * (i % 3))}
            self._axes.annotate(mark.text, (past[mark.round], 0.99 - 0.1 * self.chart.of_clients), **look)

    def _make_lines(self, names: Sequence[str]) -> None:
        axes, look = self._axes, self._look
        self._lines = {}
        for i, name in enumerate(names):
            style: dict[str, Any] = {"color": look.main, "lw": 2.2, "marker": "o", "ms": 6}
            if name and len(names) > _MANY and name != self._selected:
                style = {"color": look.muted, "lw": 0.6, "alpha": 0.6}
            elif name:
                chosen = name == self._selected
                style = {"color": look.clients[i % _MANY], "lw": 2.6 if chosen else 1.3, "markevery": (i, 9)}
                style |= {"marker": _MARKERS[i % _MANY], "ms": 5.5 if chosen else 4}
            steps = "steps-pre" if self.chart.steps else "default"
            (self._lines[name],) = axes.plot([], [], animated=True, zorder=3, label=name, drawstyle=steps, **style)

    def _legend(self, story: Story, futures: Sequence[Line2D]) -> None:
        look = self._look
        style: dict[str, Any] = {"fontsize": 8, "labelcolor": look.ink, "facecolor": look.paper, "edgecolor": look.grid}
        if futures:
            bottom, top = self._axes.get_ylim()
            legend = self._axes.legend(
                futures,
                [future.short() for future in story.futures],
                loc="lower right",
                bbox_to_anchor=(0.995, -bottom / (top - bottom)),  # above the marks' words
                title="predicted end (80 % interval)",
                title_fontsize=8,
                framealpha=0.9,
                handlelength=2.6,
                **style,
            )
            legend.get_title().set_color(look.muted)
        elif self.chart.of_clients and self._lines:
            shown = self._lines
            if len(shown) > _MANY:
                shown = {f"median of {len(shown)} clients": self._median} | {
                    name: line for name, line in shown.items() if name == self._selected
                }
            spread: dict[str, Any] = {"handlelength": 1.4, "columnspacing": 0.9, "handletextpad": 0.35}
            self._axes.legend(
                shown.values(), shown, loc="upper left", ncols=len(shown), frameon=False, borderpad=0, **spread, **style
            )

    def _newest(self, series: Series) -> str:
        value = series.y[-1] if series.y else math.nan
        if not math.isfinite(value):
            return ""
        if self.chart.of_accuracy:
            return f"{value:.1f} %"
        return f"{value:,.0f}" if self.chart.y.startswith("cost/") else f"{value:.3f}"


def _medians(series: Sequence[Series]) -> list[float]:
    with np.errstate(all="ignore"):
        values = np.array([s.y for s in series], dtype=float)
        return [float(np.nanmedian(column)) if not np.isnan(column).all() else math.nan for column in values.T]


def _most(values: Iterable[float]) -> float:
    return max((value for value in values if math.isfinite(value)), default=0.0)


def _place(index: int, count: int) -> tuple[float, float, float, float]:
    """Left, bottom, width and height of a plot as shares of the figure; one that is left over gets a whole row."""
    rows = -(-count // 2)
    alone = count % 2 == 1 and index == count - 1
    column = (WIDTH - _LEFT - _RIGHT - _GAP) / 2
    left = _LEFT + (index % 2) * (column + _GAP)
    width = WIDTH - _LEFT - _RIGHT if alone else column
    bottom = (rows - 1 - index // 2) * ROW + _BOTTOM
    return left / WIDTH, bottom / (ROW * rows), width / WIDTH, (ROW - _TOP - _BOTTOM) / (ROW * rows)


def encode_png(pixels: np.ndarray[Any, Any]) -> bytes:
    """A PNG file from opaque RGBA pixels (height, width, 4), in half the time that image libraries take.

    They choose a filter for every row. Plots are even: each row less the one above it is mostly zeros.
    """
    height, width, _ = pixels.shape
    colours = np.empty((height, width, 3), np.uint8)
    for channel in range(3):  # a quarter of the time of copying them together
        colours[:, :, channel] = pixels[:, :, channel]
    rows = colours.reshape(height, 3 * width)
    filtered = np.empty((height, 1 + 3 * width), np.uint8)
    filtered[:, 0] = 2  # the filter's number: up
    filtered[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = (b"IHDR", head), (b"IDAT", zlib.compress(filtered.data, 1)), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
