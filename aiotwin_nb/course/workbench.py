"""Federated learning taken apart: the clients of a lab, one training call at a time, for building the rest by hand."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from aiotwin_nb.api import training_spec
from aiotwin_nb.errors import InvalidInput
from aiotwin_nb.runtime.embedded import as_invalid_input, client_node
from aiotwin_nb.scenario import Scenario
from fl_service.tasks import FitConfig, make_task

Model = dict[str, np.ndarray]  # {name of a parameter: its values}


class Workbench:
    """Model, clients and test set of a scenario, without any aggregator.

    The toolkit's own task does the work, with the same random draws as in a run: whoever averages like the aggregators
    gets the accuracies of `aiotwin run`.
    """

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        with as_invalid_input():
            self._task = make_task(training_spec(scenario))
        nodes = scenario.infrastructure
        self.clients = nodes.clients
        self._nodes = {name: client_node(nodes.nodes[name]) for name in nodes.clients}
        self.samples = {name: nodes.nodes[name].samples for name in nodes.clients}

    def initial_model(self) -> Model:
        """The untrained model; it follows from the seed."""
        return self._task.initial_arrays()

    def train(self, model: Mapping[str, np.ndarray], client: str, round: int, local_round: int = 1) -> Model:
        """The model after a client has trained it on its own data for the scenario's epochs; the argument is unchanged.

        `round`, `local_round`: count from 1; the order of the images follows from them.
        """
        if client not in self._nodes:
            raise InvalidInput(f"client {client!r}: there is none; known are {', '.join(self.clients)}")
        task = self.scenario.task
        config = FitConfig(
            epochs=self.scenario.training.epochs,
            learning_rate=task.learning_rate,
            batch_size=task.batch_size,
            momentum=task.momentum,
            optimizer=task.optimizer,
            round=round,
            local_round=local_round,
        )
        return self._task.fit(dict(model), self._nodes[client], config).arrays

    def accuracy(self, model: Mapping[str, np.ndarray]) -> float:
        """Accuracy on the global test set, in percent."""
        return self._task.evaluate(dict(model)).accuracy

    def accuracy_per_label(self, model: Mapping[str, np.ndarray]) -> dict[int, float]:
        """Accuracy on the test images of each label, in percent."""
        return dict(self._task.evaluate(dict(model)).per_class)
