"""A short real run, trained and tracked, for tests that look at runs; and the user's settings kept away from it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from aiotwin_nb import api
from aiotwin_nb.scenario import Scenario, load_scenario
from aiotwin_nb.widgets.session import Session


def short_scenario() -> Scenario:
    """A join after round 4, decided after round 7, and some rounds more."""
    scenario = load_scenario("improvement", overrides={"validation.window": 3})
    events = [event.model_copy(update={"after_round": 4}) for event in scenario.events]
    training = scenario.training.model_copy(update={"max_rounds": 11})
    return scenario.model_copy(update={"events": events, "training": training})


@pytest.fixture(scope="session")
def original_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run; not to be changed."""
    path = tmp_path_factory.mktemp("runs") / "short"
    api.execute(short_scenario(), path, runtime="stacked", tracking="offline")
    return path


@pytest.fixture
def tracked_run(original_run: Path, tmp_path: Path) -> Path:
    """A copy of a finished run, to be damaged."""
    return Path(shutil.copytree(original_run, tmp_path / "runs" / "short"))


@pytest.fixture
def session():
    """A lab's model without a run."""
    session = Session("improvement")
    yield session
    session.close()
