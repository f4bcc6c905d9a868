"""The runs of an orchestrator: folders under one folder. Nothing else is remembered, so a restart loses nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

from aiotwin_nb import api
from aiotwin_nb.errors import AIoTwinError
from aiotwin_nb.scenario import Scenario

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


class UnknownRun(AIoTwinError):
    """There is no run of that id."""


class TooManyRuns(AIoTwinError):
    """As many runs as are allowed at once are running."""


@dataclass
class Runs:
    """Starts runs, each a process of its own, and finds them again.

    `folder`: where they are. `cluster`: options of a run on a cluster (as `api.run` takes them). `at_once`: how many
    may run at a time.
    """

    folder: Path
    runtime: str = "embedded"
    cluster: Mapping[str, str] = field(default_factory=dict)
    tracking: str | None = None
    at_once: int = 4
    _starting: Lock = field(default_factory=Lock, init=False, repr=False)

    def start(self, scenario: Scenario) -> str:
        """Start a run; returns its id when it has begun. Raises InvalidInput for what is wrong with the scenario."""
        directory = self.folder / api.default_directory(scenario).name
        with self._starting:
            running = [run.path.name for run in self.all() if run.status == "running"]
            if len(running) >= self.at_once:
                raise TooManyRuns(f"{self.at_once} may run at once, and these do: {', '.join(running)}; stop one first")
            api.run(scenario, out=directory, tracking=self.tracking, runtime=self.runtime, cluster=self.cluster)
        return directory.name

    def get(self, run_id: str) -> api.Run:
        """The run of an id; raises UnknownRun."""
        path = self.folder / run_id
        if not _ID.fullmatch(run_id) or not (path / "scenario.yaml").is_file():
            known = ", ".join(run.path.name for run in self.all()[-5:])
            raise UnknownRun(
                f"no run with the given ID {run_id!r}; {f'the last ones are {known}' if known else 'none'}"
            )
        return api.Run(path)

    def all(self) -> list[api.Run]:
        """All runs, in the order in which they began."""
        found = sorted(self.folder.glob("*/scenario.yaml"), key=lambda file: file.stat().st_mtime)
        return [api.Run(file.parent) for file in found if _ID.fullmatch(file.parent.name)]

    def resume_interrupted(self) -> list[str]:
        """Go on with runs whose processes died, with this orchestrator's machine or pod; returns their ids."""
        lost = [run for run in self.all() if run.status == "interrupted"]
        for run in lost:
            run.resume()
        return [run.path.name for run in lost]


def brief(run: api.Run) -> dict[str, Any]:
    """What a list of runs says of one."""
    summary = told(run)
    fields = ("run_id", "scenario", "status", "rounds", "final_accuracy", "total_cost", "budget")
    return {name: summary[name] for name in fields}


def told(run: api.Run) -> dict[str, Any]:
    """What is known of a run: its summary so far, and whether its process lives."""
    return {**run.summary, "run_id": run.path.name, "status": run.status}
