"""The last tests of the cluster: its nodes go for good, first one and then the other."""

import pytest
from k3s_support import LiveRun, archives
from testbed_support import HOME, run_testbed

LONG = [
    word for value in ("events=[]", "training.max_rounds=100000", "objective.budget=1e9") for word in ("--set", value)
]


@pytest.fixture
def run(bed, tmp_path):
    live = LiveRun(bed, tmp_path / "node-loss", "hands-on", *LONG)
    live.wait_round(2)
    yield live
    live.stop()


def test_a_node_that_is_gone_is_planned_without(bed, run):
    places = {pod["metadata"]["labels"]["aiotwin.io/node"]: pod["spec"]["nodeName"] for pod in bed.pods(run.id)}
    assert places["n1"] == "n1"  # the first of the scenario's nodes is on the first of the cluster's
    gone = sorted(node for node, place in places.items() if place == "n2")
    run_testbed("node-stop", 2)

    def lost():
        return {event.node: event for event in run.events("member_changed") if event.standing == "lost"}

    run.wait_for("losses", lambda: set(lost()) == set(gone), 90)
    run.wait_for("a plan without them", lambda: not set(gone) & set(run_nodes(run)), 60)
    after = run.rounds()[-1]
    run.wait_round(after + 3)
    clusters = run.events("deployed")[-1].configuration.clusters
    members = {name for aggregator, clients in clusters for name in (aggregator, *clients)}
    assert members
    assert not members & set(gone)
    result = run.events("round_finished")[-1].result
    assert {client.client for client in result.clients} == members & {"n4", "n5", "n6", "n7", "n8"}


def test_the_global_aggregators_node_is_gone(bed, tmp_path):
    run_testbed("node-start", 2, *archives(), HOME / "img" / "dns.tar")
    run = LiveRun(bed, tmp_path / "root-loss", "hands-on", *LONG)
    try:
        run.wait_round(2)
        run_testbed("node-stop", 1)
        before = run.rounds()[-1]
        run.wait_for("n1 elsewhere", lambda: "restored" in run.standings("n1"), 150)
        run.wait_round(before + 3, 180)
        (pod,) = bed.pods(run.id, "n1")
        assert pod["spec"]["nodeName"] == "n2"
        paid = [event.result.round for event in run.events("round_finished")]
        assert paid == list(range(len(paid)))
    finally:
        run.stop()


def run_nodes(run):
    """The nodes that a run has now."""
    from aiotwin_nb.api import attach

    return attach(run.path).state().infrastructure.nodes
