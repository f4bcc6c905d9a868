from __future__ import annotations

from pathlib import Path

import pytest

from aiotwin_nb.continuum import Infrastructure, Node

from .support import hands_on_nodes, node

SHARED = Path(__file__).resolve().parents[2].parent / "shared"


@pytest.fixture
def reference() -> Path:
    """Folder of the recorded runs of the original; it lies beside the checkout, not in it."""
    folder = SHARED / "reference"
    if not folder.is_dir():
        pytest.skip(reason=f"needs the reference files in {folder}")
    return folder


@pytest.fixture
def hands_on() -> Infrastructure:
    return Infrastructure.of(hands_on_nodes())


@pytest.fixture
def n9() -> Node:
    return node("n9", "client", n1=150, n2=120, n3=100)
