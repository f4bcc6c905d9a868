import os
from pathlib import Path

import numpy as np
import pytest
import torch
from fl_support import CLIENTS, spec
from torch import nn

from fl_service.errors import TaskError
from fl_service.spec import TaskSettings
from fl_service.tasks import FitConfig, datasets, make_task, models
from fl_service.tasks.flat import FlatNetwork, optimizer
from fl_service.tasks.image import ImageTask

SHARED = Path(__file__).parents[3] / "shared" / "data"
CONFIG = FitConfig(epochs=2, learning_rate=0.05, batch_size=8, round=1)


def test_digits_split_is_fixed_and_normalised():
    data = datasets.load("digits")
    assert (len(data.train_labels), len(data.test_labels), data.shape) == (1297, 500, (1, 8, 8))
    inputs = data.normalised(data.train_images)
    assert inputs.dtype == np.float32
    assert abs(float(inputs.mean())) < 0.01
    assert abs(float(inputs.std()) - 1) < 0.01


def test_digits_are_scikit_learns():
    from sklearn.datasets import load_digits

    images, labels = datasets._read_digits()
    assert (images == load_digits().data).all()
    assert (labels == load_digits().target).all()


def test_missing_data_says_where_it_was_looked_for_and_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setenv("AIOTWIN_DATA", str(tmp_path))
    monkeypatch.delenv("AIOTWIN_DOWNLOAD", raising=False)
    for name in ("fashion_mnist", "cifar10"):
        with pytest.raises(TaskError) as missing:
            datasets.load(name)
        for words in (str(tmp_path), "AIOTWIN_DOWNLOAD=1", "AIOTWIN_DATA"):
            assert words in str(missing.value)
    assert not list(tmp_path.iterdir())


def test_damaged_data_is_not_called_missing(tmp_path, monkeypatch):
    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for name in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        (raw / f"{name}-ubyte").write_bytes(b"\x00" * 100)
    monkeypatch.setenv("AIOTWIN_DATA", str(tmp_path))
    with pytest.raises(TaskError, match="cannot be read from"):
        datasets.load("fashion_mnist")


@pytest.mark.skipif(not SHARED.is_dir(), reason="Fashion-MNIST is not on this machine")
def test_fashion_mnist(monkeypatch):
    monkeypatch.setenv("AIOTWIN_DATA", str(SHARED))
    task = ImageTask(TaskSettings.of({"name": "fashion_mnist", "test_samples": 50}), 1)
    result = task.fit(task.initial_arrays(), CLIENTS["c1"], CONFIG)
    assert result.samples == 20
    assert sum(a.size for a in result.arrays.values()) == 50890
    assert 0 <= task.evaluate(result.arrays).accuracy <= 100
    datasets._from_torchvision.cache_clear()


@pytest.mark.parametrize(
    ("task", "told"),
    [
        ({"name": "digit"}, ["task.name", "'digit'", "Did you mean 'digits'?"]),
        ({"model": "mpl"}, ["task.model", "Did you mean 'mlp'?"]),
        ({"modell": "mlp"}, ["'modell'", "Did you mean 'model'?"]),
        ({"optimizer": "sdg"}, ["task.optimizer", "Did you mean 'sgd'?"]),
        ({"batch_size": 0}, ["task.batch_size", "0", "from 1 up"]),
        ({"learning_rate": "fast"}, ["task.learning_rate", "'fast'"]),
        ({"momentum": 1}, ["task.momentum"]),
        ({"test_samples": 501}, ["task.test_samples", "501", "1–500"]),
        ({"partition": {"kind": "idd"}}, ["task.partition.kind", "Did you mean 'iid'?"]),
        ({"partition": {"kind": "iid", "alpha": 1}}, ["task.partition (iid)", "'alpha'"]),
        ({"partition": {"kind": "dirichlet", "alpha": 0}}, ["task.partition.alpha"]),
        ({"file": "no-such/task.py"}, ["task.file", "no-such/task.py"]),
    ],
)
def test_wrong_settings_are_refused_by_field(task, told):
    with pytest.raises(TaskError) as refused:
        make_task(spec(task=task))
    for words in told:
        assert words in str(refused.value)


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 32, 32)])
@pytest.mark.parametrize("name", models.NAMES)
def test_models_fit_every_shape(name, shape):
    scores = models.build(name, shape, 10)(torch.zeros(4, *shape))
    assert scores.shape == (4, 10)


def test_sizes_of_the_models():
    def size(name, shape):
        return sum(p.numel() for p in models.build(name, shape, 10).parameters())

    assert size("cnn62k", (3, 32, 32)) == 62006
    assert size("mlp", (1, 8, 8)) == 64 * 32 + 32 + 330
    assert size("mlp", (1, 28, 28)) == 784 * 64 + 64 + 650
    with pytest.raises(TaskError, match="up to 32×32"):
        models.build("cnn62k", (3, 64, 64), 10)


@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_flat_optimisers_are_those_of_torch(name):
    torch.manual_seed(3)
    ours = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 2))
    theirs = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 2))
    theirs.load_state_dict(ours.state_dict())
    network = FlatNetwork(ours)
    updates = optimizer(name, network.weights, 0.05, 0.9)
    kinds = {"sgd": lambda p: torch.optim.SGD(p, 0.05, 0.9), "adam": lambda p: torch.optim.Adam(p, 0.05)}
    reference = kinds[name](theirs.parameters())
    inputs = torch.randn(8, 5)
    for _ in range(20):
        gradient = network.backward(ours(inputs).square().sum())
        with torch.no_grad():
            updates.step(gradient)
        reference.zero_grad()
        theirs(inputs).square().sum().backward()
        reference.step()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_buffers_that_are_not_floats_travel_with_the_model():
    network = FlatNetwork(nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3)))
    network.module(torch.randn(4, 3))
    arrays = network.arrays()
    assert arrays["1.num_batches_tracked"] == 1
    other = FlatNetwork(nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3)))
    other.load(arrays)
    for key, array in other.arrays().items():
        assert (array == arrays[key]).all()


def test_fit_is_a_function_of_its_arguments():
    task = make_task(spec())
    start = task.initial_arrays()
    first = task.fit(start, CLIENTS["c1"], CONFIG)
    task.fit(start, CLIENTS["c2"], CONFIG)
    again = task.fit(start, CLIENTS["c1"], CONFIG)
    other_round = task.fit(start, CLIENTS["c1"], FitConfig(2, 0.05, 8, round=2))
    assert first.train_loss == again.train_loss != other_round.train_loss
    for key in start:
        assert (first.arrays[key] == again.arrays[key]).all()
        assert (start[key] == task.initial_arrays()[key]).all()


@pytest.mark.parametrize("choice", [{"optimizer": "adam"}, {"optimizer": "sgd"}, {"proximal_mu": 0.1}])
@pytest.mark.parametrize("model", models.NAMES)
def test_training_learns(choice, model):
    task = make_task(spec(task={"model": model}))
    arrays = task.initial_arrays()
    rate = 0.005 if choice.get("optimizer") == "adam" else 0.02
    losses = []
    for number in range(3):
        result = task.fit(arrays, CLIENTS["c1"], FitConfig(3, rate, 8, round=number, **choice))
        arrays = result.arrays
        losses.append(result.train_loss)
    assert losses[-1] < losses[0]


def test_a_strong_proximal_term_holds_the_weights():
    task = make_task(spec())
    start = task.initial_arrays()

    def moved(mu):
        after = task.fit(start, CLIENTS["c1"], FitConfig(3, 0.01, 8, 0.0, proximal_mu=mu)).arrays
        return sum(float(np.square(after[k] - start[k]).sum()) for k in start)

    assert moved(20.0) < 0.5 * moved(0.0)


def test_initial_weights_come_from_the_seed_and_leave_torchs_generator_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    one = make_task(spec(seed=1)).initial_arrays()
    assert torch.equal(torch.rand(3), expected)
    assert (one["1.weight"] == make_task(spec(seed=1)).initial_arrays()["1.weight"]).all()
    assert (one["1.weight"] != make_task(spec(seed=2)).initial_arrays()["1.weight"]).any()


def test_evaluation_uses_the_fixed_test_images_only():
    whole = make_task(spec(task={"test_samples": None})).evaluate(make_task(spec()).initial_arrays())
    assert set(whole.per_class) == set(range(10))
    task = make_task(spec())
    used = task._test_tensors[0]
    data = datasets.load("digits")
    tests = {row.tobytes() for row in data.normalised(data.test_images)}
    assert len(used) == 100
    assert all(image.numpy().tobytes() in tests for image in used)
    assert (used == make_task(spec(seed=9))._test_tensors[0]).all()


def test_tasks_run_on_one_thread():
    make_task(spec())
    assert torch.get_num_threads() == 1


def test_broken_torchvision_is_mended_only_when_it_is_broken():
    from fl_service.tasks.torchvision_compat import torchvision_datasets

    assert hasattr(torchvision_datasets(), "FashionMNIST")
    assert torchvision_datasets() is torchvision_datasets()
    assert os.environ.get("AIOTWIN_DOWNLOAD") != "1"
