"""The service map: which clients ask which proxy, which instances answer it, and how well. A pure function draws it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from aiotwin_nb.widgets.figures import BLUE, GREY, INK, ORANGE, SMALL, VERMILION, blank_figure

Snapshot = Mapping[str, Any]
GOOD, FAIR = 0.95, 0.8  # shares within the bound from which on an edge counts as good, and as fair
_COLUMNS = {"client": 0.11, "proxy": 0.47, "instance": 0.86}
_WIDTH = {"client": 0.19, "proxy": 0.15, "instance": 0.26}


def quality_look(qos: float | None) -> tuple[str, str, str]:
    """Return colour, dashes and a sign for a share of requests within the bound; None: no requests."""
    if qos is None:
        return GREY, ":", ""
    if qos >= GOOD:
        return BLUE, "-", "✔"
    return (ORANGE, "--", "!") if qos >= FAIR else (VERMILION, "-.", "✘")


def map_words(snapshot: Snapshot) -> str:
    """The map in words: quality in all, of each client, and what is down."""
    qos = snapshot["qos"]
    told = [
        f"{snapshot['service']} under {snapshot['policy']}: {_share(qos)} of the requests answered within "
        f"{snapshot['max_latency_ms']:g} ms"
    ]
    told += [f"{c['id']} at {c['node']}: {_share(c['qos'])}" for c in snapshot["clients"]]
    down = [node["id"] for node in snapshot["nodes"] if not node["up"]]
    slow = [i["id"] for i in snapshot["instances"] if i["alive"] and i["factor"] > 1]
    told += [f"down: {', '.join(down)}"] if down else []
    told += [f"slowed down: {', '.join(slow)}"] if slow else []
    return "; ".join(told) + "."


def draw_service_map(snapshot: Snapshot) -> Figure:
    """Draw clients, proxies and instances with who asked whom in the last window, coloured by quality of service."""
    rows = max(len(snapshot["clients"]), len(snapshot["nodes"]), len(snapshot["instances"]), 2)
    figure = blank_figure(9.4, 0.9 + 0.62 * rows, map_words(snapshot))
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_axis_off()
    axes.set_xlim(0, 1)
    axes.set_ylim(-0.9, rows + 0.25)
    for kind, words in (
        ("client", "clients"),
        ("proxy", "proxies, one per node"),
        ("instance", f"instances of {snapshot['service']}"),
    ):
        axes.text(_COLUMNS[kind], rows + 0.05, words, ha="center", va="top", fontsize=SMALL, color=GREY)
    places = {
        "client": _spread([c["id"] for c in snapshot["clients"]], rows),
        "proxy": _spread([n["id"] for n in snapshot["nodes"]], rows),
        "instance": _spread([i["id"] for i in snapshot["instances"]], rows),
    }
    _draw_edges(axes, snapshot, places)
    _draw_boxes(axes, snapshot, places)
    legend = "✔ blue: at least 95 % in time   ! orange, dashed: 80–95 %   ✘ red, dash-dotted: less   grey: no requests"
    axes.text(0.5, -0.62, legend, ha="center", fontsize=SMALL - 1, color=GREY)
    return figure


def _share(qos: float | None) -> str:
    return "no requests" if qos is None else f"{100 * qos:.0f} %"


def _spread(ids: Sequence[str], rows: int) -> dict[str, float]:
    step = rows / max(len(ids), 1)
    return {i: rows - 0.45 - (k + 0.5) * step + 0.05 for k, i in enumerate(ids)}


def _draw_edges(axes: Axes, snapshot: Snapshot, places: Mapping[str, Mapping[str, float]]) -> None:
    for client in snapshot["clients"]:
        door = client["door"]
        if door in places["proxy"]:
            _edge(
                axes,
                "client",
                places["client"][client["id"]],
                "proxy",
                places["proxy"][door],
                client["qos"],
                client["requests"],
            )
    for edge in snapshot["edges"]:
        if edge["instance"] in places["instance"] and edge["proxy"] in places["proxy"]:
            start, end = places["proxy"][edge["proxy"]], places["instance"][edge["instance"]]
            _edge(axes, "proxy", start, "instance", end, edge["qos"], edge["requests"])


def _edge(axes: Axes, a: str, y0: float, b: str, y1: float, qos: float | None, requests: float) -> None:
    colour, dashes, _ = quality_look(qos if requests else None)
    x0, x1 = _COLUMNS[a] + _WIDTH[a] / 2, _COLUMNS[b] - _WIDTH[b] / 2
    axes.plot(
        [x0, x1],
        [y0, y1],
        color=colour,
        linestyle=dashes,
        linewidth=min(5.0, 0.8 + requests / 12),
        alpha=0.85,
        zorder=1,
    )
    if requests:
        part = 0.32 if a == "proxy" else 0.5
        look = {"boxstyle": "round,pad=0.12", "facecolor": "white", "edgecolor": "none"}
        x, y = x0 + part * (x1 - x0), y0 + part * (y1 - y0)
        axes.text(x, y, f"{requests:.0f}", fontsize=SMALL - 1.5, ha="center", va="center", bbox=look, zorder=2)


def _draw_boxes(axes: Axes, snapshot: Snapshot, places: Mapping[str, Mapping[str, float]]) -> None:
    for c in snapshot["clients"]:
        _box(
            axes,
            "client",
            places["client"][c["id"]],
            c["id"],
            f"{c['rate']:.0f}/s, {_share(c['qos'])} in time",
            c["qos"],
        )
    for n in snapshot["nodes"]:
        state = f"load {n['load']:.0%}" if n["up"] else "down"
        _box(axes, "proxy", places["proxy"][n["id"]], n["id"], state, 1.0 if n["up"] else 0.0)
    for i in snapshot["instances"]:
        p95 = f", p95 {i['p95_ms']:.0f} ms" if i["p95_ms"] is not None else ""
        state = (
            "gone"
            if not i["alive"]
            else f"at {i['node']}{p95}" + (f", {i['factor']:g}× slower" if i["factor"] > 1 else "")
        )
        _box(axes, "instance", places["instance"][i["id"]], i["id"], state, i["qos"] if i["alive"] else 0.0)


def _box(axes: Axes, kind: str, y: float, name: str, words: str, qos: float | None) -> None:
    colour, dashes, sign = quality_look(qos)
    x, width = _COLUMNS[kind], _WIDTH[kind]
    look: dict[str, Any] = {
        "facecolor": "white",
        "edgecolor": colour,
        "linestyle": dashes,
        "linewidth": 1.8,
    }
    style = "round,pad=0,rounding_size=0.02"
    axes.add_patch(FancyBboxPatch((x - width / 2, y - 0.2), width, 0.4, boxstyle=style, mutation_aspect=6, **look))
    axes.text(
        x,
        y + 0.07,
        f"{name} {sign}".strip(),
        ha="center",
        va="center",
        fontsize=SMALL,
        color=INK,
        weight="bold",
        zorder=4,
    )
    axes.text(x, y - 0.1, words, ha="center", va="center", fontsize=SMALL - 1.5, color=GREY, zorder=4)
