from __future__ import annotations

import itertools
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiotwin_nb.continuum import Change, Infrastructure, exact, natural_key, read_nodes_csv
from aiotwin_nb.errors import InfeasiblePlan, InvalidInput
from aiotwin_nb.planning import Configuration, cost_model, make_plan, post_cost, strategies

from .support import node, request_for

BUILT_IN = ("flat", "manual", "min_comm_cost", "min_comm_cost_greedy")
LA, CLIENT = "local_aggregator", "client"


def plan(name, infrastructure, current=None, **args):
    return make_plan(name, args, request_for(infrastructure, current))


def client_links(infrastructure, configuration):
    return sum(infrastructure.link(*pair) for pair in configuration.parents.items())


def test_built_in_strategies_say_what_they_do():
    assert set(BUILT_IN) <= set(strategies.names())
    for name in BUILT_IN:
        assert "Objective" in (strategies.get(name).__doc__ or "")


# --- figures of the original ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["min_comm_cost", "min_comm_cost_greedy"])
@pytest.mark.parametrize("run", ["1a", "1b"])
def test_recorded_runs(reference, run, name):
    model = cost_model("communication", model_size_mb="3.3")
    before = Infrastructure.of(read_nodes_csv(reference / "icmlcn" / run / "cluster.csv"))
    after = before.apply(Change(added=read_nodes_csv(reference / "icmlcn" / run / "changes.csv")))
    start = plan(name, before)
    joined = plan(name, after, start)
    assert start.as_dict() == {"n2": ["n4", "n5", "n6", "n7"], "n3": ["n8", "n9", "n10", "n11"]}
    assert model.round_cost(before, start) == 1716
    assert model.round_cost(after, joined) == 1980
    assert model.change_cost(after, start, joined) == 66
    assert model.change_cost(after, joined, start) == 0
    assert post_cost(model, after, start, joined) == 264


def test_cluster_of_24(reference):
    infrastructure = Infrastructure.of(read_nodes_csv(reference / "cluster-24.csv"))
    best, greedy = plan("min_comm_cost", infrastructure), plan("min_comm_cost_greedy", infrastructure)
    assert client_links(infrastructure, best) == 460
    assert client_links(infrastructure, greedy) > 460
    assert list(plan("min_comm_cost_greedy", infrastructure).as_dict()) == ["n2", "n3", "n14", "n15", "n16"]
    assert sorted(len(clients) for clients in best.as_dict().values()) == [4, 5, 5, 5, 5]
    # in string order n14 comes first and n3 last, so n3 is the small one
    assert len(greedy.as_dict()["n3"]) == 4


# --- min_comm_cost is exact ----------------------------------------------------------------------------------------


def cheapest_by_trying(request):
    """The best configuration by trying every balanced assignment, with the promised order among equals."""
    infrastructure, current = request.infrastructure, request.current.parents if request.current else {}
    clients, las = infrastructure.clients, infrastructure.local_aggregators
    best = None
    for parents in itertools.product(las, repeat=len(clients)):
        sizes = [parents.count(la) for la in las]
        links = [infrastructure.link(*pair) for pair in zip(clients, parents, strict=True)]
        links += [infrastructure.link(la, "g") for la in set(parents)]
        if max(sizes) - min(sizes) > 1 or None in links:
            continue
        configuration = request.hierarchical(dict(zip(clients, parents, strict=True)))
        cost = request.cost_model.round_cost(infrastructure, configuration)
        moved = sum(current.get(c) not in (None, la) for c, la in zip(clients, parents, strict=True))
        key = (cost, moved, [natural_key(la) for la in parents])
        if best is None or key < best[0]:
            best = key, configuration
    return best and best[1]


@st.composite
def requests(draw):
    las = draw(st.sampled_from([("a2", "a10"), ("a2", "a10", "b1"), ("a1", "a2", "a10", "b1")]))
    clients = [f"c{i}" for i in draw(st.lists(st.integers(1, 12), min_size=1, max_size=5, unique=True))]
    cost = st.sampled_from([None, "0", "0.1", "0.3", "0.3", "1", "2.25"])
    row = st.tuples(*[cost] * len(las))
    uplink = st.sampled_from(["0.1", "0.3", "1"] if len(clients) >= len(las) else [None, "0.1", "0.3", "1"])

    def linked(costs, peers):
        return {peer: c for peer, c in zip(peers, costs, strict=True) if c is not None}

    nodes = [node("g", "global_aggregator")]
    nodes += [node(la, LA, **linked([draw(uplink)], ["g"])) for la in las]
    nodes += [node(client, CLIENT, **linked(draw(row), las)) for client in clients]
    places = draw(st.none() | st.fixed_dictionaries({c: st.sampled_from([*las, "gone"]) for c in clients[1:]}))
    current = None if places is None else Configuration.of_parents("g", places, epochs=1, local_rounds=1)
    return request_for(Infrastructure.of(nodes), current, size="0.7", local_rounds=draw(st.integers(1, 3)))


@settings(max_examples=200, deadline=None)
@given(requests())
def test_min_comm_cost_equals_trying_everything(request):
    expected = cheapest_by_trying(request)
    if expected is None:
        with pytest.raises(InfeasiblePlan):
            make_plan("min_comm_cost", {}, request)
    else:
        assert make_plan("min_comm_cost", {}, request) == expected


def test_the_larger_cluster_is_chosen_by_cost():
    infrastructure = Infrastructure.of(
        [
            node("g", "global_aggregator"),
            *(node(la, LA, g=10) for la in ("a1", "a2")),
            *(node(f"c{i}", CLIENT, a1=9, a2=1) for i in range(1, 4)),
        ]
    )
    assert plan("min_comm_cost", infrastructure).as_dict() == {"a1": ["c1"], "a2": ["c2", "c3"]}
    assert plan("min_comm_cost_greedy", infrastructure).as_dict() == {"a1": ["c2", "c3"], "a2": ["c1"]}


def test_among_equals_nobody_moves_and_then_natural_order_decides():
    infrastructure = Infrastructure.of(
        [
            node("g", "global_aggregator"),
            *(node(la, LA, g=10) for la in ("n2", "n10")),
            *(node(c, CLIENT, n2=5, n10=5) for c in ("n20", "n3", "n11", "n100")),
        ]
    )
    start = plan("min_comm_cost", infrastructure)
    assert start.as_dict() == {"n2": ["n3", "n11"], "n10": ["n20", "n100"]}
    crossed = Configuration.of("g", {"n2": ["n20", "n100"], "n10": ["n3", "n11"]}, epochs=2, local_rounds=2)
    assert plan("min_comm_cost", infrastructure, crossed) == crossed


def test_fewer_clients_than_aggregators_pay_only_for_those_used():
    infrastructure = Infrastructure.of(
        [
            node("g", "global_aggregator"),
            node("a1", LA, g=100),
            node("a2", LA, g=1),
            node("a3", LA),
            node("c1", CLIENT, a1=1, a2=2, a3=0),
        ]
    )
    assert plan("min_comm_cost", infrastructure).as_dict() == {"a2": ["c1"]}


def test_errors_name_what_to_add():
    las = [node("a1", LA, g=1), node("a2", LA, g=1)]
    start = [node("g", "global_aggregator"), *las]
    lonely = Infrastructure.of([*start, node("c1", CLIENT, a1=1), node("c2", CLIENT, g=1)])
    for name in ("min_comm_cost", "min_comm_cost_greedy"):
        with pytest.raises(InfeasiblePlan, match="client c2 has no link to any of"):
            plan(name, lonely)
    crowded = Infrastructure.of([*start, node("c1", CLIENT, a1=1), node("c2", CLIENT, a1=2)])
    with pytest.raises(InfeasiblePlan, match=r"would make it possible: c\d to a2"):
        plan("min_comm_cost", crowded)
    no_uplink = Infrastructure.of(
        [start[0], las[0], node("a2", LA), *(node(f"c{i}", CLIENT, a1=1, a2=1) for i in (1, 2))]
    )
    with pytest.raises(InfeasiblePlan, match="a2 has no link to the global aggregator g"):
        plan("min_comm_cost", no_uplink)


# --- greedy, flat, manual ------------------------------------------------------------------------------------------


def test_greedy_takes_aggregators_in_string_order():
    infrastructure = Infrastructure.of(
        [
            node("n1", "global_aggregator"),
            *(node(la, LA, n1=100) for la in ("n2", "n14")),
            *(node(c, CLIENT, n2=5, n14=5) for c in ("n3", "n4", "n10")),
        ]
    )
    assert plan("min_comm_cost_greedy", infrastructure).as_dict() == {"n2": ["n10"], "n14": ["n3", "n4"]}


def test_flat_trains_as_many_epochs(hands_on):
    flat = plan("flat", hands_on)
    assert flat.as_dict() == {"n1": ["n4", "n5", "n6", "n7", "n8"]}
    assert (flat.epochs, flat.local_rounds, flat.is_flat) == (4, 1, True)


@pytest.mark.parametrize("name", BUILT_IN)
@pytest.mark.parametrize("gone", [("n2",), ("n2", "n3")])
def test_at_most_one_local_aggregator_means_flat(hands_on, name, gone):
    smaller = hands_on.apply(Change(removed=gone))
    args = {"clusters": {"n3": ["n4"]}} if name == "manual" else {}
    current = plan("min_comm_cost", hands_on)
    if name == "manual" and "n3" in gone:
        args = {"clusters": {"n1": []}}
    assert plan(name, smaller, current, **args) == plan("flat", hands_on)


def test_manual_places_as_written(hands_on):
    got = plan("manual", hands_on, clusters={"n2": ["n7", "n8", "n99"], "n3": ["n4"]}, default="n3")
    assert got.as_dict() == {"n2": ["n7", "n8"], "n3": ["n4", "n5", "n6"]}
    assert plan("manual", hands_on, clusters={"n2": ["n7"], "n3": []}).as_dict() == {
        "n2": ["n4", "n5", "n6", "n7"],
        "n3": ["n8"],
    }
    assert plan("manual", hands_on, clusters={"n1": []}) == plan("flat", hands_on)


def test_manual_after_an_aggregator_left(hands_on):
    three = hands_on.apply(Change(added=(node("n10", LA, n1=100),), links={"n8": {"n10": exact(1)}}))
    clusters = {"n2": ["n4", "n5"], "n3": ["n6"], "n10": ["n8"]}
    start = plan("manual", three, clusters=clusters)
    assert start.as_dict()["n10"] == ["n8"]
    after = plan("manual", three.apply(Change(removed=("n10",))), start, clusters=clusters)
    assert after.as_dict() == {"n2": ["n4", "n5"], "n3": ["n6", "n7", "n8"]}


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ({"clusters": ["n2"]}, "is no table"),
        ({"clusters": {"n2": "n4"}}, r"clusters\.n2: 'n4' is no list"),
        ({"clusters": {"n2": ["n4"], "n3": ["n4"]}}, "'n4' is named twice"),
        ({"clusters": {"n2": [4]}}, "4 is no node id"),
        ({"clusters": {2: ["n4"]}}, "2 is no node id"),
        ({"clusters": {"n33": ["n4"]}}, "Did you mean 'n3'"),
        ({"clusters": {"n2": []}, "default": "n7"}, "'n7' is no aggregator"),
        ({}, "needs the argument 'clusters'"),
    ],
)
def test_manual_refuses_wrong_arguments(hands_on, args, words):
    with pytest.raises(InvalidInput, match=words):
        plan("manual", hands_on, **args)


def test_manual_without_a_link_is_infeasible(hands_on):
    apart = hands_on.apply(Change(added=(node("n9", CLIENT, n3=1),)))
    with pytest.raises(InfeasiblePlan, match="no link between n9 and n2"):
        plan("manual", apart, clusters={"n2": ["n9"], "n3": []})
    assert plan("manual", apart, clusters={"n2": [], "n3": []}, default="n2").parents["n9"] == "n3"
    with pytest.raises(InfeasiblePlan, match="n9 has no link to any of n2"):
        plan("manual", apart, clusters={"n2": []})
    with pytest.raises(InfeasiblePlan, match="on n1 and on local aggregators at once"):
        plan("manual", hands_on, clusters={"n1": ["n4"], "n2": ["n5"]}, default="n2")


def test_costs_are_decimals_not_floats(hands_on):
    assert isinstance(request_for(hands_on).member_cost("n4", "n2"), Decimal)
