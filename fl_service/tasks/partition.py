"""Who trains on what: index lists into the training set that depend on nobody but the client itself.

Label counts: each client draws without replacement from the label's whole pool, with a generator keyed by (seed, node,
label). Two clients may share samples; in return a client that joins changes nobody's data, and asking for more of a
label extends what the client had. Slots (iid, dirichlet, shards) cut the whole training set, keyed by (seed, kind).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from fl_service.errors import TaskError, listed, unknown
from fl_service.rng import generator
from fl_service.spec import NOISE_KINDS, ClientNode
from fl_service.tasks.datasets import ImageData

_MAX_LABELS_SHOWN = 12


def check_node(node: ClientNode, labels: np.ndarray, classes: int, partition: Mapping[str, Any] | None) -> None:
    """Raise TaskError naming the field of a client whose data cannot be had."""
    field = f"nodes[{node.name}]"
    if node.noise_kind not in NOISE_KINDS:
        raise TaskError(unknown(f"{field}.label_noise.kind", node.noise_kind, NOISE_KINDS))
    if not 0 <= node.noise_share <= 1:
        raise TaskError(f"{field}.label_noise.share: {node.noise_share} is not allowed; it must be from 0 to 1")
    if partition is None:
        _check_counts(node, np.bincount(labels, minlength=classes), field)
    else:
        _check_slot(node, field)


def _check_counts(node: ClientNode, available: np.ndarray, field: str) -> None:
    for label, wanted in node.data:
        if not 0 <= label < len(available):
            allowed = (
                listed(range(len(available))) if len(available) <= _MAX_LABELS_SHOWN else f"0–{len(available) - 1}"
            )
            raise TaskError(f"{field}.data: label {label} is not in the data set; allowed: {allowed}")
        if not 0 <= wanted <= available[label]:
            raise TaskError(
                f"{field}.data: {wanted} samples of label {label} are asked for; allowed: 0–{available[label]}, "
                "what the training set has"
            )
    if sum(samples for _, samples in node.data) == 0:
        raise TaskError(f"{field}.data: the client has no samples; give {{label: samples}}, or set task.partition")


def _check_slot(node: ClientNode, field: str) -> None:
    if node.slot is None:
        raise TaskError(f"{field}.partition: the client has no slot of the data; give (index, number of slots)")
    index, count = node.slot
    if not 0 <= index < count:
        raise TaskError(
            f"{field}.partition: slot {index} of {count} does not exist; allowed: 0–{count - 1}. "
            "Give task.partition.partitions as many slots as clients may ever be there"
        )


def indices(
    node: ClientNode, labels: np.ndarray, classes: int, partition: Mapping[str, Any] | None, seed: int
) -> np.ndarray:
    """Return the sorted indices of a client's samples in the training set with these labels (n,)."""
    check_node(node, labels, classes, partition)
    if partition is None:
        return np.sort(np.concatenate([_draw(labels, label, samples, seed, node.name) for label, samples in node.data]))
    assert node.slot is not None
    index, count = node.slot
    found = np.sort(_slots(labels, classes, partition, count, seed)[index])
    if not len(found):
        raise TaskError(
            f"nodes[{node.name}].partition: slot {index} of {count} got no samples; use fewer slots or a larger alpha"
        )
    return found


def _draw(labels: np.ndarray, label: int, samples: int, seed: int, node: str) -> np.ndarray:
    pool = np.flatnonzero(labels == label)
    return generator(seed, "data", node, label).permutation(pool)[:samples]


def _slots(labels: np.ndarray, classes: int, partition: Mapping[str, Any], count: int, seed: int) -> list[np.ndarray]:
    """Return the samples' indices of every slot; together they are the whole training set, each sample once."""
    rng = generator(seed, "partition", partition["kind"], count)
    if partition["kind"] == "dirichlet":
        return _dirichlet(labels, classes, float(partition.get("alpha", 0.5)), count, rng)
    if partition["kind"] == "shards":
        return _shards(labels, int(partition.get("shards_per_client", 2)), count, rng)
    return np.array_split(rng.permutation(len(labels)), count)


def _dirichlet(
    labels: np.ndarray, classes: int, alpha: float, count: int, rng: np.random.Generator
) -> list[np.ndarray]:
    """Split each label over the slots in proportions drawn from a Dirichlet distribution (small alpha: uneven)."""
    parts: list[list[np.ndarray]] = [[] for _ in range(count)]
    for label in range(classes):
        pool = rng.permutation(np.flatnonzero(labels == label))
        shares = rng.dirichlet(np.full(count, alpha))
        cuts = np.rint(np.cumsum(shares)[:-1] * len(pool)).astype(int)
        for part, piece in zip(parts, np.split(pool, cuts), strict=True):
            part.append(piece)
    return [np.concatenate(part) for part in parts]


def _shards(labels: np.ndarray, per_slot: int, count: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Sort by label, cut into equal shards and deal each slot some of them (few labels per client)."""
    shuffled = rng.permutation(len(labels))
    by_label = shuffled[np.argsort(labels[shuffled], kind="stable")]
    shards = np.array_split(by_label, per_slot * count)
    dealt = rng.permutation(len(shards)).reshape(count, per_slot)
    return [np.concatenate([shards[i] for i in row]) for row in dealt]


def noisy(labels: np.ndarray, node: ClientNode, classes: int, seed: int) -> np.ndarray:
    """Return a client's labels (n,) with its label noise.

    The share's samples are drawn by a generator keyed by (seed, node); `shift` makes label + 1 modulo the classes,
    `random` a uniformly drawn label (which may by chance be the right one).
    """
    if node.noise_kind == "none" or node.noise_share == 0:
        return labels
    rng = generator(seed, "noise", node.name)
    wrong = rng.permutation(len(labels))[: round(node.noise_share * len(labels))]
    changed = labels.copy()
    changed[wrong] = (
        (labels[wrong] + 1) % classes if node.noise_kind == "shift" else rng.integers(0, classes, len(wrong))
    )
    return changed


def select(
    node: ClientNode, data: ImageData, partition: Mapping[str, Any] | None, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the indices of a client's samples in the training set and its labels for them, noise included."""
    chosen = indices(node, data.train_labels, data.classes, partition, seed)
    return chosen, noisy(data.train_labels[chosen], node, data.classes, seed)


def label_counts(node: ClientNode, data: ImageData, partition: Mapping[str, Any] | None, seed: int) -> dict[int, int]:
    """Return {label: samples} as the client sees them, noise included."""
    labels, counts = np.unique(select(node, data, partition, seed)[1], return_counts=True)
    return {int(label): int(count) for label, count in zip(labels, counts, strict=True)}
