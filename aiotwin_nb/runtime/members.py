"""From a cluster to its run: its nodes at the start, and news of members and nodes as notes and commands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from aiotwin_nb.cluster.bridge import Bridge
from aiotwin_nb.cluster.source import KubernetesNodeSource
from aiotwin_nb.continuum import Change, Infrastructure
from aiotwin_nb.errors import InvalidInput
from aiotwin_nb.orchestration.events import Event, MemberChanged
from aiotwin_nb.runtime.kubernetes import ClusterOptions, KubernetesRuntime, kubernetes_runtime
from aiotwin_nb.scenario import NodeSpec, Scenario
from fl_service.events import BACK, JOINED, LOST, USAGE, MemberEvent

if TYPE_CHECKING:
    from aiotwin_nb.orchestration.loop import Orchestrator
    from fl_service.spec import TrainingSpec


class ClusterRun:
    """What a run on a cluster needs: its nodes, its runtime, and news of both for its orchestrator.

    `options`: with the cluster named, so that whoever goes on with the run finds the same one.
    """

    def __init__(self, options: ClusterOptions) -> None:
        self.options = options.resolved()
        self._source: KubernetesNodeSource | None = None
        self._runtime: KubernetesRuntime | None = None
        if options.infrastructure == "actual":
            self._source = KubernetesNodeSource(self.options.connect()).start()

    def nodes_of_cluster(self, scenario: Scenario) -> Scenario:
        """The scenario with the nodes that there really are; the same where the infrastructure is simulated.

        Raises InvalidInput when no cluster node is labelled, a label is wrong, or the scenario's events change nodes.
        """
        if self._source is None:
            return scenario
        if wrong := self._source.wrong:
            raise InvalidInput("; ".join(wrong.values()))
        if any(change.added or change.removed for change in scenario.changes().values()):
            raise InvalidInput(
                "events: with --infrastructure actual nodes join and leave on the cluster itself; leave scripted ones "
                "out with --set events=[]"
            )
        found = self._source.infrastructure().nodes
        if not found:
            raise InvalidInput(
                "no node of the cluster says that it takes part: label them with aiotwin cluster label SCENARIO, "
                "or leave out --infrastructure actual"
            )
        nodes = [NodeSpec.of(node).model_dump(mode="json", exclude_none=True) for node in found.values()]
        return Scenario.model_validate(
            {**scenario.model_dump(mode="json", by_alias=True, exclude_none=True), "nodes": nodes}
        )

    def runtime(self, spec: TrainingSpec, scenario: Scenario, run: Path) -> KubernetesRuntime:
        """The runtime; nothing is made on the cluster before it is started."""
        arriving = [node.id for change in scenario.changes().values() for node in change.added]
        nodes = list(dict.fromkeys([*scenario.infrastructure.nodes, *arriving]))
        places = None if self._source is None else self._source.places
        self._runtime = kubernetes_runtime(spec, nodes, run, self.options, places)
        return self._runtime

    def attach(
        self, orchestrator: Orchestrator, inbox: Path, infrastructure: Infrastructure, past: Sequence[Event] = ()
    ) -> None:
        """Tell an orchestrator, whose nodes are these now, of what happens from now on.

        `past`: the run's journal: what is in it, the global aggregator tells again.
        """
        assert self._runtime is not None
        source = self._source or Silence()
        others = infrastructure.nodes if self._source is None else ()
        bridge = Bridge(source, inbox, infrastructure, others).start()
        orchestrator.listen(bridge)
        told = [event.time for event in past if isinstance(event, MemberChanged)]
        self._runtime.on_event = News(orchestrator, bridge, max(told, default=0.0))

    def close(self) -> None:
        """End what watches the cluster; safe to call twice."""
        for part in (self._source, self._runtime):
            if part is not None:
                part.close()


class News:
    """A listener of the pipeline: a member's standing goes into the journal, a loss and a return into the inbox.

    `since`: events up to this time (seconds since the epoch) are known already.
    """

    def __init__(self, orchestrator: Orchestrator, bridge: Bridge, since: float = 0.0) -> None:
        self._orchestrator = orchestrator
        self._bridge = bridge
        self._since = since

    def __call__(self, event: MemberEvent) -> None:
        """Take an event."""
        if event.kind == USAGE or event.time <= self._since:
            return
        self._orchestrator.note(MemberChanged(event.node, event.kind, event.reason, event.time))
        if event.kind == LOST:
            self._bridge.lost(event.node)
        elif event.kind in (BACK, JOINED):
            self._bridge.back(event.node)


class Silence:
    """A source that never says anything: simulated nodes come and go by commands and members alone."""

    def infrastructure(self) -> Infrastructure:
        """None of the nodes is the cluster's."""
        return Infrastructure.of([])

    def watch(self, notify: Callable[[Change], None]) -> Callable[[], None]:
        """Nothing to watch."""
        return lambda: None
