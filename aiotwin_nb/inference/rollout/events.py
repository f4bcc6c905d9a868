"""What a roll-out writes into its journal, each before it is done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from aiotwin_nb.decision.validation import Verdict
from aiotwin_nb.inference.rollout.judging import Difference, Window
from aiotwin_nb.orchestration.vocabulary import Vocabulary


@dataclass(frozen=True)
class Before:
    """The model of an instance before the roll-out, and the checkpoint that it came from."""

    model: str
    checkpoint: str


@dataclass(frozen=True)
class RolloutStarted:
    """Some instances are going to try a checkpoint. `before`: {instance: its model} of all."""

    checkpoint: str
    canaries: tuple[str, ...]
    before: Mapping[str, Before]


@dataclass(frozen=True)
class RolloutJudged:
    """A window is over, and what follows from all of them. `window`: None when it is decided without one."""

    verdict: Verdict
    reason: str
    window: Window | None = None
    accuracy: Difference | None = None
    qos: Difference | None = None


@dataclass(frozen=True)
class RolloutEnded:
    """All instances have the model that was decided on, but for those that could not be reached: {instance: why}."""

    verdict: Literal["kept", "reverted"]
    reason: str
    checkpoint: str
    unreached: Mapping[str, str] = field(default_factory=dict)


ROLLOUT_EVENTS = (RolloutStarted, RolloutJudged, RolloutEnded)
ROLLOUT = Vocabulary(ROLLOUT_EVENTS)
