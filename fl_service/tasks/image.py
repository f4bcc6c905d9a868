"""The built-in task: image classification with a small network."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from fl_service.errors import TaskError
from fl_service.rng import Shuffler, derive_seed
from fl_service.spec import ClientNode, TaskSettings
from fl_service.tasks import datasets, models, partition
from fl_service.tasks.base import Arrays, Evaluation, FitConfig, FitResult
from fl_service.tasks.flat import FlatNetwork, optimizer

_TEST_CHOICE_SEED = 7  # fixed: runs with different seeds are compared on the same test images
_EVALUATION_BATCH = 1000


class ImageTask:
    """Image classification on a built-in data set.

    One thread: small networks are several times slower on two when the machine is busy, and the sums' order is fixed.
    """

    def __init__(self, settings: TaskSettings, seed: int, *, download: bool | None = None) -> None:
        torch.set_num_threads(1)
        self._settings, self._seed, self._shuffler = settings, seed, Shuffler(seed)
        self._data = datasets.load(settings.name, download=download)
        available = len(self._data.test_labels)
        if settings.test_samples is not None and settings.test_samples > available:
            raise TaskError(f"task.test_samples: {settings.test_samples} is too many; allowed: 1–{available}")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(seed, "model"))
            self._network = FlatNetwork(models.build(settings.model, self._data.shape, self._data.classes))
        self._initial = self._network.arrays()
        self._prepared: dict[str, tuple[ClientNode, Tensor, Tensor]] = {}

    def check(self, nodes: Iterable[ClientNode]) -> None:
        """Raise TaskError naming the field of a client whose data cannot be had."""
        for node in nodes:
            partition.check_node(node, self._data.train_labels, self._data.classes, self._settings.partition)

    def initial_arrays(self) -> Arrays:
        """Return the untrained model, whose weights derive from the run seed."""
        return {name: array.copy() for name, array in self._initial.items()}

    def fit(self, arrays: Arrays, node: ClientNode, config: FitConfig) -> FitResult:
        """Train on a client's data; the optimiser starts afresh."""
        images, labels = self.client_data(node)
        network = self._network
        network.load(arrays)
        network.module.train()
        start = network.weights.clone() if config.proximal_mu else None
        updates = optimizer(config.optimizer, network.weights, config.learning_rate, config.momentum)
        losses: list[Tensor] = []
        for epoch in range(config.epochs):
            losses = []
            order = torch.from_numpy(self.order(node.name, config.round, config.local_round, epoch, len(labels)))
            for batch in torch.split(order, config.batch_size):
                scores = network.module(images.index_select(0, batch))
                loss = functional.cross_entropy(scores, labels.index_select(0, batch))
                gradient = network.backward(loss)
                losses.append(loss.detach() * (len(batch) / len(labels)))
                with torch.no_grad():
                    if start is not None:
                        gradient.add_(network.weights - start, alpha=config.proximal_mu)
                    updates.step(gradient)
        return FitResult(network.arrays(), len(labels), float(torch.stack(losses).sum()))

    def evaluate(self, arrays: Arrays) -> Evaluation:
        """Evaluate on the fixed choice from the global test set."""
        images, labels = self._test_tensors
        self._network.load(arrays)
        self._network.module.eval()
        with torch.inference_mode():
            scores = torch.cat([self._network.module(part) for part in torch.split(images, _EVALUATION_BATCH)])
            loss = float(functional.cross_entropy(scores, labels))
        right, true = (scores.argmax(1) == labels).numpy(), labels.numpy()
        per_class = {int(label): _percent(right[true == label]) for label in np.unique(true)}
        return Evaluation(_percent(right), loss, per_class)

    def order(self, name: str, round_number: int, local_round: int, epoch: int, samples: int) -> np.ndarray:
        """Return the order in which a client goes through its samples in one epoch (from 0): a permutation of them."""
        return self._shuffler.permutation(samples, "batches", name, round_number, local_round, epoch)

    def client_data(self, node: ClientNode) -> tuple[Tensor, Tensor]:
        """Return a client's training images (n, channels, height, width) as the network takes them, and labels (n,)."""
        known = self._prepared.get(node.name)
        if known is None or known[0] != node:
            chosen, labels = partition.select(node, self._data, self._settings.partition, self._seed)
            images = torch.from_numpy(self._data.normalised(self._data.train_images[chosen]))
            known = self._prepared[node.name] = (node, images, torch.from_numpy(labels))
        return known[1], known[2]

    @cached_property
    def _test_tensors(self) -> tuple[Tensor, Tensor]:
        count = len(self._data.test_labels)
        wanted = self._settings.test_samples or count
        chosen = np.arange(count)
        if wanted < count:
            chosen = np.random.default_rng(_TEST_CHOICE_SEED).permutation(count)[:wanted]
        images = torch.from_numpy(self._data.normalised(self._data.test_images[chosen]))
        return images, torch.from_numpy(self._data.test_labels[chosen])


def _percent(right: np.ndarray) -> float:
    """Return the share of True in percent, exactly 7.4 for 37 of 500."""
    return 100 * int(right.sum()) / len(right)
