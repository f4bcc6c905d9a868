"""The fixture that makes small pipelines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fl_support import CLIENTS, TWO_TIERS, spec

from fl_service.pipeline import Pipeline
from fl_service.spec import Plan

Make = Callable[..., Pipeline]


@pytest.fixture
def make() -> Iterator[Make]:
    """Return a function that makes a started pipeline and closes it after the test."""
    made: list[Pipeline] = []

    def start(
        plan: Plan = TWO_TIERS, clients: Any = None, workers: int = 0, app: Any = None, **changes: Any
    ) -> Pipeline:
        made.append(Pipeline(spec(**changes), workers, app))
        clients = list((clients or CLIENTS).values())
        made[-1].start(clients, ["ga", "la1", "la2", *[c.name for c in clients]], plan)
        return made[-1]

    yield start
    for pipeline in made:
        pipeline.close()
