"""How evenly data is spread: label distributions, and what they lack."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aiotwin_nb.continuum import Infrastructure
from aiotwin_nb.planning.configuration import Configuration

Floats = NDArray[Any]
ZERO = 1e-4  # stands for a probability of 0, as in the original


def label_counts(infrastructure: Infrastructure, clients: Iterable[str]) -> Floats:
    """Samples of every label (columns: all labels of the infrastructure) at every client (rows)."""
    labels = sorted({label for node in infrastructure.nodes.values() for label in node.data})
    rows = [[infrastructure.nodes[client].data.get(label, 0) for label in labels] for client in clients]
    return np.array(rows, float).reshape(len(rows), len(labels))


def divergence(counts: Floats, reference: Floats) -> Floats:
    """KL(p ‖ q) = Σ_label p · ln(p / q) in nats, of label counts (last axis: labels) from reference counts.

    Zero probabilities become 1e-4. Source: the AIoTwin orchestrator's minKld.
    """
    p, q = _shares(counts), _shares(reference)
    return np.asarray((p * np.log(p / q)).sum(axis=-1))


def least_divergence(reference: Floats) -> float:
    """A lower bound on every divergence from a reference: 0, less what the 1e-4 in place of zeros may take off."""
    return -float((ZERO * np.maximum(np.log(_shares(reference) / ZERO), 0)).sum())


def imbalance(infrastructure: Infrastructure, configuration: Configuration) -> float | None:
    """Mean over clusters of KL(label distribution of the cluster ‖ that of all its clients) in nats.

    0 is perfectly balanced. None when a client's labels are not known.
    """
    clients = configuration.clients
    if any(not infrastructure.nodes[client].samples for client in clients):
        return None
    everybody = label_counts(infrastructure, clients).sum(axis=0)
    sums = [label_counts(infrastructure, members).sum(axis=0) for _, members in configuration.clusters]
    return float(divergence(np.array(sums), everybody).mean())


def _shares(counts: Floats) -> Floats:
    total = counts.sum(axis=-1, keepdims=True)
    shares = np.divide(counts, total, out=np.zeros(counts.shape), where=total > 0)
    return np.where(shares > 0, shares, ZERO)
