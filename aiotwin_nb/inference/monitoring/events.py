"""The vocabulary of the inference side's journal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from aiotwin_nb.inference.monitoring.accuracy import AccuracyWindow
from aiotwin_nb.inference.monitoring.windows import Window
from aiotwin_nb.inference.rollout.events import ROLLOUT_EVENTS
from aiotwin_nb.orchestration.vocabulary import Vocabulary


@dataclass(frozen=True)
class MonitoringStarted:
    """A monitor begins. `tracking_id`: of its W&B run."""

    name: str
    tracking_id: str


@dataclass(frozen=True)
class WindowClosed:
    """A window of time is over."""

    window: Window


@dataclass(frozen=True)
class AccuracyMeasured:
    """Enough labels have come."""

    accuracy: AccuracyWindow


@dataclass(frozen=True)
class DriftFound:
    """A drift test gave an alarm. `test`: its name."""

    test: Literal["cusum", "kolmogorov_smirnov"]
    detail: str


@dataclass(frozen=True)
class RetrainingStarted:
    """A learning run was started. `run`: its directory."""

    reason: str
    scenario: str
    run: str


@dataclass(frozen=True)
class RetrainingFailed:
    """A learning run gave no model."""

    run: str
    reason: str


@dataclass(frozen=True)
class RolledOut:
    """A new model was tried as a canary, and kept or reverted. `checkpoint`: of the model that was tried."""

    checkpoint: str
    kept: bool
    reason: str


@dataclass(frozen=True)
class Replaced:
    """Replicas were placed. `cause`: first, lost, bounds, cost or person."""

    cause: str
    reason: str
    replicas: Mapping[str, int]
    started: Mapping[str, int]
    stopped: Mapping[str, int]
    change_cost: float
    missed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Injected:
    """Something was done to the continuum on purpose."""

    what: str
    subject: str
    value: float | None = None


@dataclass(frozen=True)
class MonitoringEnded:
    """The monitor ends."""


INFERENCE = Vocabulary(
    (
        MonitoringStarted,
        WindowClosed,
        AccuracyMeasured,
        DriftFound,
        RetrainingStarted,
        RetrainingFailed,
        RolledOut,
        Replaced,
        Injected,
        MonitoringEnded,
        *ROLLOUT_EVENTS,
    )
)
