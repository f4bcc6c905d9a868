"""Strategy `shape`: balanced clusters from model updates, where labels may not leave the clients."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from aiotwin_nb.errors import InvalidInput
from aiotwin_nb.planning.alike import alike, checked_gamma, few
from aiotwin_nb.planning.strategies.base import Plan, PlanningRequest, strategies

Updates = Mapping[str, Sequence[float]]


@strategies.register("shape")
def shape(request: PlanningRequest, *, updates: Updates | None = None, gamma: Any = 1.0) -> Plan:
    """Split the clients into clusters of equal size that are cheap and whose joint updates point the same way.

    Objective: minimum of Ψ_gr / Ψ* + γ · (1/K) · Σ_k (1 − cos(Σ_{i in k} u_i, Σ_i u_i)), with Ψ* the least Ψ_gr of
    balanced clusters and u_i the change of the last layer in client i's latest training. Its direction follows the
    client's labels, so clusters whose sums agree with the whole have balanced labels, although nobody tells theirs.
    `updates`: {client: vector}; by default the request's own.
    Optimum and bound as in share (the cosine term is at least 0).
    With at most one LA: flat FL. Raises InvalidInput for clients without an update.
    Source: SHARE's trade-off (Deng et al., ICDCS 2021), with the similarity of last-layer updates instead of labels.
    """
    if request.must_be_flat:
        return Plan(request.flat())
    import numpy as np

    weight = checked_gamma("shape", gamma)
    vectors = np.array(_vectors(request, request.updates if updates is None else updates))
    whole = vectors.sum(axis=0)

    def score(sums: Any) -> Any:
        length = np.linalg.norm(sums, axis=-1) * np.linalg.norm(whole)
        return 1 - np.divide(sums @ whole, length, out=np.zeros(np.shape(length)), where=length > 0)

    # The last bits of a cosine may exceed 1.
    return alike(request, "shape", vectors, score, gamma=weight, least_score=-1e-12)


def _vectors(request: PlanningRequest, updates: Updates | None) -> list[list[float]]:
    clients = request.infrastructure.clients
    missing = [client for client in clients if client not in (updates or {})]
    if updates is None or missing:
        raise InvalidInput(
            f"strategy shape needs the last-layer update of every client, but {few(missing)} have none (they have not "
            "trained yet); give `updates: {n4: [0.1, -0.2], …}`, or use share (which needs labels) or min_comm_cost "
            "(which needs links only)"
        )
    vectors = [[float(x) for x in updates[client]] for client in clients]
    lengths = {len(vector) for vector in vectors}
    if len(lengths) != 1 or 0 in lengths or not all(math.isfinite(x) for vector in vectors for x in vector):
        raise InvalidInput("strategy shape, updates: all vectors must have the same length and finite numbers")
    return vectors
