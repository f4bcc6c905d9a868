"""A model that answers, and whether a checkpoint fits the service."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiotwin_nb.errors import InvalidInput
from aiotwin_nb.inference.service.checkpoints import Learned
from fl_service.errors import TaskError
from fl_service.tasks.classifier import Classifier, ClassifierKind, same_inputs


@dataclass(frozen=True)
class Model:
    """A model with its origin; never changed, so that what began with it ends with it."""

    id: str
    round: int
    path: Path
    classifier: Classifier

    @property
    def shown(self) -> dict[str, Any]:
        """What answers say of it."""
        return {"id": self.id, "round": self.round}


def build(kind: ClassifierKind, learned: Learned) -> Model:
    """Make the model of a checkpoint; raises InvalidInput when it is of another task or architecture."""
    if not same_inputs(learned.task, kind.task):
        raise InvalidInput(f"{learned.path}: is of task {_told(learned.task)}; served here is {_told(kind.task)}")
    try:
        classifier = kind.build(learned.arrays)
    except TaskError as error:
        raise InvalidInput(f"{learned.path}: {error}") from error
    return Model(learned.id, learned.round, learned.path, classifier)


def _told(task: Any) -> str:
    return ", ".join(f"{key} {value!r}" for key, value in task.items())
