"""How useful a client is, and which clients to train with under a budget (pure).

Sources: sample-based and model-based utility in Fu et al., Client Selection in Federated Learning: Principles,
Challenges, and Opportunities, IEEE Internet of Things Journal, 2023; the AIoTwin slides use both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from statistics import fmean

from aiotwin_nb.continuum import Infrastructure, natural_key, natural_sorted
from aiotwin_nb.errors import InfeasiblePlan, InvalidInput
from aiotwin_nb.planning.costs import exact_sum
from aiotwin_nb.registry import Registry

Norms = Mapping[str, Sequence[float]]  # {client: ‖w_after − w_before‖₂ of every round}
Utility = Callable[[Infrastructure, Norms | None], dict[str, float]]

utilities: Registry[Utility] = Registry("client utility", "aiotwin_nb.utilities")


@utilities.register("dataset_share")
def dataset_share(infrastructure: Infrastructure, norms: Norms | None = None) -> dict[str, float]:
    """|D_i| / Σ_j |D_j|: the client's share of all samples (0 to 1)."""
    samples = _samples(infrastructure, "dataset_share")
    total = sum(samples.values())
    return {client: count / total for client, count in samples.items()}


@utilities.register("divergence")
def divergence(infrastructure: Infrastructure, norms: Norms | None = None) -> dict[str, float]:
    """KL(P ‖ P without i) in nats: how much the label distribution of all data depends on client i.

    Zero probabilities become 1e-4. A client with labels that nobody else has gets a high value, one whose data is a
    fair sample of the whole about 0; a client that is alone is worth infinitely much.
    """
    from aiotwin_nb.planning.balance import divergence as kl
    from aiotwin_nb.planning.balance import label_counts

    clients = tuple(_samples(infrastructure, "divergence"))
    counts = label_counts(infrastructure, clients)
    whole = counts.sum(axis=0)
    alone = len(clients) == 1
    return {client: float("inf") if alone else float(kl(whole, whole - counts[i])) for i, client in enumerate(clients)}


@utilities.register("update_norm")
def update_norm(infrastructure: Infrastructure, norms: Norms | None = None) -> dict[str, float]:
    """Mean over rounds of ‖w_after − w_before‖₂: how far the client's data moves the model."""
    missing = [client for client in infrastructure.clients if not (norms or {}).get(client)]
    if norms is None or missing:
        raise InvalidInput(
            f"utility update_norm needs the update norms of every client, but {', '.join(missing)} have none (they "
            "have not trained yet); use dataset_share or divergence, which need the declared data only"
        )
    return {client: fmean(norms[client]) for client in infrastructure.clients}


def most_useful(utility: Mapping[str, float], keep: int) -> tuple[str, ...]:
    """The `keep` clients of highest utility, in natural order; ties go to the naturally first."""
    ranked = sorted(utility, key=lambda client: (-utility[client], natural_key(client)))
    return tuple(natural_sorted(ranked[: max(keep, 0)]))


def affordable(utility: Mapping[str, float], costs: Mapping[str, Decimal], budget: Decimal) -> tuple[str, ...]:
    """The clients left when the least useful are dropped one by one until the sum of their costs fits the budget.

    A rule, not an optimum: nobody stays for being cheap while a more useful client is dropped.
    Raises InfeasiblePlan when the budget does not even pay for the most useful one.
    """
    for keep in range(len(utility), 0, -1):
        kept = most_useful(utility, keep)
        if exact_sum(costs[client] for client in kept) <= budget:
            return kept
    raise InfeasiblePlan(f"a budget of {budget} per round does not pay for the most useful client; raise it")


def dropped_by(utility: Mapping[str, float], schedule: Mapping[int, int], after_round: int) -> tuple[str, ...]:
    """The least useful clients that have left the pipeline by the end of a round; one client always stays.

    `schedule`: {round: how many leave after it}.
    Source: the energy variant of the AIoTwin orchestrator, which drops the least useful clients at given rounds.
    """
    leaving = sum(count for round_, count in schedule.items() if round_ <= after_round)
    kept = most_useful(utility, max(len(utility) - leaving, 1))
    return tuple(natural_sorted(utility.keys() - set(kept)))


def _samples(infrastructure: Infrastructure, name: str) -> dict[str, int]:
    samples = {client: infrastructure.nodes[client].samples for client in infrastructure.clients}
    unknown = [client for client, count in samples.items() if not count]
    if unknown:
        raise InvalidInput(
            f"utility {name} needs the data of every client, but {', '.join(unknown)} declare none; "
            "add `data: {0: 40, 1: 40}` (say) to them, or use update_norm, which needs model updates instead"
        )
    return samples
