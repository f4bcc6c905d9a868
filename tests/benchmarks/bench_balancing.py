"""How well the balancing policies keep the bound: `python tests/benchmarks/bench_balancing.py [--write] [--training]`.

Simulates the held-out scenarios, 20 of each family, under every policy; the default policy's numbers were fixed on the
training scenarios (`--training` shows those). Several proxies share the instances, and each sees its own requests only.
1 when a target is missed: the default's share of requests within the bound is above every other policy's (mean
difference over the scenarios, pair by pair, with its 95 % interval above 0), and in no family more than a point behind
the best. The oracle's share is what is possible. `--write` puts table and picture into results/.
"""

from __future__ import annotations

import os
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from scipy.stats import t as student

from aiotwin_nb.inference.balancing import DEFAULT_POLICY, policies
from aiotwin_nb.inference.simulator import ORACLE, simulate
from aiotwin_nb.inference.simulator.families import FAMILIES, HELD_OUT, TRAINING, family
from aiotwin_nb.widgets.figures import BLUE, GREY, INK, ORANGE, VERMILION

RESULTS = Path(__file__).parent / "results"
NAMES = [DEFAULT_POLICY, *(n for n in policies.names() if n != DEFAULT_POLICY), ORACLE]
OTHERS = NAMES[1:-1]
LOOKS = {DEFAULT_POLICY: (BLUE, "o"), "qedgeproxy": (VERMILION, "s"), "peak_ewma": (ORANGE, "^"), ORACLE: (INK, "|")}
BEHIND = 1.0  # points that the default may be behind the best of a family
EXAMPLE = ("failure", 1003)


def shares(case: tuple[str, int]) -> list[tuple[float, float]]:
    """QoS share of all requests and of the worst client, in points, by policy."""
    results = [simulate(family(*case), name) for name in NAMES]
    return [(100 * r.qos, 100 * min(r.qos_by_client().values())) for r in results]


def ahead(qos: np.ndarray, other: str) -> tuple[float, float]:
    """Mean paired difference of the default to another policy and half its 95 % interval."""
    difference = qos[:, 0] - qos[:, NAMES.index(other)]
    half = student.ppf(0.975, len(difference) - 1) * difference.std(ddof=1) / len(difference) ** 0.5
    return float(difference.mean()), float(half)


def by_family(qos: np.ndarray) -> np.ndarray:
    """Means, (families, policies)."""
    return qos.reshape(len(FAMILIES), -1, len(NAMES)).mean(axis=1)


def misses(qos: np.ndarray) -> list[str]:
    """The targets that are missed."""
    found = []
    for other in OTHERS:
        mean, half = ahead(qos, other)
        if mean - half <= 0:
            found.append(f"{DEFAULT_POLICY} is {mean:+.2f} ± {half:.2f} points ahead of {other}; target above 0")
    for name, row in zip(FAMILIES, by_family(qos), strict=True):
        best = int(np.argmax(row[:-1]))
        if row[best] - row[0] > BEHIND:
            found.append(f"{name}: {row[best] - row[0]:.2f} points behind {NAMES[best]}; target {BEHIND:g}")
    return found


def table(qos: np.ndarray, worst: np.ndarray, what: str) -> str:
    """The means by family, the paired differences and the worst clients' share, as Markdown."""
    lines = [
        "# Balancing policies",
        "",
        f"Share of the requests within the bound, in points, on {len(qos)} {what} scenarios ({len(qos) // len(FAMILIES)} "
        "a family): means; how far",
        f"`{DEFAULT_POLICY}` is ahead, scenario by scenario, with its 95 % interval; and the mean of each scenario's "
        "worst client.",
        "`oracle` knows every queue and every way, and the noise that a request will meet: what is possible.",
        "`qedgeproxy` has the original's rules and defaults, `qedgeproxy_fastest` the same with RANDOM_MODE off.",
        "",
        f"| policy | {' | '.join(FAMILIES)} | all | {DEFAULT_POLICY} ahead by | worst client |",
        "|---|" + "---:|" * (len(FAMILIES) + 3),
    ]
    means = by_family(qos)
    for n in np.argsort(-qos.mean(axis=0), kind="stable"):
        difference = "" if NAMES[n] == DEFAULT_POLICY else "{:+.2f} ± {:.2f}".format(*ahead(qos, NAMES[n]))
        cells = " | ".join(f"{m:.2f}" for m in means[:, n])
        lines.append(f"| {NAMES[n]} | {cells} | {qos[:, n].mean():.2f} | {difference} | {worst[:, n].mean():.2f} |")
    return "\n".join(lines)


def picture(qos: np.ndarray) -> Figure:
    """Left the means by family, right one scenario over time."""
    figure = Figure(figsize=(11, 4.4), facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.25))
    for row, means in enumerate(by_family(qos)):
        left.plot([means[:-1].min(), means[-1]], [row, row], color="#DDDDDD", zorder=0)
        for name, mean in zip(NAMES, means, strict=True):
            colour, marker = LOOKS.get(name, (GREY, "."))
            size = 14 if name == ORACLE else 8
            left.plot(mean, row, marker, color=colour, ms=size, mew=2 if name == ORACLE else 0.5, label=name)
    left.set_yticks(range(len(FAMILIES)), list(FAMILIES))
    left.invert_yaxis()
    left.set_xlabel("requests within the bound (%), mean of the family")
    left.set_title("By family", loc="left", fontsize=11)
    scenario = family(*EXAMPLE)
    for name in LOOKS:
        series = simulate(scenario, name).series(2.0)
        colour, _ = LOOKS[name]
        style = {"ls": ":" if name == ORACLE else "-", "lw": 2.2 if name == DEFAULT_POLICY else 1.4}
        right.plot(series["start"] + 1, 100 * series["qos"], color=colour, **style)
    for outage in scenario.outages:
        right.axvspan(outage.start, outage.end, color=GREY, alpha=0.12, lw=0)
    right.set_xlim(0, scenario.seconds)
    right.set_xlabel("seconds")
    right.set_ylabel("requests within the bound (%), 2 s windows")
    right.set_title(f"One scenario, {scenario.name}: some instance is gone where it is grey", loc="left", fontsize=11)
    handles, labels = left.get_legend_handles_labels()
    shown = {label: handle for handle, label in zip(handles, labels, strict=True) if label in LOOKS}
    shown["other policies"] = handles[labels.index("random")]
    figure.legend(shown.values(), shown.keys(), frameon=False, loc="outside lower center", ncols=len(shown))
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def main(arguments: list[str]) -> int:
    seeds, what = (TRAINING, "training") if "--training" in arguments else (HELD_OUT, "held-out")
    with ProcessPoolExecutor(min(2, os.cpu_count() or 1)) as pool:
        found = np.array(list(pool.map(shares, [(name, seed) for name in FAMILIES for seed in seeds])))
    qos, worst = found[..., 0], found[..., 1]
    text, missed = table(qos, worst, what), misses(qos)
    print(text)
    for miss in missed:
        print(f"MISSED {miss}")
    if "--write" in arguments:
        (RESULTS / "balancing.md").write_text(text + "\n\n![By family and over time](balancing.png)\n")
        picture(qos).savefig(RESULTS / "balancing.png", dpi=110, metadata={"Software": None})
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
