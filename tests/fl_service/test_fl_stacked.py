"""The stacked pipeline against the one of Flower apps: the same draws, the same numbers up to rounding."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from fl_support import CLIENTS, FLAT, NODES, TWO_TIERS, model, spec, steady
from flwr.app import ConfigRecord, Message, MetricRecord, RecordDict

from fl_service import aggregation
from fl_service.errors import CheckpointError, TaskError
from fl_service.pipeline import Pipeline, RoundReport
from fl_service.records import to_arrays, to_record
from fl_service.spec import ClientNode, Plan, TrainingSpec
from fl_service.stacked import StackedPipeline, average, can_stack
from fl_service.tasks.image import ImageTask

UNEVEN = {
    "c1": ClientNode("c1", ((0, 30), (1, 25)), "shift", 0.4),
    "c2": ClientNode("c2", ((2, 3),), "random", 1.0),
    "c3": ClientNode("c3", ((4, 8), (5, 8))),
    "c4": ClientNode("c4", ((6, 20), (7, 1))),
}
THREE_EPOCHS = replace(TWO_TIERS, epochs=3)


def both(training: TrainingSpec, plan: Plan, clients: dict[str, ClientNode] = CLIENTS) -> tuple[Any, Any]:
    pipelines = Pipeline(training), StackedPipeline(training)
    for pipeline in pipelines:
        pipeline.start(list(clients.values()), NODES, plan)
    return pipelines


def assert_agree(a: RoundReport, b: RoundReport) -> None:
    assert abs(a.evaluation.accuracy - b.evaluation.accuracy) <= 1  # one of the 100 test images
    assert a.evaluation.loss == pytest.approx(b.evaluation.loss, rel=1e-4)
    assert a.evaluation.per_class.keys() == b.evaluation.per_class.keys()
    assert a.problems == b.problems
    assert len(a.clients) == len(b.clients)
    for one, other in zip(a.clients, b.clients, strict=True):
        exact = (one.client, one.aggregator, one.local_round, one.samples)
        assert exact == (other.client, other.aggregator, other.local_round, other.samples)
        assert one.train_loss == pytest.approx(other.train_loss, rel=1e-4)
        assert one.update_norm == pytest.approx(other.update_norm, rel=1e-4)
        assert other.seconds > 0


@pytest.mark.parametrize(
    ("changes", "plan", "clients"),
    [
        ({}, TWO_TIERS, CLIENTS),
        ({}, FLAT, CLIENTS),
        ({}, THREE_EPOCHS, UNEVEN),
        ({"seed": 5, "task": {"momentum": 0.0, "batch_size": 7}}, TWO_TIERS, UNEVEN),
        ({"task": {"batch_size": 500}}, THREE_EPOCHS, UNEVEN),
        ({"task": {"batch_size": 1}}, FLAT, UNEVEN),
        ({"task": {"partition": {"kind": "dirichlet", "alpha": 0.5, "partitions": 40}}}, TWO_TIERS, CLIENTS),
    ],
    ids=["two tiers", "flat", "uneven", "no momentum", "one batch", "batches of one", "slots"],
)
def test_it_agrees_with_the_pipeline_of_flower_apps(changes, plan, clients):
    apps, stacked = both(spec(**changes), plan, clients)
    for number in range(1, 6):
        assert_agree(apps.run_round(number), stacked.run_round(number))
    for key, array in model(apps).items():
        np.testing.assert_allclose(stacked._arrays()[key], array, rtol=1e-4, atol=1e-5)


def test_members_places_and_data_change_between_rounds():
    apps, stacked = both(spec(), TWO_TIERS)
    moved = Plan("ga", (("la2", ("c4", "c2")), ("la1", ("c1", "c5"))), epochs=2, local_rounds=1)
    clients = [*list(CLIENTS.values())[:3], ClientNode("c4", ((6, 33),)), ClientNode("c5", ((8, 10), (9, 9)))]
    for pipeline in (apps, stacked):
        pipeline.run_round(1)
        pipeline.apply(clients, [*NODES, "c5"], moved)
    for number in (2, 3):
        assert_agree(apps.run_round(number), stacked.run_round(number))


def test_reruns_are_bit_equal():
    first, second = (both(spec(), TWO_TIERS)[1] for _ in range(2))
    assert [steady(first.run_round(n)) for n in (1, 2)] == [steady(second.run_round(n)) for n in (1, 2)]


def test_average_is_flowers_to_the_bit():
    rng = np.random.default_rng(3)
    models, samples = rng.standard_normal((7, 1000)).astype(np.float32), [120, 7, 90, 33, 1, 64, 250]
    strategy = aggregation.build("FedAvg", {})
    replies = []
    for row, count in zip(models, samples, strict=True):
        content = RecordDict({"arrays": to_record({"w": row}), "metrics": MetricRecord({"num-examples": count})})
        request = Message(RecordDict({"config": ConfigRecord()}), 1, "train")
        replies.append(Message(content, reply_to=request))
    expected, _ = strategy.aggregate_train(1, replies)
    assert average(models, samples).tobytes() == to_arrays(expected)["w"].tobytes()


@pytest.mark.parametrize("plan", [TWO_TIERS, FLAT])
@pytest.mark.parametrize("broken", [("c1",), ("c1", "c2"), tuple(CLIENTS)])
def test_clients_that_diverge_are_left_out(monkeypatch, plan, broken):
    data = ImageTask.client_data

    def client_data(task, node):
        images, labels = data(task, node)
        return (images * float("inf") if node.name in broken else images), labels

    monkeypatch.setattr(ImageTask, "client_data", client_data)
    apps, stacked = both(spec(), plan)
    for number in (1, 2):
        one, other = apps.run_round(number), stacked.run_round(number)
        assert one.problems.keys() == other.problems.keys() >= set(broken)
        assert_agree(one, other)


def test_without_clients_the_model_is_unchanged():
    apps, stacked = both(spec(), TWO_TIERS)
    nobody = Plan("ga", (), epochs=1, local_rounds=1)
    for pipeline in (apps, stacked):
        pipeline.apply([], ["ga"], nobody)
    before = stacked._arrays()
    assert_agree(apps.run_round(1), stacked.run_round(1))
    assert all((before[key] == array).all() for key, array in stacked._arrays().items())


def test_a_restored_run_goes_on_bit_equal(tmp_path):
    slots = {"partition": {"kind": "iid", "partitions": 20}}
    _, whole = both(spec(task=slots), TWO_TIERS)
    whole.run_round(1)
    whole.save(tmp_path / "c.npz")
    resumed = StackedPipeline(spec(task=slots))
    assert resumed.restore(tmp_path / "c.npz", list(CLIENTS.values()), NODES, TWO_TIERS) == 1
    assert steady(resumed.run_round(2)) == steady(whole.run_round(2))
    with np.load(tmp_path / "c.npz", allow_pickle=False) as file:
        assert "header" in file.files


def test_checkpoints_are_the_pipelines(tmp_path):
    apps, stacked = both(spec(), TWO_TIERS)
    for source, other in ((apps, StackedPipeline(spec())), (stacked, Pipeline(spec()))):
        source.run_round(1)
        source.save(tmp_path / "c.npz")
        assert other.restore(tmp_path / "c.npz", list(CLIENTS.values()), NODES, TWO_TIERS) == 1
        assert_agree(source.run_round(2), other.run_round(2))
    with pytest.raises(CheckpointError, match="of a run with seed 1, not 2"):
        StackedPipeline(spec(seed=2)).restore(tmp_path / "c.npz", list(CLIENTS.values()), NODES, TWO_TIERS)


def test_the_model_size_is_known_before_the_start():
    assert StackedPipeline(spec()).model_bytes == 2410 * 4


def test_clients_are_checked():
    plan = Plan("ga", (("ga", ("c9",)),), epochs=1, local_rounds=1)
    pipeline = StackedPipeline(spec())
    with pytest.raises(TaskError, match=r"nodes\[c9\].data: label 12"):
        pipeline.start([ClientNode("c9", ((12, 3),))], ["ga", "c9"], plan)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"task": {"model": "cnn"}}, "task.model: 'cnn'"),
        ({"task": {"optimizer": "adam"}}, "task.optimizer: 'adam'"),
        ({"aggregation_global": ("FedAdam", {})}, "aggregation.global.name: 'FedAdam'"),
        ({"aggregation_local": ("FedProx", {"proximal_mu": 1})}, "aggregation.local.name: 'FedProx'"),
        ({"aggregation_local": ("FedAvg", {"x": 1})}, "aggregation.local.args: {'x': 1}"),
    ],
)
def test_what_cannot_stack_is_named(changes, words):
    assert words in (can_stack(spec(**changes)) or "")
    with pytest.raises(TaskError) as refused:
        StackedPipeline(spec(**changes))
    assert words in str(refused.value)


def test_a_task_of_ones_own_cannot_stack(tmp_path):
    (tmp_path / "task.py").write_text("")
    training = spec(task={"file": str(tmp_path / "task.py")})
    assert "task.file: 'task.py'" in (can_stack(training) or "")
    assert can_stack(spec()) is None
