"""Balancing policies side by side on one simulated continuum: pictures, a table, and a panel to try them."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from html import escape
from typing import Any

import ipywidgets as widgets
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from aiotwin_nb.errors import AIoTwinError, InvalidInput, did_you_mean
from aiotwin_nb.inference.balancing import DEFAULT_POLICY, policies
from aiotwin_nb.inference.simulator import ORACLE, Result, Scenario, simulate
from aiotwin_nb.inference.simulator.families import FAMILIES, family
from aiotwin_nb.widgets.figures import BLUE, GREEN, GREY, INK, ORANGE, SKY, SMALL, VERMILION, Picture, blank_figure
from aiotwin_nb.widgets.keys import Keys
from aiotwin_nb.widgets.panel import Shown

WINDOW_S = 3.0
MOST_SEED = 10**6
_STYLES = [
    (BLUE, "-"),
    (ORANGE, "--"),
    (GREEN, "-."),
    (VERMILION, ":"),
    (SKY, "-"),
    (INK, "--"),
    (BLUE, ":"),
    (ORANGE, "-."),
]


def compare_policies(scenario: Scenario, names: Sequence[str], *, oracle: bool = True) -> list[Result]:
    """Simulate the scenario under each policy, and under the oracle that knows all latencies; best first.

    Raises InvalidInput for an unknown policy.
    """
    results = [simulate(scenario, name) for name in dict.fromkeys(names)]
    results.sort(key=lambda result: -result.qos)
    return [*([simulate(scenario, ORACLE)] if oracle else []), *results]


def comparison_words(results: Sequence[Result]) -> str:
    """What a comparison says, in one paragraph."""
    scenario = results[0].scenario
    shares = ", ".join(f"{result.policy} {100 * result.qos:.1f} %" for result in results)
    return (
        f"{scenario.name}: share of {len(results[0].time):,} requests answered within {scenario.bound_ms:g} ms, "
        f"by policy: {shares}."
    )


def comparison_table(results: Sequence[Result]) -> list[dict[str, Any]]:
    """A row per policy: share within the bound and quantiles of latency (ms; None where that many failed)."""
    rows = []
    for result in results:
        summary = result.summary()
        rows.append(
            {
                "policy": result.policy,
                "within_bound_percent": round(100 * summary["qos"], 2),
                "worst_client_percent": round(100 * min(summary["clients"].values(), default=1.0), 2),
                **{f"{name}_ms": value and round(value, 1) for name, value in summary["latency_ms"].items()},
                "failed": summary["failed"],
            }
        )
    return rows


def draw_comparison(results: Sequence[Result]) -> Figure:
    """Draw the share within the bound over time, by policy, and in all."""
    figure = blank_figure(10, 4.2, comparison_words(results))
    over_time, in_all = figure.subplots(1, 2, width_ratios=(2, 1))
    _over_time(over_time, results)
    _in_all(in_all, results)
    figure.subplots_adjust(left=0.07, right=0.985, top=0.88, bottom=0.14, wspace=0.5)
    return figure


def _style(results: Sequence[Result], result: Result) -> tuple[str, str]:
    if result.policy == "oracle":
        return GREY, "-"
    names = sorted(r.policy for r in results if r.policy != "oracle")
    names.sort(key=lambda name: name != DEFAULT_POLICY)
    return _STYLES[names.index(result.policy) % len(_STYLES)]


def _over_time(axes: Axes, results: Sequence[Result]) -> None:
    for result in reversed(results):
        colour, dashes = _style(results, result)
        series = result.series(WINDOW_S)
        width = 2.4 if result.policy in ("oracle", DEFAULT_POLICY) else 1.3
        axes.plot(series["start"] + WINDOW_S / 2, 100 * series["qos"], color=colour, linestyle=dashes, linewidth=width)
    scenario = results[0].scenario
    axes.set_xlabel("time (s)", fontsize=SMALL)
    axes.set_ylabel(f"answered within {scenario.bound_ms:g} ms (%)", fontsize=SMALL)
    axes.set_title(f"{scenario.name}: over time", fontsize=SMALL + 1, loc="left")
    axes.set_ylim(-2, 102)
    axes.grid(alpha=0.3)


def _in_all(axes: Axes, results: Sequence[Result]) -> None:
    shares = 100 * np.array([result.qos for result in results])
    places = np.arange(len(results))[::-1]
    colours = [_style(results, result)[0] for result in results]
    axes.barh(places, shares, color=colours, height=0.62, alpha=0.85)
    for place, share, result in zip(places, shares, results, strict=True):
        axes.text(share + 2, place, f"{share:.1f} %", va="center", fontsize=SMALL, color=INK, weight="bold")
        axes.plot([-0.02, -0.14], [place, place], transform=axes.get_yaxis_transform(), clip_on=False,
                  color=_style(results, result)[0], linestyle=_style(results, result)[1], linewidth=2)  # fmt: skip
    axes.set_yticks(places, [result.policy for result in results], fontsize=SMALL)
    axes.tick_params(axis="y", pad=26, length=0)
    axes.set_xlim(0, 142)  # with room for the number behind a full bar
    axes.set_xticks((0, 50, 100))
    axes.set_title("in all", fontsize=SMALL + 1, loc="left")


class PolicyComparison(Shown):
    """Choose what happens on the continuum, a seed and some policies; see how many requests each answers in time."""

    title = "Policies side by side"

    def __init__(self, family: str = "overload", seed: int = 1) -> None:
        """Show the comparison of all policies on a family's scenario; raises InvalidInput for wrong values."""
        super().__init__()
        if family not in FAMILIES:
            raise InvalidInput(
                f"family: {family!r} must be one of {', '.join(FAMILIES)}.{did_you_mean(family, FAMILIES)}"
            )
        if not 0 <= seed <= MOST_SEED:
            raise InvalidInput(f"seed: {seed} must be from 0 to {MOST_SEED:,}")
        self.results: list[Result] = []
        wide = {"description_width": "70px"}
        self.family = widgets.Dropdown(
            options=list(FAMILIES), value=family, description="What happens", style={"description_width": "100px"}
        )
        self.seed = widgets.BoundedIntText(
            value=seed, min=0, max=MOST_SEED, description="Seed", style=wide, layout={"width": "170px"}
        )
        self.policies = {
            name: widgets.Checkbox(value=True, description=name, indent=False, layout={"width": "auto"})
            for name in policies.names()
        }
        self.button = widgets.Button(
            description="Compare", icon="play", tooltip="Simulate each policy on the same requests"
        )
        self._told = widgets.HTML()
        self._picture = widgets.HTML()
        self.children = (
            widgets.HTML(f"<b>{self.title}</b>"),
            widgets.HBox([self.family, self.seed, self.button], layout={"flex_flow": "row wrap"}),
            widgets.HBox(list(self.policies.values()), layout={"flex_flow": "row wrap", "grid_gap": "0 14px"}),
            self._told,
            self._picture,
            Keys(),
        )
        self.button.on_click(lambda _: self.compare())
        self._running: threading.Thread | None = None
        self.compare()

    def compare(self) -> None:
        """Start the comparison that the controls say, unless one is under way; `wait` waits for it."""
        if self._running is not None and self._running.is_alive():
            return
        names = [name for name, box in self.policies.items() if box.value]
        if not names:
            self._told.value = "<span role='alert'>✘ Choose at least one policy.</span>"
            return
        self.button.disabled = True
        self._told.value = "<span role='status'>simulating …</span>"
        scenario = family(self.family.value, self.seed.value)
        self._running = threading.Thread(target=self._compare, args=(scenario, names), daemon=True)
        self._running.start()

    def wait(self, timeout: float = 60.0) -> list[Result]:
        """Wait for the comparison and return its results, best policy first behind the oracle (timeout in seconds)."""
        if self._running is not None:
            self._running.join(timeout)
        return self.results

    def describe(self) -> str:
        """What was compared, and how it came out."""
        return f"{self.title}. {comparison_words(self.results)}" if self.results else self.title

    def picture(self) -> Picture | None:
        """The comparison as drawn."""
        return Picture(draw_comparison(self.results)) if self.results else None

    def _compare(self, scenario: Scenario, names: list[str]) -> None:
        try:
            self.results = compare_policies(scenario, names)
            self._picture.value = Picture(draw_comparison(self.results)).html
            self._told.value = f"<span role='status'>{escape(self.verdict())}</span>"
            self.changed(at_once=True)
        except AIoTwinError as error:
            self._told.value = f"<span role='alert'>✘ {escape(str(error))}</span>"
        finally:
            self.button.disabled = False

    def verdict(self) -> str:
        """One sentence: what was possible, and who came nearest."""
        oracle, best = self.results[0], self.results[1]
        return (
            f"With all latencies known, {100 * oracle.qos:.1f} % of the requests could be answered within "
            f"{oracle.scenario.bound_ms:g} ms; {best.policy} came nearest with {100 * best.qos:.1f} %."
        )
