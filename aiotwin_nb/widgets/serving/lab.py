"""The inference side live: service map, quality over time, and what one can do to the continuum."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from html import escape
from itertools import count
from pathlib import Path
from typing import Any

import ipywidgets as widgets

from aiotwin_nb.errors import AIoTwinError, InvalidInput
from aiotwin_nb.inference.balancing import policies
from aiotwin_nb.inference.site import Site, SiteSpec, Stream
from aiotwin_nb.inference.site.clients import numbers
from aiotwin_nb.widgets.figures import Picture
from aiotwin_nb.widgets.keys import Keys
from aiotwin_nb.widgets.live_picture import LivePicture
from aiotwin_nb.widgets.panel import Shown
from aiotwin_nb.widgets.serving.quality import draw_quality, quality_by_policy, quality_words
from aiotwin_nb.widgets.serving.service_map import draw_service_map, map_words

log = logging.getLogger(__name__)
POLL_SECONDS = 2.0  # the proxies run in this process: drawing more often would cost their clients time
ACTIONS = ("overload", "kill", "restore", "slow link", "new node", "traffic burst")


class ServingLab(Shown):
    """A site that runs, to be watched and disturbed. Every control is a method as well, for scripts.

    >>> lab = ServingLab("two-sides")
    >>> lab.overload("cloud", 8)
    """

    title = "Services and their quality"

    def __init__(
        self,
        site: Site | SiteSpec | str | Path = "two-sides",
        *,
        out: str | Path | None = None,
        stream: Stream = numbers,
    ) -> None:
        """Start the site unless it runs; raises InvalidInput for a wrong site file."""
        super().__init__()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None  # until there is a site that runs
        self.site = site if isinstance(site, Site) else Site(site, out=out, stream=stream)
        if not self.site.running:
            self.site.start()
        self._thread = threading.Thread(target=self._follow, name="aiotwin-serving", daemon=True)
        self.events: list[tuple[int, str]] = []
        self._last: dict[str, Any] | None = None
        self._drawn = -1
        self._rows: list[dict[str, Any]] = []
        self._policy: str = self.site.snapshot()["policy"]
        self.map, self.quality = LivePicture(), LivePicture()
        self._status = widgets.HTML()
        self._say("waiting for the first window …")
        self._refused = widgets.HTML()
        self.policy = widgets.Dropdown(
            options=policies.names(),
            value=self._policy,
            description="Policy",
            style={"description_width": "60px"},
        )
        self.controls = Controls(self)
        self.children = (
            widgets.HTML(f"<b>{self.title}</b>"),
            self._status,
            self.map,
            widgets.HBox([self.policy, self.controls], layout={"flex_flow": "row wrap"}),
            self._refused,
            self.quality,
            Keys(),
        )
        self.policy.observe(self._policy_chosen, "value")
        self._thread.start()

    # What one can do. Each is noted, and drawn into the plots.

    def overload(self, node: str, factor: float = 8.0) -> None:
        """Make a node's instances so many times slower; 1 ends it."""
        self._do(f"{node} {factor:g}× slower", lambda: self.site.overload(node, factor))

    def kill(self, subject: str) -> None:
        """Kill an instance or a node."""
        self._do(f"{subject} killed", lambda: self.site.kill(subject))

    def restore(self, node: str) -> None:
        """End what was done to a node."""
        self._do(f"{node} restored", lambda: self.site.restore(node))

    def slow_link(self, a: str, b: str, rtt_ms: float) -> None:
        """Set a link's round trip in ms."""
        self._do(f"link {a}–{b} {rtt_ms:g} ms", lambda: self.site.slow_link(a, b, rtt_ms))

    def new_node(self, node: str, near: str, rtt_ms: float = 10.0) -> None:
        """Let a node join that is this many ms from another."""
        self._do(f"{node} joins", lambda: self.site.new_node(node, rtt_ms={near: rtt_ms}, slots=2))

    def burst(self, clients: str, factor: float = 3.0, seconds: float | None = 10.0) -> None:
        """Multiply a client group's requests for some seconds."""
        self._do(f"{clients} × {factor:g}", lambda: self.site.burst(clients, factor, seconds))

    def use_policy(self, name: str) -> None:
        """Balance by another policy from now on."""
        if name != self._policy:
            self._do(f"policy {name}", lambda: self.site.use_policy(name))
            self._policy = self.policy.value = name

    def results(self) -> dict[str, float]:
        """Percent of requests within the bound under each policy so far."""
        return quality_by_policy(self.site.rows() if self.site.running else self._rows)

    # What it shows.

    def describe(self) -> str:
        """The map and the quality in words."""
        return "\n\n".join([self.title, *([map_words(self._last), quality_words(self._rows)] if self._last else [])])

    def picture(self) -> Picture | None:
        """Quality over time."""
        if self._last is None:
            return None
        return Picture(draw_quality(self._rows, self._last["max_latency_ms"], self.events))

    def close(self) -> None:
        """End the site and everything that it started. Safe to call twice."""
        self._ended.set()
        if self._thread is not None:
            if self._thread.is_alive() and self._thread is not threading.current_thread():
                self._thread.join(10)
            self.site.close()
            self.changed(at_once=True)
        super().close()

    def _do(self, words: str, action: Callable[[], object]) -> None:
        rows = self.site.rows()
        action()
        self.events.append((rows[-1]["round"] if rows else 0, words))

    def _try(self, action: Callable[[], object]) -> None:
        """Do what a control says; what cannot be done is said beside it."""
        said = ""
        try:
            action()
        except AIoTwinError as error:
            said = f"<span role='alert'>✘ {escape(str(error))}</span>"
        self._refused.value = said

    def _policy_chosen(self, change: Any) -> None:
        if change.new == self._policy:
            return
        self._try(lambda: self.use_policy(change.new))
        self.policy.value = self._policy  # what is in force, if the choice could not be

    def _follow(self) -> None:
        while not self._ended.wait(POLL_SECONDS):
            try:
                rows = self.site.rows()
                if rows and rows[-1]["round"] > self._drawn:
                    self._drawn = rows[-1]["round"]
                    self._show(rows, self.site.snapshot())
            except AIoTwinError:
                return  # closed elsewhere
            except Exception as error:  # a picture that fails must not end those that follow
                log.exception("the panel goes on")
                self._say(f"what happened in window {self._drawn} cannot be shown: {error}")

    def _show(self, rows: list[dict[str, Any]], snapshot: dict[str, Any]) -> None:
        self._rows, self._last = rows, snapshot
        for view, figure in (
            (self.map, draw_service_map(snapshot)),
            (self.quality, draw_quality(rows, snapshot["max_latency_ms"], self.events)),
        ):
            picture = Picture(figure)
            with view.hold_sync():
                view.png, view.alt = picture.png, picture.alt
        said = " ".join(snapshot["problems"][-1:]) or quality_words(rows)
        self._say(said)
        self.controls.offer(snapshot)
        self.changed()

    def _say(self, words: str) -> None:
        self._status.value = f"<span role='status'>{escape(words)}</span>"


# What can be done, and for what an amount is needed: how it is called, and what is proposed.
AMOUNTS = {
    "overload": ("times slower", 8.0),
    "slow link": ("ms there and back", 300.0),
    "new node": ("ms away", 10.0),
    "traffic burst": ("times as many", 4.0),
}


class Controls(widgets.HBox):  # type: ignore[misc]
    """What to do, to whom, how much, and a button."""

    def __init__(self, lab: ServingLab) -> None:
        narrow = {"description_width": "30px"}
        self._lab = lab
        self.what = widgets.Dropdown(options=ACTIONS, description="Do", style=narrow, layout={"width": "170px"})
        self.whom = widgets.Dropdown(options=[], description="to", style=narrow, layout={"width": "210px"})
        self.amount = widgets.FloatText(style={"description_width": "115px"}, layout={"width": "190px"})
        self.button = widgets.Button(description="Do it", icon="bolt", tooltip="Do it now", layout={"width": "90px"})
        self._offered: dict[str, list[str]] = {}
        super().__init__([self.what, self.whom, self.amount, self.button], layout={"flex_flow": "row wrap"})
        self.what.observe(self._chosen, "value")
        self.button.on_click(lambda _: lab._try(self._do))
        self._propose()

    def offer(self, snapshot: dict[str, Any]) -> None:
        """Offer what there is now; what is chosen stays as long as it is there."""
        nodes = [node["id"] for node in snapshot["nodes"]]
        up = [node["id"] for node in snapshot["nodes"] if node["up"]]
        self._offered = {
            "overload": nodes,
            "restore": nodes,
            "kill": [i["id"] for i in snapshot["instances"] if i["alive"]] + up,
            "slow link": [f"{link['a']}–{link['b']}" for link in snapshot["links"]],
            "new node": [f"near {node}" for node in nodes],
            "traffic burst": [client["id"] for client in snapshot["clients"]],
        }
        self._refresh()

    def _chosen(self, _: Any) -> None:
        self._refresh()
        self._propose()

    def _propose(self) -> None:
        self.amount.disabled = self.what.value not in AMOUNTS
        self.amount.description, self.amount.value = AMOUNTS.get(self.what.value, ("by", 0.0))

    def _refresh(self) -> None:
        options = tuple(self._offered.get(self.what.value, ()))
        if self.whom.options != options:
            before = self.whom.value
            self.whom.options = options
            self.whom.value = before if before in options else next(iter(options), None)

    def _do(self) -> None:
        whom, amount, lab = self.whom.value, self.amount.value, self._lab
        match self.what.value:
            case _ if whom is None:
                raise InvalidInput("there is nothing to do this to yet; wait for the first window")
            case "overload":
                lab.overload(whom, amount)
            case "kill":
                lab.kill(whom)
            case "restore":
                lab.restore(whom)
            case "slow link":
                a, _, b = whom.partition("–")
                lab.slow_link(a, b, amount)
            case "new node":
                taken = {node["id"] for node in lab.site.snapshot()["nodes"]}
                free = next(name for k in count(1) if (name := f"edge{k}") not in taken)
                lab.new_node(free, whom.removeprefix("near "), amount)
            case "traffic burst":
                lab.burst(whom, amount)
