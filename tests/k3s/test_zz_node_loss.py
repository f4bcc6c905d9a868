"""The last test of the cluster: one of its nodes goes for good."""

import pytest
from k3s_support import LiveRun, testbed


@pytest.fixture
def run(bed, tmp_path):
    live = LiveRun(bed, tmp_path / "node-loss", "hands-on", "--set", "events=[]", "--set", "training.max_rounds=400")
    live.wait_round(2)
    yield live
    live.stop()


def test_a_node_that_is_gone_is_planned_without(bed, run):
    places = {pod["metadata"]["labels"]["aiotwin.io/node"]: pod["spec"]["nodeName"] for pod in bed.pods(run.id)}
    assert places["n1"] == "n1"  # the first of the scenario's nodes is on the first of the cluster's
    gone = sorted(node for node, place in places.items() if place == "n2")
    testbed("node-stop", 2)

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


def run_nodes(run):
    """The nodes that a run has now."""
    from aiotwin_nb.api import attach

    return attach(run.path).state().infrastructure.nodes
