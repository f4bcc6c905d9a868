"""The strategies beyond min_comm_cost: optimal where they say so, feasible always, the same for every node order."""

from __future__ import annotations

import itertools
import math
import random
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiotwin_nb.continuum import Change, Infrastructure, exact
from aiotwin_nb.errors import InfeasiblePlan, InvalidInput
from aiotwin_nb.planning import Configuration, PlanReport, cost_model, make_plan, make_reported_plan, strategies
from aiotwin_nb.planning.balance import divergence, imbalance, label_counts
from aiotwin_nb.planning.comparison import Compared, Failed, compare_strategies
from aiotwin_nb.planning.strategies import wants_updates
from aiotwin_nb.planning.updates import pack, unpack
from aiotwin_nb.scenario import load_scenario

from .support import node, request_for

LA, CLIENT = "local_aggregator", "client"
NEW = ("min_comm_cost_open", "min_kld", "share", "shape", "cent_hier", "random", "select")
ARGS = {
    "cent_hier": {"budget_per_epoch": 10**6},
    "select": {"keep": 2},
    "manual": {"clusters": {"a2": []}, "default": "a2"},
}


def linked(costs, peers):
    return {peer: cost for peer, cost in zip(peers, costs, strict=True) if cost is not None}


@st.composite
def infrastructures(draw, gaps=False, most_clients=6):
    las = draw(st.sampled_from([("a2", "a10"), ("a2", "a10", "b1")]))
    clients = [f"c{i}" for i in draw(st.lists(st.integers(1, 12), min_size=1, max_size=most_clients, unique=True))]
    price = st.sampled_from([*([None] if gaps else []), "0.1", "0.3", "1", "2.25", "5"])
    nodes = [node("g", "global_aggregator"), *(node(la, LA, g=draw(st.sampled_from(["0.1", "1", "4"]))) for la in las)]
    for client in clients:
        data = draw(st.dictionaries(st.integers(0, 3), st.integers(1, 5), min_size=1, max_size=3))
        links = {**linked(draw(st.tuples(*[price] * len(las))), las), "g": "9"}
        nodes.append(replace(node(client, CLIENT, **links), data=data))
    return Infrastructure.of(nodes)


def assignments(infrastructure, balanced):
    clients, las = infrastructure.clients, infrastructure.local_aggregators
    for parents in itertools.product(las, repeat=len(clients)):
        sizes = [parents.count(la) for la in las]
        pairs = dict(zip(clients, parents, strict=True))
        if (not balanced or max(sizes) - min(sizes) <= 1) and all(infrastructure.link(*p) for p in pairs.items()):
            yield pairs


# --- feasibility and invariance ------------------------------------------------------------------------------------


def vectors(infrastructure):
    return {
        client: [float(infrastructure.nodes[client].data.get(label, 0)) for label in range(4)]
        for client in infrastructure.clients
    }


@settings(max_examples=60, deadline=None)
@given(infrastructures(gaps=True), st.sampled_from(NEW), st.randoms(use_true_random=False))
def test_feasible_and_the_same_for_every_node_order(infrastructure, name, draw):
    shuffled = list(infrastructure.nodes.values())
    draw.shuffle(shuffled)
    args = {**ARGS.get(name, {}), **({"updates": vectors(infrastructure)} if name == "shape" else {})}
    outcomes = []
    for nodes in (infrastructure.nodes.values(), shuffled):
        try:
            outcomes.append(make_reported_plan(name, args, request_for(Infrastructure.of(nodes))))
        except InfeasiblePlan as error:
            outcomes.append(str(error))
    assert outcomes[0] == outcomes[1]
    if isinstance(outcomes[0], str):
        assert name not in ("min_comm_cost_open",) or "no link" in outcomes[0]
    elif name not in ("min_comm_cost_open", "select"):
        sizes = [len(clients) for _, clients in outcomes[0].configuration.clusters]
        assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("name", NEW)
@pytest.mark.parametrize("gone", [("n2",), ("n2", "n3")])
def test_flat_with_at_most_one_local_aggregator(hands_on, name, gone):
    smaller = hands_on.apply(Change(removed=gone, data={c: {0: 10} for c in hands_on.clients}))
    plan = make_plan(name, {"keep": 9} if name == "select" else ARGS.get(name, {}), request_for(smaller))
    assert plan.is_flat
    assert (plan.epochs, plan.local_rounds) == ((1, 1) if name == "cent_hier" else (4, 1))


# --- optimality ----------------------------------------------------------------------------------------------------


@settings(max_examples=80, deadline=None)
@given(infrastructures(gaps=True), st.one_of(st.none(), st.integers(1, 4)), st.sampled_from([0, "0.5", 3]), st.data())
def test_open_equals_trying_everything(infrastructure, capacity, penalty, data):
    las = infrastructure.local_aggregators
    places = data.draw(st.none() | st.fixed_dictionaries({c: st.sampled_from(las) for c in infrastructure.clients[1:]}))
    current = Configuration.of_parents("g", places, epochs=1, local_rounds=1) if places else None
    request = request_for(infrastructure, current, size="0.7")

    def cost(parents):
        moves = sum((places or {}).get(c, la) != la for c, la in parents.items())
        return request.cost_model.round_cost(infrastructure, request.hierarchical(parents)) + exact(penalty) * moves

    fits = [p for p in assignments(infrastructure, False) if max(map(list(p.values()).count, las)) <= (capacity or 99)]
    args = {"capacity": capacity, "move_penalty": penalty}
    if not fits:
        with pytest.raises(InfeasiblePlan, match=r"capacit|no link"):
            make_plan("min_comm_cost_open", args, request)
        return
    plan = make_reported_plan("min_comm_cost_open", args, request)
    assert plan.report.optimal
    assert cost(plan.configuration.parents) == min(map(cost, fits))


@settings(max_examples=80, deadline=None)
@given(infrastructures(gaps=True), st.sampled_from([None, 0.0, 0.5, 3.0]))
def test_min_kld_and_share_equal_trying_everything(infrastructure, gamma):
    request = request_for(infrastructure)
    options = list(assignments(infrastructure, True))
    name, args = ("min_kld", {}) if gamma is None else ("share", {"gamma": gamma})
    if not options:
        with pytest.raises(InfeasiblePlan):
            make_plan(name, args, request)
        return

    def cost(parents):
        return float(request.cost_model.round_cost(infrastructure, request.hierarchical(parents)))

    least = min(map(cost, options))

    def value(parents):
        unevenness = imbalance(infrastructure, request.hierarchical(parents))
        return unevenness if gamma is None else cost(parents) / least + gamma * unevenness

    plan = make_reported_plan(name, args, request)
    best = min(map(value, options))
    if len(infrastructure.clients) > len(infrastructure.local_aggregators):
        assert plan.report.optimal
        assert plan.report.objective == pytest.approx(best, rel=1e-9, abs=1e-9)
        assert value(plan.configuration.parents) == pytest.approx(best, rel=1e-7, abs=1e-9)


@settings(max_examples=80, deadline=None)
@given(infrastructures(gaps=True), st.sampled_from([0.0, 0.5, 3.0, 50.0]), st.data())
def test_shape_equals_trying_everything(infrastructure, gamma, data):
    request, clients = request_for(infrastructure), infrastructure.clients
    number = st.sampled_from([-2.0, -1.0, 0.0, 0.5, 3.0])
    untrained = data.draw(st.sets(st.sampled_from(clients), max_size=2))
    updates = {c: data.draw(st.tuples(number, number, number)) for c in clients if c not in untrained}
    request = replace(request, updates=updates)
    options = list(assignments(infrastructure, True))
    if not options:
        with pytest.raises(InfeasiblePlan):
            make_plan("shape", {"gamma": gamma}, request)
        return

    def cost(parents):
        return float(request.cost_model.round_cost(infrastructure, request.hierarchical(parents)))

    def total(members):
        return [sum(updates[c][axis] for c in members if c in updates) for axis in range(3)]

    def cosine(a, b):
        lengths = math.dist(a, (0, 0, 0)) * math.dist(b, (0, 0, 0))
        return sum(x * y for x, y in zip(a, b, strict=True)) / lengths if lengths else 0.0

    least, whole, las = min(map(cost, options)), total(clients), infrastructure.local_aggregators

    def value(parents):
        unlike = [1 - cosine(total([c for c in clients if parents[c] == la]), whole) for la in las]
        return cost(parents) / least + gamma * sum(unlike) / len(las)

    plan = make_reported_plan("shape", {"gamma": gamma}, request)
    if len(clients) > len(las) and updates:
        best = min(map(value, options))
        assert plan.report.optimal
        assert plan.report.objective == pytest.approx(best, rel=1e-9, abs=1e-9)
        assert value(plan.configuration.parents) == pytest.approx(best, rel=1e-9, abs=1e-9)
    else:
        assert cost(plan.configuration.parents) == pytest.approx(least)


@pytest.mark.parametrize(("members", "las"), [(40, 6), (120, 8)])
def test_the_heuristics_bounds_hold_and_balance_beats_chance(members, las):
    draw = random.Random(members)
    nodes = [node("g", "global_aggregator"), *(node(f"a{i}", LA, g=10) for i in range(las))]
    for i in range(members):
        links = {f"a{k}": draw.randint(1, 100) for k in range(las)}
        nodes.append(replace(node(f"c{i}", CLIENT, **links), data=dict.fromkeys(draw.sample(range(10), 2), 10)))
    request = request_for(Infrastructure.of(nodes))
    best = make_reported_plan("min_kld", {}, request)
    assert (
        best.report.bound
        <= best.report.objective
        == pytest.approx(imbalance(request.infrastructure, best.configuration))
    )
    chance = min(imbalance(request.infrastructure, make_plan("random", {"seed": s}, request)) for s in range(20))
    assert best.report.objective < 0.5 * chance
    cheap = make_plan("min_comm_cost", {}, request)
    for gamma in (0, 1, 10):
        traded = make_reported_plan("share", {"gamma": gamma}, request)
        assert traded.report.bound <= traded.report.objective
        ratio = float(request.cost_model.round_cost(request.infrastructure, cheap))
        assert traded.report.objective <= 1 + gamma * imbalance(request.infrastructure, cheap) + 1e-9, ratio


@pytest.mark.parametrize("capacity", [None, 30])
def test_large_facility_location_has_a_true_bound(capacity, monkeypatch):
    from aiotwin_nb.planning import facility

    draw = random.Random(3)
    place = {i: (draw.random(), draw.random()) for i in [*(f"a{k}" for k in range(10)), *(f"c{k}" for k in range(200))]}

    def far(a, b):
        return round(100 * ((place[a][0] - place[b][0]) ** 2 + (place[a][1] - place[b][1]) ** 2) ** 0.5)

    las = [i for i in place if i[0] == "a"]
    infrastructure = Infrastructure.of(
        [
            node("g", "global_aggregator"),
            *(node(la, LA, g=400) for la in las),
            *(node(i, CLIENT, **{la: far(i, la) for la in las}) for i in place if i[0] == "c"),
        ]
    )
    exactly = make_reported_plan("min_comm_cost_open", {"capacity": capacity}, request_for(infrastructure)).report
    monkeypatch.setattr(facility, "MILP_PAIRS", 0)
    roughly = make_reported_plan("min_comm_cost_open", {"capacity": capacity}, request_for(infrastructure)).report
    assert exactly.optimal
    assert roughly.bound <= exactly.objective * (1 + 1e-9)
    assert exactly.objective * (1 - 1e-9) <= roughly.objective
    assert roughly.gap < (0.01 if capacity is None else 0.15)


# --- the original's rules --------------------------------------------------------------------------------------------


def test_kl_of_the_original():
    counts = label_counts(
        Infrastructure.of([replace(node("c1", CLIENT), data={0: 10}), replace(node("c2", CLIENT), data={1: 10})]),
        ["c1", "c2"],
    )
    both = counts.sum(axis=0)
    # 1 · ln(1 / 0.5) + 1e-4 · ln(1e-4 / 0.5)
    assert divergence(counts, both) == pytest.approx([0.6931471805599453 + 1e-4 * -8.517193191416238] * 2)


@pytest.mark.parametrize("budget", [10**6, 700, 400, 200, 150])
def test_cent_hier_takes_the_first_that_fits(hands_on, budget):
    infrastructure = hands_on.apply(Change(data={c: {0: 10} for c in hands_on.clients}))
    request = request_for(infrastructure)
    got = make_plan("cent_hier", {"budget_per_epoch": budget}, request)
    uplinks, below = 2 * 100 * exact("3.3"), request.cost_model.aggregation_cost(infrastructure, got) - 660
    tried = ((epochs, local_rounds) for local_rounds in range(1, 99) for epochs in range(1, 6))
    assert (got.epochs, got.local_rounds) == next((e, n) for e, n in tried if uplinks + n * below <= budget * e * n)
    with pytest.raises(InfeasiblePlan, match="give budget_per_epoch at least"):
        make_plan("cent_hier", {"budget_per_epoch": 1}, request)


def test_random_depends_on_its_seed_alone(hands_on):
    plans = {seed: make_plan("random", {"seed": seed}, request_for(hands_on)) for seed in range(12)}
    assert plans[3] == make_plan("random", {"seed": 3}, request_for(hands_on))
    assert len(set(plans.values())) > 3


def test_sticky_plans(hands_on):
    request = request_for(hands_on)
    swapped = Configuration.of("n1", {"n2": ["n4", "n5", "n7"], "n3": ["n6", "n8"]}, epochs=2, local_rounds=2)
    for name in ("min_comm_cost", "min_comm_cost_open"):
        assert make_plan(name, {}, replace(request, current=swapped)).parents == make_plan(name, {}, request).parents
        # moving n6 and n7 saves 2 · 2 · 3.3 · 40 a round; at more than half of that for each, nobody moves
        kept = make_plan(name, {"move_penalty": 265}, replace(request, current=swapped))
        assert kept.parents == swapped.parents


def test_select_keeps_the_useful(hands_on):
    data = {c: {0: 10 * (i + 1)} for i, c in enumerate(hands_on.clients)}
    request = request_for(hands_on.apply(Change(data=data)))
    plan = make_reported_plan("select", {"keep": 2}, request)
    assert plan.configuration.clients == ("n7", "n8")
    assert plan.left_out == ("n4", "n5", "n6")
    cheap = make_reported_plan("select", {"budget_per_round": 1100}, request)
    assert request.cost_model.round_cost(request.infrastructure, cheap.configuration) <= 1100
    assert cheap.configuration.clients == ("n6", "n7", "n8")
    with pytest.raises(InfeasiblePlan, match="raise budget_per_round"):
        make_plan("select", {"budget_per_round": 1}, request)
    with pytest.raises(InvalidInput, match="either keep"):
        make_plan("select", {}, request)


# --- what training shows ---------------------------------------------------------------------------------------------


def test_shape_begins_like_min_comm_cost_and_uses_the_updates_that_it_is_given(hands_on):
    request = replace(request_for(hands_on), updates={})
    cheapest = make_plan("min_comm_cost", {}, request)
    assert make_plan("shape", {"gamma": 100}, request) == cheapest
    alike = {"n4": [1, 0], "n5": [1, 0], "n6": [1, 0], "n7": [0, 1], "n8": [0, 1]}  # apart, clusters would see one side
    mixed = make_plan("shape", {"gamma": 100}, replace(request, updates=alike))
    for _, members in mixed.clusters:
        assert {tuple(alike[c]) for c in members} == {(1, 0), (0, 1)}
    assert make_plan("shape", {"gamma": 100, "updates": alike}, replace(request, updates=None)) == mixed
    with pytest.raises(InvalidInput, match="but n8 have none"):
        make_plan("shape", {"updates": {c: alike[c] for c in ("n4", "n5", "n6", "n7")}}, request)


def test_shape_places_a_newcomer_by_cost(hands_on, n9):
    joined = hands_on.apply(Change(added=(n9,)))
    updates = {c: [1.0, 0.0] for c in hands_on.clients}
    plan = make_plan("shape", {}, replace(request_for(joined), updates=updates))
    assert plan == make_plan("min_comm_cost", {}, request_for(joined))


def test_select_by_update_norms_begins_with_everybody_and_lets_newcomers_in(hands_on, n9):
    by_norm = {"keep": 2, "utility": "update_norm"}
    request = replace(request_for(hands_on), norms={})
    assert make_reported_plan("select", by_norm, request).left_out == ()
    assert make_plan("select", {"budget_per_round": 1, "utility": "update_norm"}, request).clients == hands_on.clients
    norms = {c: [float(i)] for i, c in enumerate(hands_on.clients)}
    assert make_plan("select", by_norm, replace(request, norms=norms)).clients == ("n7", "n8")
    joined = replace(request, infrastructure=hands_on.apply(Change(added=(n9,))), norms=norms)
    assert make_plan("select", by_norm, joined).clients == ("n8", "n9")
    given = {**by_norm, "norms": {c: [9.0 - i] for i, c in enumerate(hands_on.clients)}}
    assert make_plan("select", given, replace(request, norms=norms)).clients == ("n4", "n5")


@pytest.mark.parametrize(
    ("name", "args", "wanted"),
    [
        ("shape", {}, True),
        ("shape", {"updates": {"n4": [1]}}, False),
        ("select", {"base": "shape", "keep": 2}, True),
        ("select", {"base": "shape", "base_args": {"updates": {"n4": [1]}}}, False),
        ("select", {"keep": 2}, False),
        ("min_comm_cost", {}, False),
    ],
)
def test_updates_are_measured_for_those_who_use_them(name, args, wanted):
    assert wants_updates(name, args) is wanted


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40))
def test_packed_updates_lose_half_a_step_at_most(update):
    text = pack(update)
    largest = max(map(abs, update))
    assert unpack(text) == pytest.approx(update, rel=0, abs=largest / 127 / 2 * 1.001 + 1e-300)
    assert len(text) < 20 + 4 / 3 * (len(update) + 2)
    assert pack(unpack(text)) == text or largest < 1e-300


# --- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "args", "words"),
    [
        ("min_kld", {}, "needs the labels of every client, but n4, n5, n6, n7, n8 declare no data.*or use shape"),
        ("share", {}, "needs the labels"),
        ("share", {"gamma": -1}, "gamma: -1 is not allowed"),
        ("shape", {}, "needs the last-layer update of every client.*or use share"),
        ("cent_hier", {}, "needs the argument 'budget_per_epoch'"),
        ("cent_hier", {"budget_per_epoch": "much"}, "budget_per_epoch: 'much' is not allowed"),
        ("min_comm_cost", {"move_penalty": -1}, "move_penalty: -1 is not allowed"),
        ("min_comm_cost_open", {"capacity": "2"}, "capacity: '2' is not allowed"),
        ("min_comm_cost_open", {"capacity": {"n22": 3}}, "Did you mean 'n2'"),
        ("min_comm_cost_open", {"capacity": {"n2": -3}}, "capacity of n2: -3"),
        ("min_comm_cost_open", {"time_limit_s": 0}, "time_limit_s: 0"),
        ("random", {"seed": "x"}, "seed: 'x'"),
        ("select", {"keep": 1, "utility": "dataset_share"}, "needs the data of every client"),
        ("select", {"keep": 1, "utility": "update_norm"}, "needs the update norms"),
        ("select", {"keep": 1, "utility": "beauty"}, "unknown client utility"),
    ],
)
def test_named_mistakes(hands_on, name, args, words):
    if name == "share" and args:
        hands_on = hands_on.apply(Change(data={c: {0: 1} for c in hands_on.clients}))
    with pytest.raises(InvalidInput, match=words):
        make_plan(name, args, request_for(hands_on))


def test_infeasible_capacities_name_the_constraint(hands_on):
    request = request_for(hands_on)
    with pytest.raises(InfeasiblePlan, match="capacities add up to 4, but there are 5 clients"):
        make_plan("min_comm_cost_open", {"capacity": 2}, request)
    las = [node("g", "global_aggregator"), node("a1", LA, g=1), node("a2", LA, g=1)]
    one_sided = Infrastructure.of([*las, *(node(f"c{i}", CLIENT, a1=1) for i in range(3)), node("c9", CLIENT, a2=1)])
    with pytest.raises(
        InfeasiblePlan, match=r"c0, c1, c2 have links to a1 \(capacity 2\) only, which is room for 2 of 3"
    ):
        make_plan("min_comm_cost_open", {"capacity": 2}, request_for(one_sided))


def test_a_cost_model_that_is_no_sum_is_refused_by_name(hands_on):
    nodes = [
        replace(n, data={0: 10}, speed=Decimal(100), rates={peer: Decimal(10) for peer in n.links})
        for n in hands_on.nodes.values()
    ]
    wall = cost_model("wall_time", model_size_mb=1)
    request = replace(request_for(Infrastructure.of(nodes)), cost_model=wall)
    for name in ("min_comm_cost", "min_comm_cost_greedy", "min_comm_cost_open", "share"):
        with pytest.raises(InvalidInput, match="wall_time is a maximum over nodes; use the strategy min_kld, random"):
            make_plan(name, {}, request)
    for name in ("min_kld", "random", "flat"):
        assert wall.round_cost(request.infrastructure, make_plan(name, {}, request)) > 0


# --- comparison ------------------------------------------------------------------------------------------------------


def test_comparison_of_all_on_the_lab():
    scenario = load_scenario("cluster-24")
    request = replace(request_for(scenario.infrastructure))
    rows = {row.name: row for row in compare_strategies({name: {} for name in strategies.names()}, request)}
    failed = {name for name, row in rows.items() if isinstance(row, Failed)}
    assert failed >= {"shape", "manual", "cent_hier", "select"}
    assert isinstance(rows["share"], Compared)
    for name in ("min_comm_cost", "min_comm_cost_open", "min_kld"):
        assert rows[name].report.optimal, name
    assert rows["min_comm_cost_greedy"].report.gap > 0.01  # greedy's gap is shown
    assert rows["min_comm_cost_open"].round_cost <= rows["min_comm_cost"].round_cost
    assert rows["min_kld"].imbalance < rows["share"].imbalance < rows["min_comm_cost"].imbalance
    assert rows["min_comm_cost"].round_cost < rows["share"].round_cost < rows["min_kld"].round_cost
    assert rows["share"].pareto
    assert rows["min_kld"].pareto
    assert not rows["random"].pareto


def test_report_of_gap_and_optimum():
    assert PlanReport.exact(Decimal("3.3")).optimal
    assert PlanReport(100, 99).gap == pytest.approx(0.01)
    assert PlanReport(0, 0).gap == 0
    assert not PlanReport(1, 0.9).optimal
