import textwrap

import pytest
from fl_support import TWO_TIERS, assert_same, model, spec, steady

from fl_service.errors import TaskError
from fl_service.pipeline import Pipeline, check_training
from fl_service.spec import ClientNode
from fl_service.tasks import make_task

TUTORIAL = textwrap.dedent(
    """
    from collections import OrderedDict
    import torch
    from torch import nn
    from torch.utils.data import DataLoader, TensorDataset, random_split

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.Sequential(nn.Linear(2, 8), nn.Dropout(0.1), nn.ReLU(), nn.Linear(8, 2))
        def forward(self, x):
            return self.layers(x)

    def get_weights(net):
        return [value.cpu().numpy() for _, value in net.state_dict().items()]

    def set_weights(net, parameters):
        pairs = zip(net.state_dict().keys(), parameters)
        net.load_state_dict(OrderedDict({k: torch.tensor(v) for k, v in pairs}), strict=True)

    def load_data(partition_id: int, num_partitions: int, batch_size: int):
        generator = torch.Generator().manual_seed(partition_id)
        x = torch.randn(60, 2, generator=generator)
        data = TensorDataset(x, (x[:, 0] * x[:, 1] > 0).long())
        train, test = random_split(data, [48, 12])
        return DataLoader(train, batch_size=batch_size, shuffle=True), DataLoader(test, batch_size=batch_size)

    def train(net, trainloader, epochs, learning_rate, device):
        net.to(device)
        net.train()
        criterion = nn.CrossEntropyLoss()
        optimizer = torch.optim.SGD(net.parameters(), lr=learning_rate, momentum=0.9)
        running = 0.0
        for _ in range(epochs):
            for x, y in trainloader:
                optimizer.zero_grad()
                loss = criterion(net(x.to(device)), y.to(device))
                loss.backward()
                optimizer.step()
                running += loss.item()
        return running / len(trainloader)

    def test(net, testloader, device):
        net.eval()
        criterion = nn.CrossEntropyLoss()
        correct, loss = 0, 0.0
        with torch.no_grad():
            for x, y in testloader:
                out = net(x.to(device))
                loss += criterion(out, y.to(device)).item()
                correct += (out.argmax(1) == y).sum().item()
        return loss / len(testloader), correct / len(testloader.dataset)
    """
)
NODES = [ClientNode(f"c{i}") for i in range(1, 5)]
NAMES = ["ga", "la1", "la2", *(node.name for node in NODES)]


@pytest.fixture
def task_file(tmp_path):
    def write(text=TUTORIAL):
        (tmp_path / "task.py").write_text(text)
        return {"task": {"file": str(tmp_path / "task.py"), "learning_rate": 0.05}}

    return write


def run(settings, workers=0, rounds=2):
    pipeline = Pipeline(spec(**settings), workers)
    try:
        reports = [pipeline.start(NODES, NAMES, TWO_TIERS)]
        reports += [pipeline.run_round(n) for n in range(1, rounds + 1)]
        return [steady(r) for r in reports], model(pipeline)
    finally:
        pipeline.close()


def test_a_tutorial_task_learns_and_repeats_bit_equal_with_workers_too(task_file):
    settings = task_file()
    (reports, trained), (again, same), (others, shared) = run(settings), run(settings), run(settings, workers=2)
    assert reports == again == others
    assert_same(trained, same)
    assert_same(trained, shared)
    assert 1 < reports[-1][1].accuracy <= 100
    assert not reports[-1][3]
    assert {c[3] for c in reports[-1][2]} == {48}


def test_it_resumes_bit_equal(task_file, tmp_path):
    settings = task_file()
    reports, trained = run(settings, rounds=3)
    first = Pipeline(spec(**settings))
    first.start(NODES, NAMES, TWO_TIERS)
    first.run_round(1)
    first.save(tmp_path / "c.npz")
    second = Pipeline(spec(**settings))
    second.restore(tmp_path / "c.npz", NODES, NAMES, TWO_TIERS)
    assert [steady(second.run_round(n)) for n in (2, 3)] == reports[2:]
    assert_same(model(second), trained)


def test_short_signatures_are_enough(task_file):
    text = TUTORIAL.replace("epochs, learning_rate, device):", "epochs):\n    device, learning_rate = 'cpu', 0.1")
    text = text.replace("def test(net, testloader, device):", "def test(net, testloader):\n    device = 'cpu'")
    reports, _ = run(task_file(text), rounds=1)
    assert not reports[-1][3]


def test_own_test_data_take_the_place_of_the_partitions(task_file):
    text = TUTORIAL + textwrap.dedent(
        """
        def load_test_data(batch_size):
            x = torch.ones(7, 2)
            return DataLoader(TensorDataset(x, torch.ones(7).long()), batch_size=batch_size)
        """
    )
    task = make_task(spec(**task_file(text)), 4)
    assert task.evaluate(task.initial_arrays()).accuracy in (0.0, 100.0)


def test_everything_that_is_missing_is_named_with_its_signature(task_file):
    with pytest.raises(TaskError) as refused:
        make_task(spec(**task_file("def load_data(i):\n    pass\n\ndef train(net, loader):\n    pass\n")))
    for words in (
        "Net is missing",
        "get_weights(net)",
        "set_weights(net, parameters)",
        "load_data(i) does not fit",
        "test(",
    ):
        assert words in str(refused.value)
    assert "train is missing" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("x = 1\nimport no_such_package\n", "task.py:2: ModuleNotFoundError"),
        ("def f(:\n", "task.py:1: SyntaxError"),
        ("x = 1\n\ny = x / 0\n", "task.py:3: ZeroDivisionError"),
    ],
)
def test_import_errors_have_file_and_line(task_file, text, told):
    with pytest.raises(TaskError) as refused:
        check_training(spec(**task_file(text)), NODES)
    assert told in str(refused.value)


def test_an_error_while_training_is_the_clients_problem_with_file_and_line(task_file):
    text = TUTORIAL.replace("    net.to(device)\n", "    net.to(device)\n    raise OSError('no more memory')\n", 1)
    reports, _ = run(task_file(text), rounds=1)
    assert "OSError: no more memory" in reports[-1][3]["c1"]
    assert "task.py:" in reports[-1][3]["c1"]


def test_an_argument_that_nobody_knows_is_told(task_file):
    text = TUTORIAL.replace("epochs, learning_rate, device):", "epochs, learning_rate, device, magic):", 1)
    reports, _ = run(task_file(text), rounds=1)
    assert "train asks for magic" in reports[-1][3]["c1"]
