"""The runs that there are: a list for people to choose from, made without reading whole journals."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from aiotwin_nb.orchestration.rundir import RunDirectory


@dataclass(frozen=True)
class ListedRun:
    """One run. `began`: seconds since the epoch; `rounds`, `accuracy` (percent): None until it has ended."""

    path: Path
    scenario: str
    status: str
    began: float
    rounds: int | None = None
    accuracy: float | None = None

    @property
    def age(self) -> str:
        """How long ago it began, in the unit that fits."""
        return ago(time.time() - self.began)


def list_runs(folder: str | Path) -> list[ListedRun]:
    """Runs in a folder, the newest first; what cannot be read is left out."""
    found = []
    for file in Path(folder).glob("*/scenario.yaml"):
        try:
            found.append(_listed(RunDirectory(file.parent), file.stat().st_mtime))
        except (OSError, ValueError, TypeError, LookupError, yaml.YAMLError):
            continue
    return sorted(found, key=lambda run: (-run.began, run.path.name))


def ago(seconds: float) -> str:
    """`just now`, `5 min ago`, `3 h ago`, `2 days ago`."""
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= (2 if unit == "days" else 1) * size:
            return f"{seconds / size:.0f} {unit} ago"
    return "just now"


def _listed(directory: RunDirectory, began: float) -> ListedRun:
    alive = directory.is_owned()
    summary = {} if alive else _summary(directory)
    return ListedRun(
        path=directory.path,
        scenario=str(summary.get("scenario") or _name(directory.scenario_file)),
        status="running" if alive else str(summary.get("status", "interrupted")),
        began=began,
        rounds=summary.get("rounds"),
        accuracy=summary.get("final_accuracy"),
    )


def _summary(directory: RunDirectory) -> dict[str, Any]:
    """The summary of a run that has ended; empty where a later life of the run has not."""
    try:
        if directory.summary_file.stat().st_mtime < directory.journal_file.stat().st_mtime:
            return {}
        return dict(json.loads(directory.summary_file.read_bytes()))
    except FileNotFoundError:
        return {}


def _name(file: Path) -> str:
    """The scenario's name, which a run's scenario.yaml begins with."""
    with file.open(encoding="utf-8") as text:
        return str(yaml.safe_load(text.readline())["name"])
