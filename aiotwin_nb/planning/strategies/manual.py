"""Strategy `manual`: the clusters a person wrote down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from aiotwin_nb.continuum import natural_sorted
from aiotwin_nb.errors import InfeasiblePlan, InvalidInput, did_you_mean
from aiotwin_nb.planning.configuration import Configuration
from aiotwin_nb.planning.strategies.base import PlanningRequest, no_place, strategies


@strategies.register("manual")
def manual(
    request: PlanningRequest, *, clusters: Mapping[str, Sequence[str]], default: str | None = None
) -> Configuration:
    """Put the clients where `clusters` says, {local aggregator: [clients]}.

    Objective: none. Clients that are named but do not exist are ignored (they may join later or have left). A client
    that is not named, or whose aggregator has left, goes to `default`; without a default, or where it has no link to
    it, to the cheapest of the listed aggregators (lowest member_cost; ties: first in natural order). Clusters may name
    the GA alone: flat FL. At the start every aggregator named must exist; later, those that have left are passed over.
    With at most one LA: flat FL, whatever the clusters say.
    Raises InvalidInput for arguments of a wrong form, InfeasiblePlan when a client has no place.
    """
    place = _places(clusters)
    listed = _listed(request, clusters, default)
    if request.must_be_flat or listed == (request.infrastructure.global_aggregator,):
        return request.flat()
    wishes = {client: place.get(client) for client in request.infrastructure.clients}
    return request.hierarchical(
        {
            client: wish if wish in listed else _fallback(request, client, listed, default)
            for client, wish in wishes.items()
        }
    )


def _places(clusters: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """{client: aggregator} as written; refuses what is not a table of lists and clients named twice."""
    allowed = "allowed is a table of local aggregators, each with a list of clients, e.g. {n2: [n4, n5]}"
    if not isinstance(clusters, Mapping):
        raise InvalidInput(f"strategy manual, clusters: {clusters!r} is no table; {allowed}")
    place: dict[str, str] = {}
    for aggregator, clients in clusters.items():
        if isinstance(clients, str) or not isinstance(clients, Sequence):
            raise InvalidInput(f"strategy manual, clusters.{aggregator}: {clients!r} is no list; {allowed}")
        for name in (aggregator, *clients):
            if not isinstance(name, str):
                raise InvalidInput(f"strategy manual, clusters.{aggregator}: {name!r} is no node id; {allowed}")
        for client in clients:
            if client in place:
                raise InvalidInput(
                    f"strategy manual, clusters.{aggregator}: {client!r} is named twice (also in {place[client]}); "
                    "name every client once"
                )
            place[client] = aggregator
    return place


def _listed(request: PlanningRequest, clusters: Mapping[str, Sequence[str]], default: str | None) -> tuple[str, ...]:
    """The aggregators named that exist, in natural order."""
    infrastructure = request.infrastructure
    existing = {*infrastructure.local_aggregators, infrastructure.global_aggregator}
    named = natural_sorted({*clusters, *([default] if default else [])})
    for name in named:
        if name not in existing and (request.current is None or name in infrastructure.nodes):
            raise InvalidInput(
                f"strategy manual: {name!r} is no aggregator; known are {', '.join(natural_sorted(existing))}."
                + did_you_mean(name, existing)
            )
    listed = tuple(name for name in named if name in existing)
    if not listed:
        raise InfeasiblePlan(
            f"strategy manual: none of the aggregators named ({', '.join(named) or 'none'}) exists; "
            f"name at least one of {', '.join(natural_sorted(existing))}"
        )
    return listed


def _fallback(request: PlanningRequest, client: str, listed: tuple[str, ...], default: str | None) -> str:
    """Place of a client that has no valid place of its own."""
    costs = {la: cost for la in listed if (cost := request.member_cost(client, la)) is not None}
    if not costs:
        raise no_place(client, listed)
    return default if default in costs else min(costs, key=lambda la: costs[la])
