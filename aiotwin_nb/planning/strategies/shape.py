"""Strategy `shape`: balanced clusters from model updates, where labels may not leave the clients."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from aiotwin_nb.errors import InvalidInput
from aiotwin_nb.planning.alike import alike, checked_gamma, few
from aiotwin_nb.planning.strategies.base import Plan, PlanningRequest, plans_with_updates, strategies

Updates = Mapping[str, Sequence[float]]


@strategies.register("shape")
@plans_with_updates
def shape(request: PlanningRequest, *, updates: Updates | None = None, gamma: Any = 1.0) -> Plan:
    """Split the clients into clusters of equal size that are cheap and whose joint updates point the same way.

    Objective: minimum of Ψ_gr / Ψ* + γ · (1/K) · Σ_k (1 − cos(Σ_{i in k} u_i, Σ_i u_i)), with Ψ* the least Ψ_gr of
    balanced clusters and u_i the change of the last layer in client i's latest training. Its direction follows the
    client's labels, so clusters whose sums agree with the whole have balanced labels, although nobody tells theirs.
    A client that has not trained yet counts as the zero vector: its place is a matter of cost and size. Before anybody
    has trained (at a run's start, and where nothing is trained, as in `aiotwin plan`) the plan is min_comm_cost's; a
    run uses the updates from its first change of nodes, links or data on.
    `updates`: {client: vector} of all clients, instead of those that the run measures.
    Optimum and bound as in share (the cosine term is at least 0).
    With at most one LA: flat FL. Raises InvalidInput where nobody measures updates and none are given.
    Source: SHARE's trade-off (Deng et al., ICDCS 2021), with the similarity of last-layer updates instead of labels.
    """
    if request.must_be_flat:
        return Plan(request.flat())
    import numpy as np

    from aiotwin_nb.planning.plan import make_reported_plan

    weight = checked_gamma("shape", gamma)
    known = _measured(request) if updates is None else _given(request, updates)
    if not known:
        return make_reported_plan("min_comm_cost", {}, request)
    vectors = np.array(known)
    whole = vectors.sum(axis=0)

    def score(sums: Any) -> Any:
        length = np.linalg.norm(sums, axis=-1) * np.linalg.norm(whole)
        return 1 - np.divide(sums @ whole, length, out=np.zeros(np.shape(length)), where=length > 0)

    # The last bits of a cosine may exceed 1.
    return alike(request, "shape", vectors, score, gamma=weight, least_score=-1e-12)


def _measured(request: PlanningRequest) -> list[list[float]]:
    """The request's updates, zeros for clients that have not trained; nothing when nobody has."""
    if request.updates is None:
        raise _incomplete(list(request.infrastructure.clients))
    found = {client: request.updates[client] for client in request.infrastructure.clients if client in request.updates}
    length = max(map(len, found.values()), default=0)
    vectors = [[float(x) for x in found.get(client, [0.0] * length)] for client in request.infrastructure.clients]
    return _checked(vectors) if found else []


def _given(request: PlanningRequest, updates: Updates) -> list[list[float]]:
    missing = [client for client in request.infrastructure.clients if client not in updates]
    if missing:
        raise _incomplete(missing)
    return _checked([[float(x) for x in updates[client]] for client in request.infrastructure.clients])


def _incomplete(missing: list[str]) -> InvalidInput:
    return InvalidInput(
        f"strategy shape needs the last-layer update of every client, but {few(missing)} have none (they have not "
        "trained yet); give `updates: {n4: [0.1, -0.2], …}`, or use share (which needs labels) or min_comm_cost "
        "(which needs links only)"
    )


def _checked(vectors: list[list[float]]) -> list[list[float]]:
    lengths = {len(vector) for vector in vectors}
    if len(lengths) != 1 or 0 in lengths or not all(math.isfinite(x) for vector in vectors for x in vector):
        raise InvalidInput("strategy shape, updates: all vectors must have the same length and finite numbers")
    return vectors
