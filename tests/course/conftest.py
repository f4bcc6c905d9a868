"""Shared by the tests of the course."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working folder, where predictions and results are noted."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AIOTWIN_TRACKING", "off")
    return tmp_path
