"""From a cluster to a run: what the cluster says of its nodes, and members that are lost, become commands in the inbox.

The inbox journals them at once, also during a round. A command is submitted when the cluster says something new of a
node: the same news twice changes nothing, and what was missed, because the orchestrator or the API server was away, is
made up for. What the run does with its nodes for other reasons is left alone.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from threading import RLock
from typing import Protocol

from aiotwin_nb.cluster.source import difference
from aiotwin_nb.continuum import Change, Infrastructure, Node
from aiotwin_nb.orchestration.events import BoundaryReached, Event
from aiotwin_nb.orchestration.inbox import Command, submit
from aiotwin_nb.orchestration.state import RunState
from aiotwin_nb.scenario import NodeSpec


class Source(Protocol):
    """Where nodes come from (KubernetesNodeSource)."""

    def infrastructure(self) -> Infrastructure:
        """The nodes that exist now."""

    def watch(self, notify: Callable[[Change], None]) -> Callable[[], None]:
        """Call `notify` for every change from now on; the returned function ends the watch."""


class Bridge:
    """Submits commands to a run's inbox until it is closed; a listener of the orchestrator's events.

    `infrastructure`: the nodes that the run has at the start. `others`: nodes of the run that are not the cluster's
    (the scenario brings them); the cluster's silence about them means nothing.
    """

    def __init__(
        self, source: Source, inbox: Path, infrastructure: Infrastructure, others: Collection[str] = ()
    ) -> None:
        self._source = source
        self._inbox = inbox
        self._global_aggregator = infrastructure.global_aggregator
        self._run = dict(infrastructure.nodes)  # as the run has them once what was told has been done
        self._told: dict[str, Node | None] = {i: node for i, node in infrastructure.nodes.items() if i not in others}
        self._lost: dict[str, Node | None] = {}
        self._fresh: list[Change] = []  # told since the last boundary, and before it: they may still be on their way
        self._recent: list[Change] = []
        self._lock = RLock()
        self._end: Callable[[], None] = lambda: None
        self.problem = ""

    def start(self) -> Bridge:
        """Tell of what has changed already, and of every change from now on."""
        self._end = self._source.watch(lambda _: self._look())
        self._look()
        return self

    def close(self) -> None:
        """End; safe to call twice."""
        self._end()

    def __call__(self, event: Event, state: RunState) -> None:
        """See what has become of the commands: called with the orchestrator's events."""
        if not isinstance(event, BoundaryReached):
            return
        with self._lock:
            self._run = dict(state.infrastructure.nodes)
            for change in (*self._recent, *self._fresh):
                _overlay(self._run, change)
            self._recent, self._fresh = self._fresh, []

    def lost(self, node: str) -> None:
        """A member of the pipeline is gone for good, although its node may look well."""
        with self._lock:
            left_already = node in self._told and self._told[node] is None
            if node not in self._lost and not left_already:
                self._lost[node] = self._run.get(node)
                self._tell(node, None)

    def back(self, node: str) -> None:
        """A member that was lost is there again."""
        with self._lock:
            self._tell(node, self._lost.pop(node, self._run.get(node)))
            self._look()

    def _look(self) -> None:
        """Tell what is new about the cluster's nodes."""
        with self._lock:
            reported = self._source.infrastructure().nodes
            self._lost = {i: node for i, node in self._lost.items() if i in reported or i not in self._told}
            for node_id in sorted(self._told.keys() | reported.keys()):
                node = reported.get(node_id)
                if self._told.get(node_id) != node and node_id not in self._lost:
                    self._tell(node_id, node)
                    self._told[node_id] = node

    def _tell(self, node_id: str, node: Node | None) -> None:
        """Submit what makes the run have this node as it is now, or no longer have it."""
        if node_id == self._global_aggregator:
            self.problem = "" if node else f"the global aggregator {node_id} is gone: bring it back, or stop the run"
            if node is None:  # a run cannot go on without it, so there is nothing to re-plan
                return
        before = {node_id: self._run[node_id]} if node_id in self._run else {}
        change = difference(before, {} if node is None else {node_id: node})
        if not change:
            return
        try:
            submit(self._inbox, as_command(change))
        except OSError as error:
            self.problem = f"{node_id}: the run's inbox cannot be written: {error.strerror}"
            return
        self._fresh.append(change)
        _overlay(self._run, change)


def as_command(change: Change) -> Command:
    """The command that makes a change happen to a run."""
    return Command(
        command="inject",
        add=[NodeSpec.of(node) for node in change.added],
        remove=list(change.removed),
        link={i: dict(links) for i, links in change.links.items()},
        data={i: dict(data) for i, data in change.data.items()},
    )


def _overlay(nodes: dict[str, Node], change: Change) -> None:
    """The nodes as they are after a change, which may have happened to them already."""
    for node_id in change.removed:
        nodes.pop(node_id, None)
    nodes |= {node.id: node for node in change.added}
    touched = {i for i in (*change.links, *change.data) if i in nodes}
    for node_id in touched:
        part = Change(links={node_id: change.links.get(node_id, {})}, data={node_id: change.data.get(node_id, {})})
        nodes[node_id] = Infrastructure.of([nodes[node_id]]).apply(part).nodes[node_id]
