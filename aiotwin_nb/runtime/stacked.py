"""The fast runtime: all clients of a round trained as one batched model. For comparisons and sweeps."""

from __future__ import annotations

from aiotwin_nb.errors import InvalidInput
from aiotwin_nb.runtime.embedded import InProcessRuntime, as_invalid_input
from fl_service import stacked
from fl_service.spec import TrainingSpec


def can_stack(spec: TrainingSpec) -> str | None:
    """Say what of a training does not allow this runtime; None when it does. Raises InvalidInput for a bad task."""
    with as_invalid_input():
        return stacked.can_stack(spec)


class StackedRuntime(InProcessRuntime):
    """Runtime with the draws of the embedded one, which it agrees with up to rounding, at a fraction of the time."""

    name = "stacked"

    def __init__(self, spec: TrainingSpec, workers: int = 0) -> None:
        if workers:
            raise InvalidInput(f"workers: {workers} is not allowed; all clients are one model here, so it must be 0")
        reason = can_stack(spec)
        if reason:
            raise InvalidInput(f"--runtime stacked: {reason}; use --runtime embedded")
        with as_invalid_input():
            super().__init__(stacked.StackedPipeline(spec))
