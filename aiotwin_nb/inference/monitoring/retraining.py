"""When to learn again: `retrain when accuracy < x for n windows`. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

from aiotwin_nb.errors import InvalidInput
from aiotwin_nb.inference.monitoring.accuracy import AccuracyWindow


@dataclass(frozen=True)
class RetrainRule:
    """Learn again when the accuracy is below `below` percent for `windows` windows in a row.

    Attributes:
        sure: a window counts only if the whole 95 % interval of its accuracy is below
        rest: windows after a decision on a new model before the rule looks again
    """

    below: float
    windows: int = 3
    sure: bool = False
    rest: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.below <= 100:
            raise InvalidInput(f"below: is {self.below:g}; accuracies are percent, above 0 and at most 100")
        if self.windows < 1 or self.rest < 0:
            raise InvalidInput(f"windows {self.windows}, rest {self.rest}: must be at least 1 and at least 0")

    def __str__(self) -> str:
        return f"retrain when accuracy < {self.below:g} % for {self.windows} windows"


@dataclass(frozen=True)
class RetrainState:
    """`below`: windows in a row below; `resting`: windows not looked at yet; `learning`: a run is under way."""

    below: int = 0
    resting: int = 0
    learning: bool = False

    def decided(self, rule: RetrainRule) -> RetrainState:
        """The state once the new model is in force or refused."""
        return RetrainState(resting=rule.rest)


@dataclass(frozen=True)
class RetrainWanted:
    """An action: start a learning run. `accuracy`: of the last window, percent."""

    window: int
    accuracy: float
    reason: str


def retrain_step(
    rule: RetrainRule, state: RetrainState, window: AccuracyWindow
) -> tuple[RetrainState, RetrainWanted | None]:
    """Take in a window; return the state after it and what is wanted."""
    if state.learning:
        return state, None
    if state.resting:
        return replace(state, resting=state.resting - 1), None
    accuracy = window.interval[1] if rule.sure else window.accuracy
    below = state.below + 1 if accuracy < rule.below else 0
    if below < rule.windows:
        return replace(state, below=below), None
    reason = f"accuracy {window.accuracy:.1f} % is below {rule.below:g} % for {below} windows"
    return RetrainState(learning=True), RetrainWanted(window.number, window.accuracy, reason)
