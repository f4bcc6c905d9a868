"""A run told again as a scenario: what was injected into it becomes events of the script."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from aiotwin_nb.continuum import Change, Node
from aiotwin_nb.orchestration.events import BoundaryReached, Event, InfrastructureChanged
from aiotwin_nb.orchestration.state import Rules
from aiotwin_nb.scenario import NodeSpec, Scenario
from aiotwin_nb.scenario.model import EventSpec


def retold(rules: Rules, events: Iterable[Event]) -> Scenario:
    """The scenario of a run with everything that acted as events: run again, it gives the same ledger.

    Where commands acted, or a part of the script made no sense any more, the events are what took effect. Elsewhere,
    and where the run has not been, they are the script's, without what can no longer happen.
    """
    past = list(events)
    reached = max((event.after_round for event in past if isinstance(event, BoundaryReached)), default=-1)
    effects = _effects(past)
    scenario, nodes = rules.scenario, rules.scenario.infrastructure
    told: list[EventSpec] = []
    for moment in sorted({*effects, *(event.after_round for event in scenario.events)}):
        planned = rules.changes.get(moment, Change())
        happened = effects.get(moment, Change() if moment <= reached else planned)
        nodes, happened, _ = nodes.apply_possible([happened])
        script = [event for event in scenario.events if event.after_round == moment]
        told += _placed(script, planned) if happened == planned else _as_events(moment, happened, script)
    placed = [NodeSpec.of(node) for node in scenario.infrastructure.nodes.values()]
    return scenario.model_copy(update={"nodes": placed, "events": told} if told != scenario.events else {})


def _effects(events: Sequence[Event]) -> dict[int, Change]:
    """What changed after each round by script or command; what the orchestrator did of itself it will do again."""
    return {
        event.after_round: replace(event.change, avoided=(), readmitted=())
        for event in events
        if isinstance(event, InfrastructureChanged)
    }


def _as_events(moment: int, change: Change, script: Sequence[EventSpec]) -> Iterator[EventSpec]:
    """A change as an event; what the script drops by utility is still dropped."""
    if change:
        yield EventSpec(
            after_round=moment,
            add=[NodeSpec.of(node) for node in change.added],
            remove=list(change.removed),
            link={i: dict(links) for i, links in change.links.items()},
            data={i: dict(data) for i, data in change.data.items()},
        )
    yield from (EventSpec(after_round=moment, drop=event.drop) for event in script if event.drop)


def _placed(script: Sequence[EventSpec], change: Change) -> Iterator[EventSpec]:
    """Scripted events whose nodes have the parts of the data that they had in the run, whoever else joined."""
    nodes: dict[str, Node] = {node.id: node for node in change.added}
    for event in script:
        yield event.model_copy(update={"add": [NodeSpec.of(nodes.get(n.id, n.to_node())) for n in event.add]})
