"""A local aggregator: a child of the global aggregator, and the parent of its cluster's clients."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict

from fl_service import aggregation
from fl_service.certificates import Credentials
from fl_service.grid import App
from fl_service.hierarchy import LocalAggregator
from fl_service.remote_grid import APP, RemoteGrid
from fl_service.roles.config import RoleConfig, address_from
from fl_service.roles.member import Member
from fl_service.roles.process import Readiness
from fl_service.transport.hub import Hub
from fl_service.transport.link import Address, Link
from fl_service.transport.liveness import Transition
from fl_service.transport.peer import Call, Operation, Reply, answer
from fl_service.transport.wire import Content

VIEW = "children"


class LocalAggregatorProcess:
    """The process of one local aggregator. Training has a thread of its own; setting up and moving do not wait."""

    def __init__(self, config: RoleConfig) -> None:
        assert config.parent is not None
        assert config.listen is not None
        self._config = config
        self._views = itertools.count(1)
        self._grid: RemoteGrid | None = None
        self._member = Member(config.name, self._app)
        work = ThreadPoolExecutor(1, thread_name_prefix="fl-work")
        side = ThreadPoolExecutor(16, thread_name_prefix="fl-side")
        readiness = Readiness(config.ready_file)
        readiness(False)
        credentials = Credentials.load(config.certificates)
        self.link: Link | None = None
        self.hub = Hub(
            config.name,
            credentials,
            config.listen,
            config.timings,
            notify=self._tell,
            max_message_mb=config.max_message_mb,
        )
        self.link = Link(
            config.name,
            credentials,
            config.parent,
            config.timings,
            operations={
                "setup": Operation(work, self._member.setup),
                APP: Operation(work, self._train),
                "setup-child": Operation(side, self._setup_child),
                "move-child": Operation(side, self._move_child),
                "lost-child": Operation(side, self._lost_child),
            },
            beat=readiness,
            joined=lambda: self._tell([]),
            on_drop=self._dropped,
            max_message_mb=config.max_message_mb,
        )

    def start(self) -> None:
        """Join the global aggregator; the hub listens already."""
        assert self.link is not None
        self.link.start()

    def close(self) -> None:
        """Leave, and let the clients go."""
        assert self.link is not None
        self.link.close()
        self.hub.close()

    def _app(self, run_id: int, partitions: int) -> App:
        c = self._config
        strategy = aggregation.of_tier(c.spec, "local")
        self._grid = RemoteGrid(
            c.name, run_id, c.spec.seed, self.hub, seconds=c.timings.train, max_message_mb=c.max_message_mb
        )
        return LocalAggregator(strategy, self._grid)

    def _train(self, call: Call) -> Reply:
        """Train the cluster; what its clients told beside their updates is passed on."""
        if self._grid is not None:
            self._grid.begin_collecting()
        reply = self._member.execute(call)
        assert self._grid is not None
        mine, ours = self._grid.collected, {k: v for k, v in reply.header.items() if k != "usage"}
        mine.heard.add(self._config.name)
        return Reply({**ours, **mine.to_header()}, {**reply.records, **mine.to_records()})

    def _setup_child(self, call: Call) -> Reply:
        child, seconds = str(call.header["child"]), float(call.header["seconds"])
        header = {key: call.header[key] for key in ("run_id", "partitions", "node_config", "run_config")}
        answer(self.hub.call(child, "setup", header, Content(call.records())), seconds, f"setting up {child}")
        return Reply()

    def _move_child(self, call: Call) -> Reply:
        parent = address_from(call.header["parent"], "parent")
        move(self.hub, str(call.header["child"]), parent, float(call.header["seconds"]))
        self._tell([])
        return Reply()

    def _lost_child(self, call: Call) -> Reply:
        self.hub.told_lost(str(call.header["child"]), str(call.header["reason"]))
        return Reply()

    def _tell(self, transitions: list[Transition]) -> None:
        """Tell the global aggregator how all children are: the newest view replaces those that it has not heard."""
        if self.link is not None:
            self.link.fail_pending("a newer view replaces it")
            self.link.call(VIEW, {"number": next(self._views), "children": self.hub.view()})

    def _dropped(self, op: str) -> None:
        if op == APP and self._grid is not None:
            self._grid.give_up("the global aggregator gave the round up")


def move(hub: Hub, child: str, parent: Address, seconds: float) -> None:
    """Move a hub's child to another parent, and forget it once it is there; raises TransportError if it stays."""
    answer(hub.call(child, "move", {"parent": asdict(parent)}), seconds, f"moving {child} to {parent.name}")
    hub.forget(child)
