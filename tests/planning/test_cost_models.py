"""Costs from declared energy, speed and rate: the formulas by hand, and what is refused by name."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from aiotwin_nb.continuum import Change, Infrastructure
from aiotwin_nb.errors import InvalidInput
from aiotwin_nb.planning import Configuration, cost_model, cost_models, make_plan
from aiotwin_nb.planning.costs import is_additive

from .support import hands_on_nodes, node, request_for

S = Decimal("3.3")


@pytest.fixture
def declared():
    """The hands-on nodes with energy 1, 2, …, data, speed and rates declared."""
    nodes = []
    for i, n in enumerate(hands_on_nodes(), start=1):
        rates = {peer: Decimal(10 * i) for peer in n.links}
        nodes.append(replace(n, energy=Decimal(i), data={0: 100 * i}, speed=Decimal(50), rates=rates))
    return Infrastructure.of(nodes)


@pytest.fixture
def clusters():
    return Configuration.of("n1", {"n2": ["n4", "n5", "n6"], "n3": ["n7", "n8"]}, epochs=2, local_rounds=3)


def test_energy_of_the_original(declared, clusters):
    model = cost_model("energy", model_size_mb=S)
    assert model.round_cost(declared, clusters) == 1 + 3 * (2 + 3) + 2 * 3 * (4 + 5 + 6 + 7 + 8)
    assert model.aggregation_cost(declared, clusters) == 1 + (2 + 3) + 2 * (4 + 5 + 6 + 7 + 8)
    assert model.change_cost(declared, clusters, clusters.without(["n4"])) == 0


def test_computation_time_is_a_sum(declared, clusters):
    model = cost_model("computation_time", model_size_mb=S)
    assert model.round_cost(declared, clusters) == 3 * 2 * Decimal(100 * 30) / 50
    assert model.unit == "s"


def test_wall_time_waits_for_the_slowest(declared, clusters):
    model = cost_model("wall_time", model_size_mb=S)

    def seconds(client, i):
        return Decimal(2 * 100 * i) / 50 + round(2 * S / (10 * i), 6)

    first = 3 * max(seconds("n4", 4), seconds("n5", 5), seconds("n6", 6)) + 2 * S / 20
    second = 3 * max(seconds("n7", 7), seconds("n8", 8)) + 2 * S / 30
    assert model.round_cost(declared, clusters) == max(first, second)
    faster = replace(declared.nodes["n4"], speed=Decimal(5000))
    without_n4 = declared.apply(Change(removed=("n4",))).apply(Change(added=(faster,)))
    assert model.round_cost(without_n4, clusters) == model.round_cost(declared, clusters)  # n4 was not the slowest
    flat = make_plan("flat", {}, request_for(declared))
    assert model.round_cost(declared, flat) == max(Decimal(4 * 800) / 50 + round(2 * S / 80, 6), 0)


def test_costs_do_not_drift(declared, clusters):
    thirds = declared.apply(Change(removed=("n4",))).apply(
        Change(added=(replace(declared.nodes["n4"], speed=Decimal(3)),))
    )
    cost = cost_model("computation_time", model_size_mb=S).round_cost(thirds, clusters)
    assert cost == cost.quantize(Decimal("0.000001"))


@pytest.mark.parametrize("name", ["communication", "wall_time"])
def test_a_node_that_joins_downloads_image_and_data(declared, clusters, name):
    plain = cost_model(name, model_size_mb=S)
    model = cost_model(name, model_size_mb=S, args={"image_mb": 50, "data_mb_per_sample": 0.01})
    assert model.round_cost(declared, clusters) == plain.round_cost(declared, clusters)
    assert model.change_cost(declared, None, clusters) == 0
    before = clusters.without(["n8"])
    extra = Decimal(50) + Decimal("0.01") * 800
    expected = (S + extra) * 20 / 2 if name == "communication" else round((S + extra) / 80, 6)
    assert model.change_cost(declared, before, clusters) == expected
    moved = Configuration.of("n1", {"n2": ["n4", "n5"], "n3": ["n6", "n7", "n8"]}, epochs=2, local_rounds=3)
    assert model.change_cost(declared, clusters, moved) == plain.change_cost(declared, clusters, moved)


def test_an_aggregator_that_opens_downloads_the_image(declared, clusters):
    model = cost_model("communication", model_size_mb=S, args={"image_mb": 50})
    one = Configuration.of("n1", {"n2": ["n4", "n5", "n6", "n7", "n8"]}, epochs=2, local_rounds=3)
    assert model.change_cost(declared, one, clusters) == S * (20 + 20) / 2 + Decimal(50) * 100 / 2


def test_weighted_sum(declared, clusters):
    weights = {"communication": 1, "energy": 0.5, "computation_time": 2}
    model = cost_model(
        "weighted", model_size_mb=S, args={"weights": weights, "args": {"communication": {"image_mb": 1}}}
    )
    parts = {name: cost_model(name, model_size_mb=S) for name in weights}
    expected = sum(Decimal(str(w)) * parts[name].round_cost(declared, clusters) for name, w in weights.items())
    assert model.round_cost(declared, clusters) == expected
    assert is_additive(model)
    assert not is_additive(cost_model("weighted", model_size_mb=S, args={"weights": {"wall_time": 1}}))


@pytest.mark.parametrize("args", [{}, {"weights": {"communication": 1, "energy": 3, "computation_time": "0.1"}}])
@pytest.mark.parametrize("name", ["communication", "energy", "computation_time", "weighted"])
def test_additive_models_are_what_strategies_minimise(declared, name, args):
    if (name == "weighted") != bool(args):
        return
    model = cost_model(name, model_size_mb=S, args=args)
    request = replace(request_for(declared), cost_model=model)
    best = make_plan("min_comm_cost", {}, request)
    for seed in range(5):
        other = make_plan("random", {"seed": seed}, request)
        assert model.round_cost(declared, best) <= model.round_cost(declared, other)
    opened = make_plan("min_comm_cost_open", {}, request)
    assert model.round_cost(declared, opened) <= model.round_cost(declared, best)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("energy", "needs the energy of every node, but n2 declares none"),
        ("computation_time", "needs the speed of every client, but n4 declares none.*aiotwin calibrate"),
        ("wall_time", "needs the rate between n4 and n2, but neither declares it"),
    ],
)
def test_what_is_not_declared_is_named(hands_on, clusters, name, words):
    with pytest.raises(InvalidInput, match=words):
        cost_model(name, model_size_mb=S).round_cost(hands_on, clusters)


def test_missing_data_and_rates_are_named(declared, clusters):
    model = cost_model("wall_time", model_size_mb=S)
    empty = Infrastructure.of(replace(n, data={}) for n in declared.nodes.values())
    with pytest.raises(InvalidInput, match="number of samples of every client, but n4 declares no data"):
        model.round_cost(empty, clusters)
    unrated = Infrastructure.of(replace(n, rates={}) for n in declared.nodes.values())
    with pytest.raises(InvalidInput, match="rate between n4 and n2, but neither declares it"):
        model.round_cost(unrated, clusters)


@pytest.mark.parametrize(
    ("name", "args", "words"),
    [
        ("communication", {"image": 3}, "has no argument 'image'; allowed are image_mb, data_mb_per_sample. Did you"),
        ("communication", {"image_mb": -3}, "image_mb: -3 is not allowed"),
        ("energy", {"x": 1}, "cost model energy has no argument 'x'; it takes none"),
        ("weighted", {}, "needs the argument 'weights'"),
        ("weighted", {"weights": {}}, "weights: {} is not allowed"),
        ("weighted", {"weights": {"energi": 1}}, "Did you mean 'energy'"),
        ("weighted", {"weights": {"weighted": 1}}, "cannot be a part of itself"),
        ("weighted", {"weights": {"energy": 1}, "args": {"wall_time": {}}}, "'wall_time' has no weight"),
    ],
)
def test_wrong_arguments(name, args, words):
    with pytest.raises(InvalidInput, match=words):
        cost_model(name, model_size_mb=S, args=args)


def test_a_model_of_ones_own(monkeypatch, hands_on):
    class PerClient:
        name, unit = "mine", "clients"

        def __init__(self, model_size_mb, price=1):
            self.price = Decimal(price)

        def round_cost(self, infrastructure, configuration):
            return self.price * len(configuration.clients)

        aggregation_cost = round_cost

        def change_cost(self, infrastructure, current, new):
            return Decimal(0)

        def aggregator_cost(self, infrastructure, aggregator, *, local_rounds):
            return Decimal(0)

        def member_cost(self, infrastructure, client, aggregator, *, epochs, local_rounds):
            return self.price

    monkeypatch.setitem(cost_models._items, "mine", PerClient)
    mine = cost_model("mine", model_size_mb=1, args={"price": 3})
    assert (
        mine.round_cost(hands_on, make_plan("min_comm_cost", {}, replace(request_for(hands_on), cost_model=mine))) == 15
    )


def test_rates_are_declared_on_either_side():
    infrastructure = Infrastructure.of(
        [replace(node("a", "local_aggregator"), rates={"b": Decimal(5)}), node("b", "client")]
    )
    assert infrastructure.rate("b", "a") == infrastructure.rate("a", "b") == 5
    assert infrastructure.rate("a", "c") is None
