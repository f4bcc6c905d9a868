from dataclasses import replace

import pytest
from service_support import serving

from aiotwin_nb import api
from aiotwin_nb.inference.service import Address, open_source
from aiotwin_nb.scenario import load_scenario
from fl_service import checkpoint
from fl_service.records import to_arrays, to_record


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A run directory with a model that was really trained, for a few rounds."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    overrides = {"events": [], "training.max_rounds": 6, "task.learning_rate": 0.02}
    api.execute(load_scenario("improvement", overrides=overrides), folder, tracking="off")
    return folder


@pytest.fixture(scope="session")
def newest(trained):
    return trained / "checkpoints" / "round-000006.npz"


@pytest.fixture
def altered(newest, tmp_path):
    """Writes a copy of the checkpoint whose arrays were changed."""

    def write(name, change=lambda arrays: arrays, **facts):
        saved = checkpoint.load(newest)
        arrays = change(to_arrays(saved.model))
        path = tmp_path / name
        fingerprint = {**saved.fingerprint, **facts.pop("fingerprint", {})}
        checkpoint.save(replace(saved, model=to_record(arrays), fingerprint=fingerprint, **facts), path)
        return path

    return write


@pytest.fixture(scope="session")
def service(trained):
    with serving(open_source(trained), admin=Address(), name="digits") as running:
        yield running
