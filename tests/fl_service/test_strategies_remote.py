"""Every supported strategy over gRPC and mutual TLS gives what it gives in one process, bit for bit."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from fl_service import aggregation
from fl_service.certificates import Authority
from fl_service.grid import InProcessGrid, Member, Registry, node_id
from fl_service.hierarchy import Tier
from fl_service.records import to_arrays, to_record
from fl_service.remote_grid import APP, RemoteGrid
from fl_service.roles.member import Member as RemoteMember
from fl_service.transport.hub import Hub
from fl_service.transport.link import Address, Link
from fl_service.transport.liveness import Timings
from fl_service.transport.peer import Operation, answer

RUN, SEED = 7, 1
MEMBERS = [f"c{i}" for i in range(1, 6)]
MODEL = {"w": np.linspace(-1, 1, 60, dtype=np.float32).reshape(12, 5), "b": np.zeros(5, np.float32)}
PATIENT = Timings(late=60, lost_broken=60, lost_silent=120)  # nobody is late because the machine is busy


def noisy_app():
    """A user's ClientApp: its update is drawn from the generator that the call was seeded with."""
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        arrays = {
            key: Array(array.numpy() + np.random.normal(0, 0.1, array.shape).astype(np.float32))
            for key, array in message.content["arrays"].items()
        }
        metrics = MetricRecord({"num-examples": 10 * int(context.node_config["number"]), "train_loss": 0.5})
        return Message(RecordDict({"arrays": ArrayRecord(arrays), "metrics": metrics}), reply_to=message)

    return app


def configuration(name):
    return {"name": name, "number": int(name[1:])}


@pytest.fixture(scope="module")
def remote():
    """The Grid of an aggregator whose members joined it over the network."""
    authority = Authority("strategies")
    # All apps are in one process here, whose generators and whose name in new messages there is but one of.
    lane = ThreadPoolExecutor(1)
    hub = Hub("ga", authority.issue("ga"), "127.0.0.1:0", PATIENT, notify=lambda told: None)
    links = []
    for name in MEMBERS:
        member = RemoteMember(name, lambda run_id, partitions: noisy_app())
        operations = {"setup": Operation(lane, member.setup), APP: Operation(lane, member.execute)}
        parent = Address("ga", f"127.0.0.1:{hub.port}")
        links.append(Link(name, authority.issue(name), parent, PATIENT, operations=operations).start())
    until = time.monotonic() + 30
    while any(hub.standing(name) != "here" for name in MEMBERS):
        assert time.monotonic() < until, "not everybody joined"
        time.sleep(0.01)
    for name in MEMBERS:
        header = {"run_id": RUN, "partitions": 0, "node_config": configuration(name), "run_config": {}}
        answer(hub.call(name, "setup", header), 30, f"setting up {name}")
    yield RemoteGrid("ga", RUN, SEED, hub, seconds=30, max_message_mb=10)
    for link in links:
        link.close()
    hub.close()
    lane.shutdown()


def local():
    """The same in this process."""
    registry = Registry(RUN)
    for name in MEMBERS:
        context = Context(RUN, node_id(name), configuration(name), RecordDict(), {})
        registry.members[name] = Member(name, noisy_app(), context)
    return InProcessGrid("ga", registry, SEED)


def three_rounds(strategy, grid):
    """The model after three rounds, with the strategy's memory of the rounds before, and what went wrong."""
    configs = [{"round": number, "epochs": 1} for number in (1, 2, 3)]
    tier = Tier(aggregation.build(strategy, {}, learning_rate=0.1))
    outcomes = tier.run(RecordDict(), grid, MEMBERS, to_record(MODEL), configs)
    return to_arrays(outcomes[-1].arrays), [outcome.problems for outcome in outcomes]


@pytest.mark.parametrize("strategy", aggregation.SUPPORTED)
def test_it_gives_what_it_gives_in_one_process(remote, strategy):
    remote.begin_collecting()
    there, problems = three_rounds(strategy, remote)
    assert problems == [{}, {}, {}]
    assert remote.collected.heard == set(MEMBERS)
    here, _ = three_rounds(strategy, local())
    assert all(there[key].tobytes() == here[key].tobytes() for key in MODEL)
    assert not np.array_equal(there["w"], MODEL["w"]), "it has learnt something"
