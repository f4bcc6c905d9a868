"""The lab: all panels around one session."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from pathlib import Path
from typing import Any

from aiotwin_nb.api import Source
from aiotwin_nb.widgets.cluster import ClusterPanel
from aiotwin_nb.widgets.decisions import DecisionsPanel
from aiotwin_nb.widgets.events import EventsPanel
from aiotwin_nb.widgets.figures import Picture
from aiotwin_nb.widgets.launch import LaunchPanel
from aiotwin_nb.widgets.metrics import MetricsPanel
from aiotwin_nb.widgets.panel import Panel
from aiotwin_nb.widgets.predict import PredictPanel
from aiotwin_nb.widgets.session import Session
from aiotwin_nb.widgets.strategy import StrategyPanel
from aiotwin_nb.widgets.topology import TopologyPanel


class Lab(Panel):
    """One coherent application in a notebook cell; every panel is also usable alone.

    >>> lab = Lab("improvement")  # a lab's name, a scenario file or a Scenario
    >>> lab.run.start(); lab.wait()  # doctest: +SKIP
    """

    title = "AIoTwin Lab"

    def __init__(self, scenario: Source = "improvement", *, runs: str | Path = "runs") -> None:
        session = Session(scenario, runs=runs)
        super().__init__(session)
        self.cluster = ClusterPanel(session)
        self.strategy = StrategyPanel(session)
        self.run = LaunchPanel(session)
        self.metrics = MetricsPanel(session)
        self.topology = TopologyPanel(session)
        self.events = EventsPanel(session)
        self.predict = PredictPanel(session)
        self.decisions = DecisionsPanel(session)
        self.children = self.panels

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

    def describe(self) -> str:
        """What all panels show, in words."""
        told = [panel.describe() for panel in self.panels]
        return "\n\n".join(
            [self.title, *(text for text, panel in zip(told, self.panels, strict=True) if text != panel.title)]
        )

    def picture(self) -> Picture | None:
        """The curves, or where there are none yet, the tree of the nodes."""
        return self.metrics.picture() or self.decisions.picture() or self.topology.picture()

    @classmethod
    def attach(cls, reference: str | Path | None = None, *, runs: str | Path = "runs") -> Lab:
        """A lab on a run that exists, with its whole history; by default the newest under `runs`."""
        lab = cls(runs=runs)
        lab.session.attach(reference)
        return lab

    def wait(self, timeout: float | None = None) -> Lab:
        """Wait for the run's end (headless notebooks, scripts)."""
        self.session.wait(timeout)
        return self

    def __await__(self) -> Generator[Any, None, Lab]:
        return asyncio.to_thread(self.wait).__await__()

    def close(self) -> None:
        """End this notebook's readers and painters; runs go on. Safe to call twice."""
        for panel in self.panels:
            panel.close()
        self.session.close()
        super().close()
