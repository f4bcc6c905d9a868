import numpy as np
import pytest
from fl_support import CLIENTS, spec

from fl_service.errors import TaskError
from fl_service.spec import ClientNode, Slots
from fl_service.tasks import datasets, label_counts
from fl_service.tasks import partition as cut

DATA = datasets.load("digits")
LABELS = DATA.train_labels


def draw(node, partition=None, seed=1):
    return cut.indices(node, LABELS, DATA.classes, partition, seed)


def test_counts_are_exact_and_without_repetition():
    found = draw(ClientNode("n4", ((0, 40), (7, 13))))
    assert len(set(found)) == 53
    assert np.bincount(LABELS[found], minlength=10).tolist() == [40, 0, 0, 0, 0, 0, 0, 13, 0, 0]


def test_draws_depend_on_seed_and_node_only():
    node = ClientNode("n4", ((0, 40),))
    assert (draw(node) == draw(node)).all()
    assert set(draw(node)) != set(draw(node, seed=2))
    assert set(draw(node)) != set(draw(ClientNode("n5", ((0, 40),))))


def test_more_of_a_label_extends_what_a_client_had_and_another_label_changes_nothing():
    few, more = draw(ClientNode("n4", ((0, 10),))), draw(ClientNode("n4", ((0, 30), (1, 5))))
    assert set(few) <= set(more)


@pytest.mark.parametrize(
    ("node", "told"),
    [
        (ClientNode("n9", ((10, 5),)), ["nodes[n9].data", "label 10", "0, 1, 2"]),
        (ClientNode("n9", ((0, 5000),)), ["nodes[n9].data", "5000 samples of label 0", "0–1"]),
        (ClientNode("n9", ((0, -1),)), ["nodes[n9].data"]),
        (ClientNode("n9"), ["nodes[n9].data", "no samples"]),
        (ClientNode("n9", ((0, 1),), "shfit", 1.0), ["nodes[n9].label_noise.kind", "Did you mean 'shift'?"]),
        (ClientNode("n9", ((0, 1),), "shift", 1.5), ["nodes[n9].label_noise.share", "1.5"]),
    ],
)
def test_impossible_data_is_refused_by_field(node, told):
    with pytest.raises(TaskError) as refused:
        draw(node)
    for words in told:
        assert words in str(refused.value)


@pytest.mark.parametrize(
    "partition",
    [{"kind": "iid"}, {"kind": "dirichlet", "alpha": 0.5}, {"kind": "shards", "shards_per_client": 2}],
    ids=lambda p: p["kind"],
)
def test_slots_are_disjoint_and_cover_the_training_set(partition):
    parts = [draw(ClientNode(f"n{i}", slot=(i, 5)), partition) for i in range(5)]
    together = np.concatenate(parts)
    assert sorted(together) == list(range(len(LABELS)))
    if partition["kind"] == "shards":
        assert max(len(np.unique(LABELS[p])) for p in parts) <= 5
    if partition["kind"] == "iid":
        assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_small_alpha_is_uneven():
    def spread(alpha):
        parts = [draw(ClientNode("n", slot=(i, 5)), {"kind": "dirichlet", "alpha": alpha}) for i in range(5)]
        return np.std([np.bincount(LABELS[p], minlength=10) / len(p) for p in parts])

    assert spread(0.3) > 3 * spread(100.0)


def test_a_slot_that_does_not_exist_is_refused():
    for slot in (None, (5, 5)):
        with pytest.raises(TaskError, match=r"nodes\[n9\].partition"):
            draw(ClientNode("n9", slot=slot), {"kind": "iid"})


def test_slots_are_given_in_the_order_of_coming_and_kept():
    nodes = list(CLIENTS.values())
    slots = Slots.of(spec(task={"partition": {"kind": "iid"}}).settings, nodes)
    assert [slots.placed(n).slot for n in nodes] == [(0, 4), (1, 4), (2, 4), (3, 4)]
    assert slots.placed(nodes[2]).slot == (2, 4)
    assert slots.placed(ClientNode("x", slot=(1, 9))).slot == (1, 9)


def test_shifted_labels_are_all_wrong_by_one():
    node = ClientNode("n9", ((0, 20), (9, 20)), "shift", 1.0)
    chosen, labels = cut.select(node, DATA, None, 1)
    assert (labels == (LABELS[chosen] + 1) % 10).all()


@pytest.mark.parametrize("kind", ["shift", "random"])
def test_half_of_the_labels(kind):
    node = ClientNode("n9", ((6, 40), (7, 40), (8, 40)), kind, 0.5)
    chosen, labels = cut.select(node, DATA, None, 1)
    wrong = int((labels != LABELS[chosen]).sum())
    assert wrong == 60 if kind == "shift" else 40 <= wrong <= 60
    assert (labels == cut.select(node, DATA, None, 1)[1]).all()


def test_label_counts_without_training():
    nodes = [*CLIENTS.values(), ClientNode("n9", ((9, 4),), "shift", 1.0)]
    counts = label_counts(spec(), nodes)
    assert counts["c1"] == {0: 10, 1: 10}
    assert counts["n9"] == {0: 4}
