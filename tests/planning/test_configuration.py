from __future__ import annotations

from aiotwin_nb.planning import Configuration, diff


def test_canonical_order_and_empty_clusters():
    got = Configuration.of("n1", {"n14": ["n20", "n3"], "n2": ["n4"], "n5": []}, epochs=2, local_rounds=3)
    assert got.clusters == (("n2", ("n4",)), ("n14", ("n3", "n20")))
    assert got == Configuration.of_parents("n1", got.parents, epochs=2, local_rounds=3)
    assert got.clients == ("n3", "n4", "n20")
    assert not got.is_flat


def test_diff_and_without():
    old = Configuration.of("n1", {"n2": ["n4", "n5"], "n3": ["n6"]}, epochs=1, local_rounds=1)
    new = Configuration.of("n1", {"n2": ["n4", "n6"], "n9": ["n7"]}, epochs=1, local_rounds=1)
    change = diff(old, new)
    assert (change.joined, change.left, change.moved) == (("n7",), ("n5",), (("n6", "n3", "n2"),))
    assert (change.opened, change.closed) == (("n9",), ("n3",))
    assert not diff(old, old)
    assert old.without(["n3", "n4"]).as_dict() == {"n2": ["n5"]}
