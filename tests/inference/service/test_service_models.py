import shutil
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from service_support import IMAGES, LABELS, accuracy, ask, eventually, serving, useless

from aiotwin_nb import api
from aiotwin_nb.errors import InvalidInput
from aiotwin_nb.inference.service import Address, Settings, open_source
from aiotwin_nb.inference.service.checkpoints import resolve
from aiotwin_nb.inference.service.models import build
from aiotwin_nb.scenario import load_scenario

TASK = """
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, {outputs})
    def forward(self, x):
        return self.layer(x)

def get_weights(net):
    return [value.numpy() for value in net.state_dict().values()]

def set_weights(net, parameters):
    net.load_state_dict({{k: torch.tensor(v) for k, v in zip(net.state_dict(), parameters)}})

def load_data(partition_id, num_partitions, batch_size):
    data = TensorDataset(torch.zeros(8, 3), torch.zeros(8).long())
    return DataLoader(data, batch_size), DataLoader(data, batch_size)

def train(net, trainloader, epochs, learning_rate, device):
    return 0.0

def test(net, testloader, device):
    return 0.0, 0.0
"""


def exchange(service, **body):
    status, answer, _ = ask(f"{service.admin_url}/model", body)
    return status, answer


def load(url, stop, images):
    """Answers to requests that follow each other until it is enough."""
    answers = []
    while not stop.is_set():
        answers.append(ask(f"{url}/predict", {"inputs": images}))
    return answers


def test_no_request_is_lost_when_the_model_is_exchanged_under_load(trained, altered):
    other, images = str(altered("useless.npz", useless)), IMAGES[:20].tolist()
    with serving(open_source(trained), admin=Address()) as service, ThreadPoolExecutor(4) as clients:
        first = service.model.id
        stop = threading.Event()
        loads = [clients.submit(load, service.url, stop, images) for _ in range(4)]
        for _ in range(10):
            assert exchange(service, checkpoint=other)[0] == 200
            assert exchange(service, model=first)[0] == 200
        stop.set()
        answers = [answer for each in loads for answer in each.result()]
    assert {status for status, _, _ in answers} == {200}
    by_model = {}
    for _, answer, _ in answers:
        scores = np.array([p["scores"] for p in answer["predictions"]])
        same = by_model.setdefault(answer["model"]["id"], scores)
        assert np.allclose(same, scores, atol=1e-5)  # an answer is never mixed of two models
    assert len(by_model) == 2


def test_what_does_not_fit_is_refused_and_the_old_model_stays(trained, altered, tmp_path):
    def misshapen(arrays):
        name = next(iter(arrays))
        return {**arrays, name: arrays[name][:-1]}

    torn = tmp_path / "torn.npz"
    torn.write_bytes(altered("whole.npz").read_bytes()[:5000])
    np.savez(tmp_path / "other.npz", a=np.ones(3))
    np.save(tmp_path / "array.npy", np.ones(3))
    refusals = {
        str(altered("shape.npz", misshapen)): "another architecture",
        str(altered("missing.npz", lambda arrays: dict(list(arrays.items())[1:]))): "it is missing",
        str(altered("nan.npz", lambda arrays: {k: a * np.nan for k, a in arrays.items()})): "not finite",
        str(altered("cnn.npz", fingerprint={"task": {"name": "digits", "model": "cnn"}})): "model 'mlp'",
        str(torn): "not a readable checkpoint",
        str(tmp_path / "other.npz"): "checkpoint",
        str(tmp_path / "array.npy"): "checkpoint",
        str(tmp_path / "nowhere.npz"): "is no run directory",
        str(tmp_path): "is no run directory",
    }
    with serving(open_source(trained), admin=Address()) as service:
        before = service.model
        for path, words in refusals.items():
            status, answer = exchange(service, checkpoint=path)
            assert status == 409, answer
            assert words in answer["error"]["message"]
            assert "stays as it is" in answer["error"]["message"]
        assert exchange(service, model="nobody-r1-00000000")[0] == 409
        for wrong in ({}, {"checkpoint": 3}, {"checkpoint": "a", "model": "b"}, {"chekpoint": "a"}, {"model": "a", "round": 1}, {"checkpoint": "a", "round": "1"}, {"checkpoint": ""}, {"checkpoint": "a\0"}):  # fmt: skip
            assert exchange(service, **wrong)[0] == 400
        assert service.model is before
        text = ask(f"{service.url}/metrics")[1]
        assert f'model_swaps_total{{result="refused",service="{service.name}"}} {len(refusals)}.0' in text


def test_the_administrator_is_asked_for_a_token_where_there_is_one(trained):
    with serving(open_source(trained), admin=Address("0.0.0.0", 0), token="secret") as service:
        url = f"http://127.0.0.1:{service._admin.port}/model"
        assert ask(url)[0] == 401
        assert ask(url, headers={"Authorization": "Bearer secre"})[0] == 401
        status, answer, _ = ask(url, headers={"Authorization": "Bearer secret"})
        assert (status, answer["model"]["round"]) == (200, 6)


def test_a_followed_run_gives_its_newer_models(trained, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    kept = {path.name: path.read_bytes() for path in (run / "checkpoints").iterdir()}
    for path in (run / "checkpoints").iterdir():
        path.unlink()

    def put(name, content):
        (run / "checkpoints" / ".new").write_bytes(content)
        (run / "checkpoints" / ".new").rename(run / "checkpoints" / name)

    with serving(open_source(run, follow=True), follow=True, admin=Address()) as service:
        status, answer, headers = ask(f"{service.url}/ready")
        assert (status, answer["status"], headers["Retry-After"]) == (503, "loading", "1")
        assert ask(f"{service.url}/predict", {"inputs": IMAGES[:1].tolist()})[0] == 503
        put("round-000005.npz", kept["round-000005.npz"])
        eventually(lambda: ask(f"{service.url}/ready")[0] == 200)
        assert service.model.round == 5
        put("round-000006.npz", kept["round-000006.npz"][:100])
        put("round-000006.npz", kept["round-000006.npz"])
        eventually(lambda: service.model.round == 6)
        assert exchange(service, checkpoint=str(run))[0] == 409


def test_the_newest_intact_checkpoint_is_served_unless_a_round_is_named(trained, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    assert open_source(run).learned.round == 6
    assert open_source(run, round_number=5).learned.round == 5
    file = run / "checkpoints" / "round-000006.npz"
    file.write_bytes(file.read_bytes()[:-100])
    assert open_source(run).learned.round == 5
    with pytest.raises(InvalidInput, match="it has rounds: 5, 6"):
        open_source(run, round_number=4)
    for path in (run / "checkpoints").iterdir():
        path.unlink()
    with pytest.raises(InvalidInput, match="no checkpoint yet"):
        open_source(run)


def test_a_bare_checkpoint_says_itself_what_it_is(altered, trained):
    path = altered("bare.npz")
    source = open_source(path)
    assert (source.name, source.kind.task) == ("bare", {"name": "digits", "model": "mlp"})
    scores = build(source.kind, source.learned).classifier.scores(IMAGES[:50].astype(np.float32))
    whole = build(source.kind, resolve(trained)).classifier.scores(IMAGES[:50].astype(np.float32))
    assert np.array_equal(scores, whole)
    assert (scores.argmax(1) == LABELS[:50]).mean() > 0.5
    for options in ({"round_number": 6}, {"follow": True}):
        with pytest.raises(InvalidInput, match="one checkpoint"):
            open_source(path, **options)


@pytest.fixture
def own(tmp_path, altered):
    """A checkpoint of a task.py of one's own, and that file's path."""

    def write(outputs=2, extra="", rows=2):
        file = tmp_path / "mine.py"
        file.write_text(TASK.format(outputs=outputs) + extra)
        weights = {"0": np.array([[1, 0, 0], [0, 1, 0]][:rows], np.float32), "1": np.zeros(rows, np.float32)}
        return altered("own.npz", lambda _: weights, fingerprint={"task": {"file": "mine.py"}}), file

    return write


def test_a_task_of_ones_own_is_served_where_its_file_is_named(own):
    checkpoint, file = own()
    with pytest.raises(InvalidInput, match="--task FILE"):
        open_source(checkpoint)
    with serving(open_source(checkpoint, task=file)) as service:
        _, answer, _ = ask(f"{service.url}/predict", {"inputs": [[-3, 7.5, 0], [2, 1, 0]]})
        assert [p["label"] for p in answer["predictions"]] == [1, 0]
        assert answer["predictions"][0]["scores"] == [-3, 7.5]
        assert ask(f"{service.url}/predict", {"inputs": [[1, 2]]})[0] == 400


def test_a_run_of_a_task_of_ones_own_is_served_and_its_file_may_have_moved(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(TASK.format(outputs=2))
    nodes = "\n".join(f"  - {{id: c{i}, role: client, links: {{ga: 10}}, partition: [{i}, 2]}}" for i in range(2))
    (tmp_path / "own.yaml").write_text(
        f"name: own\ntask: {{file: mine.py}}\nnodes:\n  - {{id: ga, role: global_aggregator}}\n{nodes}\n"
        "strategy: {name: flat}\ntraining: {max_rounds: 1}\nobjective: {budget: 100000}\n"
    )
    api.execute(load_scenario(tmp_path / "own.yaml"), tmp_path / "run", tracking="off")
    assert open_source(tmp_path / "run").kind.form.shape == (3,)
    moved = tmp_path / "elsewhere" / "mine.py"
    moved.parent.mkdir()
    file.rename(moved)
    with pytest.raises(InvalidInput, match="--task FILE"):
        open_source(tmp_path / "run")
    source = open_source(tmp_path / "run", task=moved)
    assert build(source.kind, source.learned).round == 1


def test_a_damaged_newer_checkpoint_of_a_followed_run_changes_nothing(trained, tmp_path, caplog):
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    with serving(open_source(run, follow=True), Settings(follow=0.01), follow=True) as service:
        for path in (run / "checkpoints").iterdir():
            path.unlink()
        (run / "checkpoints" / "round-000007.npz").write_bytes(b"torn")
        eventually(lambda: "the model stays as it is" in caplog.text)
        assert ask(f"{service.url}/predict", {"inputs": IMAGES[:1].tolist()})[1]["model"]["round"] == 6


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"outputs": 3}, "another architecture"),
        ({"outputs": 1, "rows": 1}, "class scores"),
        ({"extra": "INPUT_SHAPE = (0, 3)"}, "INPUT_SHAPE"),
        ({"extra": "INPUT_SHAPE = (4,)"}, "mine.py"),
        ({"extra": "def load_data(a, b, c):\n    raise OSError('no disk')"}, "no disk"),
        ({"extra": "del Net"}, "Net is missing"),
        ({"extra": "1 / 0"}, "division by zero"),
    ],
)
def test_what_is_wrong_with_a_task_of_ones_own_is_told(own, options, words):
    checkpoint, file = own(**options)

    def serve():
        source = open_source(checkpoint, task=file)
        build(source.kind, source.learned)

    with pytest.raises(InvalidInput, match=words):
        serve()


def test_input_shape_saves_looking_at_the_data(own):
    checkpoint, file = own(extra="INPUT_SHAPE = (3,)\ndef load_data(a, b, c):\n    raise OSError('no disk')")
    assert open_source(checkpoint, task=file).kind.form.shape == (3,)


def test_a_share_of_the_load_is_right_with_the_trained_model_only(trained, altered):
    for path, least, most in ((trained, 0.5, 1.0), (altered("useless.npz", useless), 0.0, 0.2)):
        with serving(open_source(path)) as service:
            answer = ask(f"{service.url}/predict", {"inputs": IMAGES[:60].tolist()})[1]
            assert least <= accuracy(answer, LABELS[:60]) <= most
