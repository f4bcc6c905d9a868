"""What nodes say about themselves, read and written; which changes follow from it."""

import json

import pytest
from cluster_support import node_item

from aiotwin_nb.cluster.labelling import match, plan_labels
from aiotwin_nb.cluster.labels import annotations_of, labels_of, node_of
from aiotwin_nb.cluster.source import difference, nodes_of
from aiotwin_nb.continuum import Role
from aiotwin_nb.errors import InvalidInput
from aiotwin_nb.scenario import load_scenario

NODES = load_scenario("hands-on").infrastructure.nodes
NOISY = load_scenario("degradation-mislabelled")


@pytest.mark.parametrize("lab", ["hands-on", "cluster-24", "degradation-mislabelled"])
def test_every_node_of_a_scenario_survives_its_labels(lab):
    scenario = load_scenario(lab)
    arriving = [node for change in scenario.changes().values() for node in change.added]
    for node in [*scenario.infrastructure.nodes.values(), *arriving]:
        assert node_of(node.id, labels_of(node), annotations_of(node)) == node


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ({"fl/type": "cleint"}, "label fl/type"),
        ({"fl/type": "client", "comm/n2": "near"}, "label comm/n2"),
        ({"fl/type": "client", "data/7": "-1"}, "label data/7"),
        ({"fl/type": "client", "fl/partition-id": "1"}, "label fl/partition-id"),
    ],
)
def test_wrong_labels_are_named_with_their_node(labels, words):
    with pytest.raises(InvalidInput, match=f"^cluster node worker: {words}"):
        node_of("worker", labels)
    assert words in nodes_of({"worker": node_item("worker", labels)})[1]["worker"]


def test_only_labelled_usable_nodes_exist():
    items = {
        "a": node_item("a", {"fl/type": "client"}),
        "b": node_item("b", {"fl/type": "client"}, ready=False),
        "c": node_item("c", {"fl/type": "client"}, cordoned=True),
        "d": node_item("d"),
        "e": node_item("e", {"fl/type": "client", "aiotwin.io/id": "a"}),
    }
    nodes, wrong = nodes_of(items)
    assert list(nodes) == ["a"]
    assert wrong == {"e": "cluster node e: another one has the id a too"}


def test_a_role_that_changes_is_leaving_and_joining_again():
    client = NODES["n4"]
    other = node_of("n4", {**labels_of(client), "fl/type": "local_aggregator"})
    change = difference({"n4": client}, {"n4": other})
    assert (change.removed, change.added) == (("n4",), (other,))
    nearer = node_of("n4", {**labels_of(client), "comm/n2": "10", "data/0": "1"})
    change = difference({"n4": client}, {"n4": nearer})
    assert (change.removed, change.added) == ((), ())
    assert change.links == {"n4": {"n2": 10}}
    assert change.data == {"n4": {0: 1}}


# Writing labels.


def test_a_scenario_is_written_once():
    cluster = {name: node_item(name, {"kubernetes.io/hostname": name}) for name in NODES}
    changes = plan_labels(cluster, match(NODES.values(), cluster, {}))
    assert len(changes) == len(NODES)
    for change in changes:
        cluster[change.cluster_node]["metadata"]["labels"].update(change.labels)
    assert plan_labels(cluster, match(NODES.values(), cluster, {})) == []
    assert nodes_of(cluster)[0] == dict(NODES)


def test_old_labels_go_and_foreign_ones_stay():
    cluster = {
        "w": node_item("w", {"fl/type": "client", "comm/n9": "1", "team": "a"}, annotations={"aiotwin.io/node": "{}"})
    }
    (change,) = plan_labels(cluster, {"w": NODES["n2"]})
    assert change.labels == {"comm/n9": None, "fl/type": "local_aggregator", "comm/n1": "100", "aiotwin.io/id": "n2"}
    assert change.annotations == {"aiotwin.io/node": None}
    (cleared,) = plan_labels(cluster, {}, clear=True)
    assert cleared.labels == {"fl/type": None, "comm/n9": None}


def test_what_labels_cannot_hold_is_an_annotation():
    node = next(n for c in NOISY.changes().values() for n in c.added if n.label_noise.kind != "none")
    (change,) = plan_labels({node.id: node_item(node.id)}, {node.id: node})
    assert json.loads(change.annotations["aiotwin.io/node"])["label_noise"]["kind"] == node.label_noise.kind


@pytest.mark.parametrize(
    ("pairs", "words"),
    [
        (
            {},
            "the cluster has no node n1, n2, .*it has n4, w1.* --map n1=CLUSTER_NODE, or leave them out with --partial",
        ),
        ({"n77": "w1"}, r"--map n77=w1: the scenario has no node 'n77'. Did you mean 'n7'\?"),
        ({"n1": "w11"}, r"--map n1=w11: the cluster has no node 'w11'; it has n4, w1. Did you mean 'w1'\?"),
        ({"n1": "w1", "n2": "w1"}, "cluster node w1 cannot be both n1 and n2"),
    ],
)
def test_nodes_without_a_place_are_told(pairs, words):
    with pytest.raises(InvalidInput, match=words):
        match(NODES.values(), ["w1", "n4"], pairs)


def test_roles_are_the_continuums():
    assert {labels_of(node)["fl/type"] for node in NODES.values()} == {role.value for role in Role}
