"""Two tiers over the in-process grid."""

import numpy as np
import pytest
from fl_support import CLIENTS, FLAT, NODES, TWO_TIERS, assert_same, model, steady
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from fl_service.aggregation import SUPPORTED
from fl_service.grid import InProcessGrid
from fl_service.records import to_arrays
from fl_service.spec import ClientNode, Plan

THREES = Plan(
    "ga",
    (("la1", ("c1", "c2", "c3")), ("la2", ("c4", "c5", "c6")), ("la3", ("c7", "c8", "c9"))),
    epochs=1,
    local_rounds=1,
)
NINE = {f"c{i}": ClientNode(f"c{i}", ((i, 8), (i - 1, 8))) for i in range(1, 10)}
ARGUMENTS = {"FedProx": {"proximal_mu": 0.1}, "FedAvgM": {"server_momentum": 0.5}, "FedAdam": {"eta": 0.01}}


def adding_app(step=1.0, samples=10):
    """Return an ordinary Flower ClientApp that knows nothing of us: adds a number to all arrays."""
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        name = context.node_config["name"]
        delta = step(name) if callable(step) else step
        count = samples(name) if callable(samples) else samples
        arrays = {k: Array(a.numpy() + np.float32(delta)) for k, a in message.content["arrays"].items()}
        metrics = MetricRecord({"num-examples": count, "accuracy": 0.5})
        return Message(RecordDict({"arrays": ArrayRecord(arrays), "metrics": metrics}), reply_to=message)

    return app


def test_two_level_fedavg_is_the_hand_computed_weighted_average(make):
    delta = {"c1": 1.0, "c2": 2.0, "c3": 4.0, "c4": 8.0}
    count = {"c1": 10, "c2": 30, "c3": 5, "c4": 5}
    pipeline = make(app=adding_app(delta.get, count.get))
    before = model(pipeline)
    report = pipeline.run_round(1)
    # Two local rounds: each adds the cluster's weighted mean, 1.75 and 6; the clusters weigh 40 and 10.
    expected = 2 * (40 * 1.75 + 10 * 6.0) / 50
    for key, array in model(pipeline).items():
        np.testing.assert_allclose(array - before[key], expected, rtol=1e-5)
    assert [(c.client, c.aggregator, c.local_round, c.samples) for c in report.clients] == [
        ("c1", "la1", 1, 10), ("c2", "la1", 1, 30), ("c1", "la1", 2, 10), ("c2", "la1", 2, 30),
        ("c3", "la2", 1, 5), ("c4", "la2", 1, 5), ("c3", "la2", 2, 5), ("c4", "la2", 2, 5),
    ]  # fmt: skip
    size = sum(a.size for a in before.values())
    assert report.clients[1].update_norm == pytest.approx(2.0 * size**0.5, rel=1e-5)


def test_flat_is_plain_fedavg(make):
    count = {"c1": 10, "c2": 30, "c3": 5, "c4": 5}
    pipeline = make(FLAT, app=adding_app({"c1": 1.0, "c2": 2.0, "c3": 4.0, "c4": 8.0}.get, count.get))
    before = model(pipeline)
    report = pipeline.run_round(1)
    for key, array in model(pipeline).items():
        np.testing.assert_allclose(array - before[key], (10 + 60 + 20 + 40) / 50, rtol=1e-5)
    assert {c.aggregator for c in report.clients} == {"ga"}
    assert {c.local_round for c in report.clients} == {1}


def test_weights_do_not_grow_from_round_to_round(make):
    pipeline = make(app=adding_app({"c1": 1.0, "c2": 1.0, "c3": 0.0, "c4": 0.0}.get))
    steps = []
    for number in (1, 2, 3):
        before = model(pipeline)["1.bias"][0]
        pipeline.run_round(number)
        steps.append(model(pipeline)["1.bias"][0] - before)
    np.testing.assert_allclose(steps, 1.0, rtol=1e-5)


def test_clusters_of_one_client(make):
    plan = Plan("ga", (("la1", ("c1",)), ("la2", ("c2",))), 1, 1)
    pipeline = make(plan)
    report = pipeline.run_round(1)
    assert not report.problems
    assert len(report.clients) == 2


def test_a_round_without_clients_leaves_the_model(make):
    pipeline = make(Plan("ga", (), 1, 1))
    before = model(pipeline)
    assert "no client" in pipeline.run_round(1).problems["ga"]
    assert_same(before, model(pipeline))


@pytest.mark.parametrize("plan", [TWO_TIERS, FLAT], ids=["two tiers", "flat"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_diverged_client_is_left_out_and_named(make, plan, bad):
    good = {"c1": 1.0, "c2": bad, "c3": 1.0, "c4": 1.0}
    pipeline = make(plan, app=adding_app(good.get))
    before = model(pipeline)
    report = pipeline.run_round(1)
    assert set(report.problems) == {"c2"}
    assert "not finite" in report.problems["c2"]
    assert "c2" not in {c.client for c in report.clients}
    for key, array in model(pipeline).items():
        np.testing.assert_allclose(array - before[key], plan.local_rounds, rtol=1e-5)


def test_a_client_that_really_diverges(make):
    pipeline = make(task={"learning_rate": 1e30, "momentum": 0.0})
    before = model(pipeline)
    report = pipeline.run_round(1)
    assert set(report.problems) == {"c1", "c2", "c3", "c4", "la1", "la2", "ga"}
    assert "the model is unchanged" in report.problems["ga"]
    assert_same(before, model(pipeline))


def test_an_app_that_raises_is_left_out_and_named(make):
    app = ClientApp()
    inner = adding_app()

    @app.train()
    def train(message, context):
        if context.node_config["name"] == "c3":
            raise OSError("disk full")
        return inner(message, context)

    report = make(app=app).run_round(1)
    assert report.problems == {"c3": "local round 2: OSError: disk full"}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (RecordDict(), "exactly one ArrayRecord"),
        ({"arrays": {"x": np.zeros(1)}, "metrics": {"num-examples": 1}}, "other names or shapes"),
        ({"arrays": None, "metrics": {"n": 1}}, "num-examples"),
        ({"arrays": None, "metrics": {"num-examples": 0}}, "num-examples"),
        ({"arrays": None, "metrics": {"num-examples": 1, "train_loss": float("nan")}}, "loss is nan"),
    ],
)
def test_unusable_replies_are_left_out(make, content, told):
    app = ClientApp()

    @app.train()
    def train(message, context):
        if isinstance(content, RecordDict):
            return Message(content, reply_to=message)
        arrays = content["arrays"]
        record = message.content["arrays"] if arrays is None else ArrayRecord({k: Array(a) for k, a in arrays.items()})
        reply = RecordDict({"arrays": record, "metrics": MetricRecord(dict(content["metrics"]))})
        return Message(reply, reply_to=message)

    report = make(FLAT, app=app).run_round(1)
    assert all(told in report.problems[client] for client in CLIENTS)


def test_metrics_that_do_not_fit_together_are_the_aggregators_problem(make):
    app = ClientApp()

    @app.train()
    def train(message, context):
        own = {context.node_config["name"]: 1.0}
        metrics = MetricRecord({"num-examples": 1, **own})
        return Message(RecordDict({"arrays": message.content["arrays"], "metrics": metrics}), reply_to=message)

    problems = make(app=app).run_round(1).problems
    assert set(problems) == {"la1", "la2", "ga"}
    assert "FedAvg could not aggregate 2 updates: InconsistentMessageReplies" in problems["la1"]


def test_a_node_that_left_takes_its_state_with_it(make):
    app, seen = ClientApp(), {}
    inner = adding_app()

    @app.train()
    def train(message, context):
        name = context.node_config["name"]
        count = int(context.state.config_records["seen"]["n"]) + 1 if "seen" in context.state else 1
        context.state["seen"] = ConfigRecord({"n": count})
        seen[name] = count
        return inner(message, context)

    pipeline = make(FLAT, app=app)
    everybody, staying = list(CLIENTS.values()), [CLIENTS[n] for n in ("c1", "c2", "c3")]
    pipeline.run_round(1)
    pipeline.apply(everybody, NODES, TWO_TIERS)
    pipeline.run_round(2)
    assert set(seen.values()) == {3}
    pipeline.apply(staying, ["ga", "c1", "c2", "c3"], Plan("ga", (("ga", ("c1", "c2", "c3")),), 1, 1))
    pipeline.apply(everybody, NODES, FLAT)
    pipeline.run_round(3)
    assert seen == {"c1": 4, "c2": 4, "c3": 4, "c4": 1}


def test_a_member_that_does_not_reply_is_left_out_and_named(make, monkeypatch):
    """A grid over a network gives up on a node after a while: fewer replies than members."""
    complete = InProcessGrid.send_and_receive
    monkeypatch.setattr(InProcessGrid, "send_and_receive", lambda grid, messages: complete(grid, messages)[1:])
    report = make(FLAT).run_round(1)
    assert report.problems == {"c1": "it did not reply in time"}
    assert [c.client for c in report.clients] == ["c2", "c3", "c4"]


def test_a_missing_member_is_left_out_and_named(make):
    pipeline = make()
    pipeline._registry.keep_only(["ga", "la1", "la2", "c1", "c3", "c4"])
    assert set(pipeline.run_round(1).problems) == {"c2"}


@pytest.mark.parametrize("tier", ["global", pytest.param("local", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", SUPPORTED)
def test_every_strategy_runs_on_both_tiers_and_resumes_bit_equal(make, tmp_path, name, tier):
    chosen = {f"aggregation_{tier}": (name, ARGUMENTS.get(name, {}))}
    pipeline = make(THREES, NINE, **chosen)
    untrained = model(pipeline)
    assert not pipeline.run_round(1).problems
    pipeline.save(tmp_path / "round-1.npz")
    expected = steady(pipeline.run_round(2))
    assert any((untrained[key] != array).any() for key, array in model(pipeline).items())
    assert all(array.dtype == np.float32 for array in model(pipeline).values())

    resumed = make(THREES, NINE, **chosen)
    nodes = ["ga", "la1", "la2", "la3", *NINE]
    assert resumed.restore(tmp_path / "round-1.npz", list(NINE.values()), nodes, THREES) == 1
    assert steady(resumed.run_round(2)) == expected
    assert_same(model(resumed), model(pipeline))


def test_bulyan_with_too_few_updates_says_so(make):
    pipeline = make(aggregation_global=("Bulyan", {}))
    before = model(pipeline)
    assert "Bulyan needs at least 3 updates to aggregate, it got 2" in pipeline.run_round(1).problems["ga"]
    assert_same(before, model(pipeline))


@pytest.mark.filterwarnings("ignore:overflow")
def test_a_failed_aggregation_leaves_the_strategys_memory(make):
    pipeline = make(aggregation_global=("FedAvgM", {"server_learning_rate": 1e300, "server_momentum": 0.5}))
    before = model(pipeline)
    assert "not finite: it was not used" in pipeline.run_round(1).problems["ga"]
    state = pipeline._registry.states()["ga"]
    assert not state.array_records["strategy-arrays"]
    assert state.config_records["steps"]["count"] == 0
    assert_same(before, model(pipeline))


def test_local_momentum_starts_from_the_model_that_was_sent(make):
    """FedAvgM by itself would go on from its own last model; with learning rate 1 and momentum 0 it is FedAvg."""
    plain, momentum = make(), make(aggregation_local=("FedAvgM", {"server_momentum": 1e-12}))
    for number in (1, 2):
        plain.run_round(number)
        momentum.run_round(number)
    for key, array in model(plain).items():
        np.testing.assert_allclose(model(momentum)[key], array, atol=1e-5)


def test_proximal_term_of_the_global_tier_reaches_the_clients(make):
    norms = []
    for mu in (0.0001, 50.0):
        pipeline = make(aggregation_global=("FedProx", {"proximal_mu": mu}))
        norms.append(sum(c.update_norm for c in pipeline.run_round(1).clients))
    assert norms[1] < norms[0]


def test_a_bystander_changes_nothing_for_the_others(make):
    """A client that joins la2 leaves la1's reports as they are, to the bit, in the round of joining."""
    joined = {**CLIENTS, "c5": ClientNode("c5", ((8, 10), (9, 10)))}
    plan = Plan("ga", (("la1", ("c1", "c2")), ("la2", ("c3", "c4", "c5"))), 1, 2)
    alone, beside = make().run_round(1), make(plan, joined).run_round(1)
    same = {"la1"}
    assert [c[1:] for c in steady(alone)[2] if c[1] in same] == [c[1:] for c in steady(beside)[2] if c[1] in same]
    first = {c.client: c.train_loss for c in alone.clients if c.local_round == 1}
    assert {c.client: c.train_loss for c in beside.clients if c.local_round == 1 and c.client != "c5"} == first


def test_integer_arrays_keep_their_type(make):
    from fl_service.hierarchy import _as_type

    assert _as_type(np.asarray(2.6), np.dtype(np.int64)) == 3
    assert to_arrays(make().model)["1.weight"].dtype == np.float32
