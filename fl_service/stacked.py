"""The whole service as array arithmetic: all clients of a round are trained as one batched perceptron.

The same draws, the same arithmetic and the same order of averaging as the `Pipeline` of Flower apps, which it agrees
with up to rounding; without messages, and with one matrix product where that one has as many as there are clients. It
knows one network (`mlp`), one optimiser (SGD with momentum) and one aggregation (FedAvg), whose derivatives and
averages are written out here.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from fl_service import checkpoint
from fl_service.errors import TaskError
from fl_service.hierarchy import ClientReport
from fl_service.pipeline import RoundReport, fingerprint
from fl_service.records import to_arrays, to_record
from fl_service.spec import ClientNode, Plan, Slots, TaskSettings, TrainingSpec
from fl_service.tasks.image import ImageTask
from fl_service.updates import last_layer_change

_DIVERGED = "it diverged; try a smaller learning rate"


def can_stack(spec: TrainingSpec) -> str | None:
    """Say what of a training keeps its clients from being stacked: None when nothing does. Raises TaskError."""
    settings = spec.settings
    if settings.file is not None:
        return f"task.file: {Path(settings.file).name!r} is a task of one's own, not a built-in data set"
    if settings.model != "mlp":
        return f"task.model: {settings.model!r} is not 'mlp'"
    if settings.optimizer != "sgd":
        return f"task.optimizer: {settings.optimizer!r} is not 'sgd'"
    for tier, (name, arguments) in (("global", spec.aggregation_global), ("local", spec.aggregation_local)):
        if name != "FedAvg":
            return f"aggregation.{tier}.name: {name!r} is not 'FedAvg'"
        if arguments:
            return f"aggregation.{tier}.args: {dict(arguments)} is not plain FedAvg"
    return None


class StackedPipeline:
    """Hierarchical federated learning driven from outside, as `Pipeline` is; raises TaskError for what cannot stack."""

    def __init__(self, spec: TrainingSpec) -> None:
        reason = can_stack(spec)
        if reason:
            raise TaskError(f"{reason}, so the clients cannot be trained as one model")
        self._spec, self._settings = spec, spec.settings
        self._task = ImageTask(self._settings, spec.seed)
        initial = self._task.initial_arrays()
        self._shapes = {name: array.shape for name, array in initial.items()}
        self._model = _flat(initial)
        self._round = 0
        self._updates: dict[str, list[float]] = {}

    def start(self, clients: Sequence[ClientNode], nodes: Iterable[str], plan: Plan) -> RoundReport:
        """Place the clients and evaluate the untrained model."""
        self._slots = Slots.of(self._settings, clients)
        self.apply(clients, nodes, plan)
        return self._report()

    def apply(self, clients: Sequence[ClientNode], nodes: Iterable[str], plan: Plan) -> None:
        """Make members and places those of the plan; the model is left alone."""
        placed = {node.name: node for node in map(self._slots.placed, clients)}
        members = [placed[name] for name in plan.clients]
        self._task.check(members)
        self._stack = _Stack(self._task, self._settings, members, plan.epochs) if members else None
        self._plan = plan

    def run_round(self, number: int) -> RoundReport:
        """Run one global round and evaluate the new model."""
        self._round, self._updates = number, {}
        clusters = [_Cluster(name, sorted(clients), self._model) for name, clients in sorted(self._plan.clusters)]
        for local_round in range(1, (1 if self._plan.is_flat else self._plan.local_rounds) + 1):
            self._train(clusters, local_round)
        clients = tuple(report for cluster in clusters for report in cluster.reports)
        return self._report(clients, self._combine(clusters))

    def close(self) -> None:
        """Nothing to end."""

    def save(self, path: Path) -> None:
        """Write a checkpoint, flushed to the disk; one that `Pipeline` reads, too."""
        facts = fingerprint(self._spec) | {"partitions": self._slots.count}
        checkpoint.save(
            checkpoint.Checkpoint(self._round, to_record(self._arrays()), {}, self._slots.given, facts), path
        )

    def restore(self, path: Path, clients: Sequence[ClientNode], nodes: Iterable[str], plan: Plan) -> int:
        """Go on from a checkpoint instead of `start`; returns its round. Raises CheckpointError."""
        saved = checkpoint.load(path, fingerprint(self._spec))
        self._slots = Slots.of(self._settings, clients)
        self._slots.count, self._slots.given = int(saved.fingerprint["partitions"]), dict(saved.slots)
        self.apply(clients, nodes, plan)
        arrays = to_arrays(saved.model)
        self._model, self._round = _flat({name: arrays[name] for name in self._shapes}), saved.round
        return saved.round

    @property
    def model_bytes(self) -> int:
        """Bytes of the model's arrays; known before the start too."""
        return self._model.nbytes

    def _train(self, clusters: Sequence[_Cluster], local_round: int) -> None:
        """Run one local round in all clusters."""
        if self._stack is None:
            return
        began = time.perf_counter()
        starts = {name: cluster.model for cluster in clusters for name in cluster.clients}
        fitted = self._stack.fit(starts, self._round, local_round)
        seconds = time.perf_counter() - began
        if self._spec.report_updates:
            self._note_updates(starts, fitted)
        for cluster in clusters:
            cluster.take(fitted, local_round, seconds)

    def _note_updates(self, starts: dict[str, np.ndarray], fitted: _Fitted) -> None:
        """Note what training did to every client's last layer, in its first local round with a usable update."""
        for name, row in fitted.rows.items():
            if name not in self._updates and not fitted.problem(row):
                self._updates[name] = last_layer_change(self._named(starts[name]), self._named(fitted.models[row]))

    def _combine(self, clusters: Sequence[_Cluster]) -> dict[str, str]:
        """Average the clusters' models into the global one; returns what was left out of it and why."""
        ga, flat = self._plan.global_aggregator, self._plan.is_flat
        if self._stack is None:
            return {ga: "there is no client: the model is unchanged"}
        problems: dict[str, str] = {}
        for cluster in clusters:
            problems |= cluster.problems(flat)
        trained = [cluster for cluster in clusters if cluster.used]
        if not trained:
            return {**problems, ga: "no update arrived: the model is unchanged"}
        weights = [sum(cluster.used.values()) for cluster in trained]
        self._model = average(np.stack([cluster.model for cluster in trained]), weights)
        return problems

    def _report(self, clients: tuple[ClientReport, ...] = (), problems: dict[str, str] | None = None) -> RoundReport:
        return RoundReport(self._round, self._task.evaluate(self._arrays()), clients, problems or {}, self._updates)

    def _arrays(self) -> dict[str, np.ndarray]:
        return self._named(self._model)

    def _named(self, model: np.ndarray) -> dict[str, np.ndarray]:
        """Return a model (p,) as named arrays."""
        ends = np.cumsum([math.prod(shape) for shape in self._shapes.values()])
        pieces = np.split(model, ends[:-1])
        return {name: piece.reshape(shape) for (name, shape), piece in zip(self._shapes.items(), pieces, strict=True)}


def average(models: np.ndarray, samples: Sequence[float]) -> np.ndarray:
    """Return FedAvg's mean (p,) of models (n, p), weighted by samples; summed in the order of the rows, as Flower does.

    Bit-equal to Flower's: weights in double precision, products and sums in the models' own.
    """
    total = sum(samples)
    shares = np.array([count / total for count in samples], models.dtype)
    return np.asarray(np.add.reduce(models * shares[:, None], axis=0))


@dataclass
class _Cluster:
    """One aggregator in one global round: its clients by name, and its model (p,) as it grows.

    `used`: {client: samples} of those whose update was used in at least one local round.
    """

    aggregator: str
    clients: Sequence[str]
    model: np.ndarray
    used: dict[str, int] = field(default_factory=dict)
    reports: list[ClientReport] = field(default_factory=list)
    _left_out: dict[str, tuple[int, str]] = field(default_factory=dict)

    def take(self, fitted: _Fitted, local_round: int, seconds: float) -> None:
        """Average the clients' models after a local round; `seconds`: what the batch of all clients took."""
        total = sum(fitted.samples)
        rows = []
        for name in self.clients:
            row = fitted.rows[name]
            problem = fitted.problem(row)
            if problem:
                self._left_out[name] = local_round, problem
                continue
            rows.append(row)
            samples, loss, norm = fitted.samples[row], fitted.losses[row], fitted.norms[row]
            share = seconds * samples / total
            self.reports.append(ClientReport(name, self.aggregator, local_round, samples, loss, share, norm))
            self.used[name] = samples
        if rows:
            self.model = average(fitted.models[rows], [fitted.samples[row] for row in rows])

    def problems(self, flat: bool) -> dict[str, str]:
        """{node: why its update was left out}; in flat FL there are no local rounds to speak of."""
        found = {
            name: problem if flat else f"local round {local_round}: {problem}"
            for name, (local_round, problem) in self._left_out.items()
        }
        return found if flat or self.used else {self.aggregator: "no client of it delivered an update", **found}


@dataclass(frozen=True)
class _Fitted:
    """What came of one local round, a row for each of the C clients.

    `models` (C, p), `losses` (C,): mean over the samples in the last epoch, `norms` (C,): ‖w_after − w_before‖₂.
    """

    rows: dict[str, int]
    samples: Sequence[int]
    models: np.ndarray
    losses: Sequence[float]
    norms: Sequence[float]

    def problem(self, row: int) -> str | None:
        """Why a client's update cannot be used, if so."""
        if not math.isfinite(self.losses[row]):
            return f"its training loss is {self.losses[row]}: {_DIVERGED}"
        if not math.isfinite(self.norms[row]):
            return f"its arrays are not finite (NaN or infinite): {_DIVERGED}"
        return None


@dataclass(frozen=True)
class _Step:
    """One step of the optimiser, of the stack's first n clients, each on a batch padded to w samples.

    `scale` (n, 1, w): 1 / samples in the batch, 0 for padding. `share` (n, w): what a sample's loss counts in the
    client's mean loss of the last epoch; None where no client is in its last epoch.
    """

    clients: int
    width: int
    scale: Tensor
    share: Tensor | None


class _Stack:
    """C clients as one model. Those with most steps come first, so that those who still train are always the first n.

    Epochs need not be in step: a client that has finished one begins the next, whatever the others do.
    """

    def __init__(self, task: ImageTask, settings: TaskSettings, nodes: Sequence[ClientNode], epochs: int) -> None:
        self._task, self._settings, self._epochs = task, settings, epochs
        self._shapes = [array.reshape(len(array), -1).shape for array in task.initial_arrays().values()]
        data = {node.name: task.client_data(node) for node in nodes}
        self._names = sorted(data, key=lambda name: -len(data[name][1]))
        self._samples = [len(data[name][1]) for name in self._names]
        self._images = torch.cat([data[name][0].flatten(1) for name in self._names])
        self._labels = torch.cat([data[name][1] for name in self._names])
        self._offsets = np.concatenate([[0], np.cumsum(self._samples)])
        plan = [self._plan_step(number) for number in range(self._steps_of(self._samples[0]))]
        self._steps = [step for step, _ in plan]
        self._places = np.concatenate([places for _, places in plan])

    def fit(self, starts: dict[str, np.ndarray], round_number: int, local_round: int) -> _Fitted:
        """Train every client from its start (p,)."""
        before = torch.from_numpy(np.stack([starts[name] for name in self._names]))
        models, losses = self._descend(before, self._chosen(round_number, local_round))
        norms = torch.linalg.vector_norm(models - before, dim=1, dtype=torch.float64)
        rows = {name: row for row, name in enumerate(self._names)}
        return _Fitted(rows, self._samples, models.numpy(), losses.tolist(), norms.tolist())

    # --- which samples, when ----------------------------------------------------------------------------------------

    def _steps_of(self, samples: int) -> int:
        return self._epochs * math.ceil(samples / self._settings.batch_size)

    def _plan_step(self, number: int) -> tuple[_Step, np.ndarray]:
        """Plan a step (from 0): its shape, and its samples' places in the clients' orders laid end to end (n·w,)."""
        size = self._settings.batch_size
        rows = [row for row, samples in enumerate(self._samples) if number < self._steps_of(samples)]
        places, lengths, last = [], [], []
        for row in rows:
            samples = self._samples[row]
            epoch, batch = divmod(number, math.ceil(samples / size))
            places.append(self._epochs * self._offsets[row] + epoch * samples + batch * size)
            lengths.append(min(size, samples - batch * size))
            last.append(epoch == self._epochs - 1)
        column, length = np.arange(max(lengths)), np.array(lengths)[:, None]
        real = column < length
        scale = torch.from_numpy((real / length).astype(np.float32))
        share = real * np.array(last)[:, None] / np.array(self._samples[: len(rows)])[:, None]
        spread = np.where(real, np.array(places)[:, None] + column, np.array(places)[:, None])
        shares = torch.from_numpy(share.astype(np.float32)) if any(last) else None
        return _Step(len(rows), len(column), scale[:, None, :], shares), spread.ravel()

    def _chosen(self, round_number: int, local_round: int) -> Tensor:
        """Draw every client's orders for a local round; returns the samples of all steps, end to end."""
        orders = [
            offset + self._task.order(name, round_number, local_round, epoch, samples)
            for name, samples, offset in zip(self._names, self._samples, self._offsets, strict=False)
            for epoch in range(self._epochs)
        ]
        return torch.from_numpy(np.concatenate(orders)[self._places])

    # --- the arithmetic ---------------------------------------------------------------------------------------------

    @torch.inference_mode()
    def _descend(self, before: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """Run all steps from models (C, p); returns the trained models (C, p) and the mean losses (C,)."""
        weights = self._unstacked(before)
        velocities = [torch.zeros_like(tensor) for tensor in weights]
        losses = torch.zeros(len(before))
        batches = torch.split(chosen, [step.clients * step.width for step in self._steps])
        for n, steps in groupby(zip(self._steps, batches, strict=True), lambda pair: pair[0].clients):
            w, v = [t[:n] for t in weights], [t[:n] for t in velocities]
            for step, rows in steps:
                images = self._images.index_select(0, rows).view(n, step.width, -1)
                labels = self._labels.index_select(0, rows).view(n, 1, step.width)
                loss = self._step(w, v, images, labels, step.scale)
                if step.share is not None:
                    losses[:n].add_((loss * step.share).sum(1))
        return torch.cat([tensor.flatten(1) for tensor in weights], 1), losses

    def _step(self, w: list[Tensor], v: list[Tensor], images: Tensor, labels: Tensor, scale: Tensor) -> Tensor:
        """Move weights and velocities of n clients by one step; returns the samples' losses before it (n, w).

        Forward: H = relu(W₁ Xᵀ + b₁), S = W₂ H + b₂. Backward, of the mean cross-entropy: dS = softmax(S) − onehot,
        scaled; dH = W₂ᵀ dS where H > 0. Samples are columns, because a softmax over ten neighbouring numbers takes
        twenty times as long. The gradients go into the velocities without ever standing alone.
        """
        momentum, rate = self._settings.momentum, self._settings.learning_rate
        hidden = torch.baddbmm(w[1], w[0], images.mT).relu_()
        log_shares = functional.log_softmax(torch.baddbmm(w[3], w[2], hidden), 1)
        loss = -log_shares.gather(1, labels).squeeze(1)
        error = log_shares.exp_().scatter_add_(1, labels, torch.full_like(scale, -1.0)).mul_(scale)
        back = torch.bmm(w[2].mT, error).mul_(hidden.sign())
        v[0].baddbmm_(back, images, beta=momentum)
        v[1].mul_(momentum).add_(back.sum(2, keepdim=True))
        v[2].baddbmm_(error, hidden.mT, beta=momentum)
        v[3].mul_(momentum).add_(error.sum(2, keepdim=True))
        for weight, velocity in zip(w, v, strict=True):
            weight.add_(velocity, alpha=-rate)
        return loss

    def _unstacked(self, models: Tensor) -> list[Tensor]:
        """Return copies of W₁ (C, h, i), b₁ (C, h, 1), W₂ (C, k, h) and b₂ (C, k, 1) out of models (C, p)."""
        pieces = torch.split(models, [math.prod(shape) for shape in self._shapes], 1)
        return [piece.reshape(len(models), *shape).clone() for piece, shape in zip(pieces, self._shapes, strict=True)]


def _flat(arrays: dict[str, np.ndarray]) -> np.ndarray:
    """Return a model's arrays as one vector (p,)."""
    return np.concatenate([array.ravel() for array in arrays.values()])
