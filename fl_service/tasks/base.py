"""What the FL service asks of a learning task."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

import numpy as np

from fl_service.spec import ClientNode

Arrays: TypeAlias = dict[str, np.ndarray]


@dataclass(frozen=True)
class FitConfig:
    """How to train once; `round` and `local_round` count from 1 and key the order of the batches."""

    epochs: int
    learning_rate: float
    batch_size: int
    momentum: float = 0.9
    optimizer: str = "sgd"
    proximal_mu: float = 0.0
    round: int = 0
    local_round: int = 1


@dataclass(frozen=True)
class FitResult:
    """A trained model, the number of samples it was trained on and the mean loss of the last epoch (None: unknown)."""

    arrays: Arrays
    samples: int
    train_loss: float | None


@dataclass(frozen=True)
class Evaluation:
    """Quality on the global test set: accuracy in percent, mean loss, and accuracy per class where it is known."""

    accuracy: float
    loss: float
    per_class: Mapping[int, float] = field(default_factory=dict)


class Task(Protocol):
    """A model, the clients' data and the global test set. All of it derives from the settings and the run seed."""

    def check(self, nodes: Iterable[ClientNode]) -> None:
        """Raise TaskError for a client whose data cannot be had (naming the field), before anything is trained."""

    def initial_arrays(self) -> Arrays:
        """Return the untrained model: {name: array}."""

    def fit(self, arrays: Arrays, node: ClientNode, config: FitConfig) -> FitResult:
        """Train the model on a client's data."""

    def evaluate(self, arrays: Arrays) -> Evaluation:
        """Evaluate the model on the global test set."""
