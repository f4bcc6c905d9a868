from __future__ import annotations

from decimal import Decimal

import pytest

from aiotwin_nb.continuum import Change, Infrastructure, Node, Role, exact, natural_key, natural_sorted
from aiotwin_nb.errors import InvalidInput


def infrastructure():
    return Infrastructure.of(
        [
            Node("n10", Role.CLIENT, {"n1": Decimal(5)}),
            Node("n1", Role.GLOBAL_AGGREGATOR),
            Node("n2", Role.CLIENT, {"n1": Decimal(7)}),
        ]
    )


def test_natural_order():
    assert natural_sorted(["n10", "n2", "a", "n", "n2b", "n²", "n01", "n1"]) == [
        "a", "n", "n01", "n1", "n2", "n2b", "n10", "n²",
    ]  # fmt: skip
    assert natural_key("n01") != natural_key("n1")


def test_exact_is_what_was_written():
    assert exact(3.3) == Decimal("3.3")


def test_queries():
    infra = infrastructure()
    assert (infra.global_aggregator, infra.clients) == ("n1", ("n2", "n10"))
    assert infra.link("n1", "n10") == infra.link("n10", "n1") == 5
    assert infra.link("n2", "n10") is None
    with pytest.raises(InvalidInput, match="global_aggregator"):
        _ = Infrastructure.of([]).global_aggregator


def test_changes_at_one_boundary_merge():
    both = Change(links={"n2": {"n1": Decimal(1)}, "n10": {"n1": Decimal(2)}}).merged(Change(removed=("n2",)))
    after = infrastructure().apply(both)
    assert list(after.nodes) == ["n1", "n10"]
    assert after.link("n10", "n1") == 2


def test_a_node_that_comes_and_goes_leaves_nothing():
    visit = Change(added=(Node("n3", Role.CLIENT),)).merged(Change(removed=("n3",)))
    assert not visit


def test_apply_names_what_is_wrong():
    with pytest.raises(InvalidInput, match="Did you mean"):
        infrastructure().apply(Change(removed=("n11",)))
    with pytest.raises(InvalidInput, match="there already"):
        infrastructure().apply(Change(added=(Node("n2", Role.CLIENT),)))
