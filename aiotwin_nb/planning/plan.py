"""Making a plan: look the strategy up, refuse wrong arguments, call it, verify what it returns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from inspect import signature
from time import perf_counter
from typing import Any

from aiotwin_nb.continuum import Infrastructure, Role, natural_sorted
from aiotwin_nb.errors import InfeasiblePlan
from aiotwin_nb.planning.arguments import check_arguments
from aiotwin_nb.planning.configuration import Configuration
from aiotwin_nb.planning.costs import link_cost
from aiotwin_nb.planning.strategies import Plan, PlanningRequest, strategies


def make_plan(name: str, args: Mapping[str, Any], request: PlanningRequest) -> Configuration:
    """Return the configuration that a strategy chooses, verified.

    Raises InvalidInput for an unknown strategy or argument (naming what is allowed), InfeasiblePlan when no
    configuration exists or the strategy returns one that cannot run.
    """
    return make_reported_plan(name, args, request).configuration


def make_reported_plan(name: str, args: Mapping[str, Any], request: PlanningRequest) -> Plan:
    """Like `make_plan`, with what is known about the configuration: proven bound and gap, seconds, who is left out."""
    strategy = strategies.get(name)
    check_strategy_args(name, args)
    if not request.infrastructure.clients:
        raise InfeasiblePlan("there is no client to train; add a node with the role 'client'")
    began = perf_counter()
    made = strategy(request, **args)
    seconds = perf_counter() - began
    plan = replace(made, seconds=seconds) if isinstance(made, Plan) else Plan(made, seconds=seconds)
    for sentence in _violations(request.infrastructure, plan):
        raise InfeasiblePlan(f"strategy {name}: {sentence}")
    return plan


def check_strategy_args(name: str, args: Mapping[str, Any]) -> None:
    """Refuse an unknown strategy, arguments it does not take and those it lacks, with InvalidInput."""
    _request, *accepted = signature(strategies.get(name)).parameters.values()
    check_arguments(f"strategy {name}", accepted, args)


def _violations(infrastructure: Infrastructure, plan: Plan) -> Iterator[str]:
    """Sentences on what keeps a plan from running on an infrastructure."""
    configuration = plan.configuration
    yield from _wrong_members(infrastructure, plan)
    yield from _wrong_aggregators(infrastructure, configuration)
    yield from _missing_links(infrastructure, configuration)
    if configuration.epochs < 1 or configuration.local_rounds < 1:
        yield (
            f"epochs is {configuration.epochs} and local_rounds {configuration.local_rounds}; "
            "both must be whole numbers, 1 or more"
        )


def _wrong_members(infrastructure: Infrastructure, plan: Plan) -> Iterator[str]:
    places = Counter(client for _, clients in plan.configuration.clusters for client in clients)
    for client in infrastructure.clients:
        if places[client] != 1 and not (client in plan.left_out and places[client] == 0):
            yield f"client {client} is in {places[client]} clusters; every client must be in exactly one"
    for client in natural_sorted(places.keys() - set(infrastructure.clients)):
        yield f"{client} is in a cluster, but there is no such client; remove it from the clusters"


def _wrong_aggregators(infrastructure: Infrastructure, configuration: Configuration) -> Iterator[str]:
    ga = infrastructure.global_aggregator
    if configuration.global_aggregator != ga:
        yield f"the global aggregator is {configuration.global_aggregator}; it must be {ga}"
    for aggregator in configuration.aggregators:
        node = infrastructure.nodes.get(aggregator)
        if aggregator != ga and (node is None or node.role is not Role.LOCAL_AGGREGATOR):
            las = ", ".join(infrastructure.local_aggregators)
            yield f"clients are placed at {aggregator}, which is no local aggregator; known are {las}"
    if ga in configuration.aggregators and not configuration.is_flat:
        yield f"clients hang on {ga} and on local aggregators at once; use either the one or the others"


def _missing_links(infrastructure: Infrastructure, configuration: Configuration) -> Iterator[str]:
    uplinks = {la: configuration.global_aggregator for la in configuration.aggregators if not configuration.is_flat}
    for node, parent in {**configuration.parents, **uplinks}.items():
        try:
            link_cost(infrastructure, node, parent)
        except InfeasiblePlan as missing:
            yield str(missing)
