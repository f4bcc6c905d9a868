import json

import numpy as np
import pytest
from fl_support import CLIENTS, NODES, TWO_TIERS, assert_same, model, spec, steady
from flwr.app import ArrayRecord, ConfigRecord, MetricRecord, RecordDict

from fl_service import checkpoint
from fl_service.errors import CheckpointError
from fl_service.pipeline import Pipeline


def example() -> checkpoint.Checkpoint:
    state = RecordDict(
        {
            "arrays": ArrayRecord([np.arange(3), np.zeros((2, 0), np.float32)]),
            "config": ConfigRecord(
                {"a": 1, "b": [1.5, float("inf")], "c": b"\x00\xff", "d": True, "e": ["x"], "f": [b"y"]}
            ),
            "metrics": MetricRecord({"m": 0.1, "n": [1, 2]}),
            "empty": ArrayRecord(),
        }
    )
    return checkpoint.Checkpoint(7, ArrayRecord([np.float32([1, np.nan])]), {"n 4/ü": state}, {"n4": 1}, {"seed": 3})


def test_everything_comes_back(tmp_path):
    checkpoint.save(example(), tmp_path / "c.npz")
    assert checkpoint.load(tmp_path / "c.npz") == example()


def test_two_saves_are_the_same_bytes(tmp_path):
    for name in "ab":
        checkpoint.save(example(), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("keep", [0, 10, 400, -1])
def test_a_torn_file_is_refused(tmp_path, keep):
    file = tmp_path / "c.npz"
    checkpoint.save(example(), file)
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match="readable"):
        checkpoint.load(file)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="readable"):
        checkpoint.load(tmp_path / "none.npz")


def test_other_contents_and_pickles_are_refused(tmp_path):
    file = tmp_path / "c.npz"
    np.savez(file, header=np.array([{"evil": 1}], dtype=object))
    with pytest.raises(CheckpointError, match="readable"):
        checkpoint.load(file)
    checkpoint.save(example(), file)
    with np.load(file) as old:
        blobs = {name: old[name] for name in old.files}
    header = json.loads(blobs["header"].tobytes())
    header["round"] = 8
    blobs["header"] = np.frombuffer(json.dumps(header).encode(), np.uint8)
    np.savez(file, **blobs)
    with pytest.raises(CheckpointError, match="digest"):
        checkpoint.load(file)


def test_a_resumed_run_is_bit_equal(make, tmp_path):
    whole = make()
    reports = [steady(whole.run_round(n)) for n in (1, 2)]
    whole.save(tmp_path / "c.npz")
    reports += [steady(whole.run_round(n)) for n in (3, 4)]
    resumed = Pipeline(spec())
    resumed.restore(tmp_path / "c.npz", list(CLIENTS.values()), NODES, TWO_TIERS)
    assert [steady(resumed.run_round(n)) for n in (3, 4)] == reports[2:]
    assert_same(model(whole), model(resumed))


@pytest.mark.parametrize("other", [{"seed": 2}, {"task": {"model": "cnn"}}, {"aggregation_local": ("FedAdam", {})}])
def test_a_checkpoint_of_another_run_is_refused(make, tmp_path, other):
    make().save(tmp_path / "c.npz")
    with pytest.raises(CheckpointError, match="is of a run with"):
        Pipeline(spec(**other)).restore(tmp_path / "c.npz", list(CLIENTS.values()), NODES, TWO_TIERS)
