from __future__ import annotations

from decimal import Decimal

import pytest

from aiotwin_nb.continuum import Infrastructure, Node, Role, check_infrastructure


def node(node_id, role, data=None, **links):
    return Node(node_id, Role(role), {peer: Decimal(cost) for peer, cost in links.items()}, data=data or {})


GA = node("n1", "global_aggregator")
LAS = (node("n2", "local_aggregator", n1=1), node("n3", "local_aggregator", n1=1))
CLIENT = node("n4", "client", n2=1)


def problems(*nodes, later=()):
    return [(p.node, p.field, p.value) for p in check_infrastructure(Infrastructure.of(nodes), later)]


def test_a_good_one_has_no_problems():
    assert problems(GA, *LAS, CLIENT) == []
    assert problems(GA, node("n4", "client", n1=1)) == []


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        ((*LAS, CLIENT), [(None, "role", ""), *[(la.id, "links.n1", "1") for la in LAS]]),
        ((GA, node("n0", "global_aggregator"), *LAS, CLIENT), [("n1", "role", "global_aggregator")]),
        ((GA, *LAS), [(None, "role", "")]),
        ((GA, *LAS, node("n4", "client", n2=1, n4=1)), [("n4", "links.n4", "1")]),
        ((GA, *LAS, node("n4", "client", n2=-1)), [("n4", "links.n2", "-1")]),
        ((GA, *LAS, node("n4", "client", n2="NaN")), [("n4", "links.n2", "NaN")]),
        ((GA, *LAS, node("n4", "client", n2="Infinity")), [("n4", "links.n2", "Infinity")]),
        ((GA, *LAS, node("n4", "client", n1=1)), [("n4", "links", "n1")]),
        ((GA, LAS[0], CLIENT), [("n4", "links", "n2")]),  # one LA: flat FL, so the GA must be reachable
        ((GA, node("n4", "client")), [("n4", "links", "")]),
        ((GA, LAS[0], node("n3", "local_aggregator"), CLIENT), [("n3", "links", "")]),
        ((GA, *LAS, node("n4", "client", {0: 5, 1: -5}, n2=1)), [("n4", "data.1", "-5")]),
    ],
)
def test_problems(nodes, expected):
    assert problems(*nodes) == expected


def test_unknown_peer_is_named_unless_it_joins_later():
    client = node("n4", "client", n2=1, n22=1)
    (problem,) = check_infrastructure(Infrastructure.of([GA, *LAS, client]))
    assert (problem.node, problem.field) == ("n4", "links.n22")
    assert "Did you mean 'n2'" in problem.message
    assert problems(GA, *LAS, client, later=["n22"]) == []


def test_a_link_declared_on_either_side_counts():
    assert problems(GA, LAS[0], node("n3", "local_aggregator", n1=1, n4=2), node("n4", "client")) == []
