"""Shared by all tests: where material beside the project lives, and processes that must not reach out."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("WANDB_MODE", "offline")


@pytest.fixture(scope="session")
def shared():
    """The folder beside the project with recorded runs and data; tests that need it skip where it is absent."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip(reason="needs the folder shared/ beside the project (recorded runs and Fashion-MNIST)")
    return folder
