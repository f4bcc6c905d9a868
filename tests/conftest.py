"""Shared by all tests: where material beside the project lives, and processes that must not reach out."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("WANDB_MODE", "offline")


def pytest_collection_modifyitems(config, items):
    """Tests against a real Kubernetes bring one up as root: only those who ask for them get them."""
    if "k3s" in config.option.markexpr:
        return
    for item in items:
        if item.get_closest_marker("k3s"):
            item.add_marker(pytest.mark.skip(reason="brings up a Kubernetes; ask for it with: make test-k3s"))


@pytest.fixture(scope="session")
def shared():
    """The folder beside the project with recorded runs and data; tests that need it skip where it is absent."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip(reason="needs the folder shared/ beside the project (recorded runs and Fashion-MNIST)")
    return folder
