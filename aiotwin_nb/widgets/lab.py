"""The lab: all panels around one session."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets

from aiotwin_nb.api import Source, resolve
from aiotwin_nb.errors import InvalidInput
from aiotwin_nb.widgets.cluster import ClusterPanel
from aiotwin_nb.widgets.decisions import DecisionsPanel
from aiotwin_nb.widgets.events import EventsPanel
from aiotwin_nb.widgets.figures import Picture
from aiotwin_nb.widgets.launch import LaunchPanel, status_chip
from aiotwin_nb.widgets.metrics import MetricsPanel
from aiotwin_nb.widgets.panel import Panel
from aiotwin_nb.widgets.predict import PredictPanel
from aiotwin_nb.widgets.runs import list_runs
from aiotwin_nb.widgets.session import Session
from aiotwin_nb.widgets.strategy import StrategyPanel
from aiotwin_nb.widgets.theme import box, html, style_sheet
from aiotwin_nb.widgets.topology import TopologyPanel

if TYPE_CHECKING:
    import pandas as pd

PLAN, RUN, DECISIONS = 0, 1, 2


class Lab(Panel):
    """One coherent application in a notebook cell; every panel is also usable alone (`lab.metrics`).

    `scenario`: a lab's name, a scenario file or a Scenario. `overrides`: values by dotted path, with __ for the dot.
    `runs`: the folder of its runs. Raises InvalidInput for a scenario that cannot be.

    >>> lab = Lab("improvement", seed=2, validation__window=4)
    >>> lab.finish()  # or press Start  # doctest: +SKIP
    """

    title = "AIoTwin Lab"

    def __init__(self, scenario: Source = "improvement", *, runs: str | Path = "runs", **overrides: Any) -> None:
        session = Session(resolve(scenario, overrides), runs=runs)
        super().__init__(session)
        self.add_class("aiotwin-lab")
        self.cluster = ClusterPanel(session)
        self.strategy = StrategyPanel(session)
        self.run = LaunchPanel(session)
        self.metrics = MetricsPanel(session)
        self.topology = TopologyPanel(session)
        self.events = EventsPanel(session)
        self.predict = PredictPanel(session)
        self.decisions = DecisionsPanel(session)
        self._header = html()
        self._tabs = widgets.Tab(
            [
                box(widgets.VBox, [self.strategy, self.cluster]),
                box(widgets.VBox, [self.topology, self.metrics, self.events]),
                box(widgets.VBox, [self.predict, self.decisions]),
            ],
            titles=("Plan", "Run", "Decisions"),
        )
        self.children = [style_sheet(), self._header, self.run, self._tabs]
        self._draw_header()
        session.observe(self._changed, ["scenario", "phase", "snapshot", "problem"])

    @property
    def panels(self) -> tuple[Panel, ...]:
        """All panels."""
        return (
            self.cluster,
            self.strategy,
            self.run,
            self.topology,
            self.metrics,
            self.events,
            self.predict,
            self.decisions,
        )

    @classmethod
    def attach(cls, reference: str | Path | None = None, *, runs: str | Path = "runs") -> Lab:
        """A lab on a run that exists, running or not, with its whole history; by default the newest under `runs`.

        The launch panel lists the other runs. Raises InvalidInput when there is no such run.
        """
        session_runs = list_runs(runs)
        if reference is None:
            if not session_runs:
                raise InvalidInput(f"there are no runs under {runs}; start one: Lab().run.start()")
            reference = session_runs[0].path
        lab = cls(runs=runs)
        lab.run.attach(reference)
        lab._tabs.selected_index = RUN
        return lab

    @staticmethod
    def runs(folder: str | Path = "runs") -> pd.DataFrame:
        """The runs in a folder, the newest first: run, scenario, status, age, rounds, accuracy (percent)."""
        import pandas as pd

        rows = [(r.path.name, r.scenario, r.status, r.age, r.rounds, r.accuracy) for r in list_runs(folder)]
        table = pd.DataFrame(rows, columns=["run", "scenario", "status", "age", "rounds", "accuracy"])
        return table.astype({"rounds": "Int64", "accuracy": "Float64"})

    def wait(self, timeout: float | None = None) -> Lab:
        """Wait for the run's end; raises RunFailed when it failed, TimeoutError after `timeout` seconds."""
        self.session.wait(timeout)
        return self

    def finish(self, timeout: float | None = None) -> Lab:
        """See the run through: start it, unless somebody has pressed Start already, and wait for its end."""
        if self.session.run is None and self.session.phase == "none":
            self.run.start()
        return self.wait(timeout)

    def __await__(self) -> Generator[Any, None, Lab]:
        return asyncio.to_thread(self.wait).__await__()

    def describe(self) -> str:
        """The whole lab in words: what is chosen, how far it is, what was decided, and how to go on."""
        parts = [
            f"AIoTwin Lab · {self.session.scenario.name}",
            f"status: {self.run.describe()}",
            self.strategy.describe(),
        ]
        if self.session.snapshot is not None:
            parts.append(self.decisions.describe())
        return "\n\n".join([*parts, self._next_step()])

    def picture(self) -> Picture | None:
        """The run's curves, or before there are any the nodes."""
        drawn = self.metrics.picture() if self.session.snapshot is not None else None
        return drawn or self.topology.picture() or self.strategy.picture()

    def close(self) -> None:
        """End this notebook's readers and painters; runs go on. Safe to call twice."""
        if not hasattr(self, "session"):  # refused while it was made, and now thrown away
            return
        self.session.close()
        for panel in self.panels:
            panel.close()
        super().close()

    def _next_step(self) -> str:
        snapshot = self.session.snapshot
        if self.session.phase == "starting":
            return "next: lab.wait()"
        if snapshot is None:
            return "next: lab.finish() starts the run and waits for its end; lab.session.change({...}) edits the plan"
        if snapshot.live:
            return "next: lab.wait(), lab.session.inject({...}), lab.run.stop()"
        if snapshot.status == "finished":
            return "next: lab.metrics.picture(), lab.session.run.history, lab.run.start() for another run"
        return "next: lab.run.resume() goes on where it ended"

    def _changed(self, change: Any) -> None:
        if change.name == "phase" and change.new == "starting":
            self._tabs.selected_index = RUN
        if change.name != "snapshot" or getattr(change.old, "status", "") != getattr(change.new, "status", ""):
            self._draw_header()

    def _draw_header(self) -> None:
        scenario = self.session.scenario
        text = (
            f"<div class='aiotwin-header'><strong>AIoTwin Lab</strong><span>{escape(scenario.name)}</span>"
            f"{status_chip(self.session)}<span class='aiotwin-remark'>{len(scenario.nodes)} nodes · "
            f"seed {scenario.seed} · {escape(scenario.strategy.name)}</span></div>"
        )
        if text != self._header.value:
            self._header.value = text
