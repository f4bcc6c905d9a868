"""Measured speeds: what a run's journal says about its clients, for a scenario to declare."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal

from aiotwin_nb.continuum import natural_sorted
from aiotwin_nb.errors import InvalidInput
from aiotwin_nb.orchestration.events import Deployed, Event, Planned, RoundFinished
from aiotwin_nb.scenario import NodeSpec, Scenario

DIGITS = 4  # significant ones; the rest is noise of the machine


@dataclass(frozen=True)
class Speed:
    """A client's speed in samples per second: declared in the scenario (None: not) and measured over all its rounds."""

    client: str
    declared: Decimal | None
    measured: Decimal


def measured_speeds(scenario: Scenario, events: Iterable[Event]) -> list[Speed]:
    """Speed of every client that trained: Σ epochs · samples / Σ seconds over its local rounds.

    Raises InvalidInput when the run has no finished round.
    """
    work: dict[str, float] = {}
    seconds: dict[str, float] = {}
    epochs = scenario.training.epochs
    for event in events:
        if isinstance(event, Planned | Deployed):
            epochs = event.configuration.epochs
        elif isinstance(event, RoundFinished):
            for result in event.result.clients:
                work[result.client] = work.get(result.client, 0) + epochs * result.samples
                seconds[result.client] = seconds.get(result.client, 0) + result.seconds
    if not any(seconds.values()):
        raise InvalidInput(
            "no client has trained in this run yet, so there is nothing to measure; let it finish a round"
        )
    declared = {node.id: node.speed for node in _nodes(scenario)}
    trained = (client for client, taken in seconds.items() if taken > 0)
    return [Speed(c, declared.get(c), _rounded(work[c] / seconds[c])) for c in natural_sorted(trained)]


def calibrated(scenario: Scenario, speeds: Iterable[Speed]) -> Scenario:
    """A copy of the scenario that declares the measured speeds, of the nodes that join later as well."""
    measured = {speed.client: speed.measured for speed in speeds}
    events = [e.model_copy(update={"add": [_with_speed(node, measured) for node in e.add]}) for e in scenario.events]
    return scenario.model_copy(
        update={"nodes": [_with_speed(node, measured) for node in scenario.nodes], "events": events}
    )


def _with_speed(node: NodeSpec, measured: Mapping[str, Decimal]) -> NodeSpec:
    return node.model_copy(update={"speed": measured[node.id]}) if node.id in measured else node


def _nodes(scenario: Scenario) -> Iterable[NodeSpec]:
    return [*scenario.nodes, *(node for event in scenario.events for node in event.add)]


def _rounded(speed: float) -> Decimal:
    return Decimal(f"{speed:.{DIGITS}g}")
