"""Every test runs as a user without W&B settings, in an empty home and an empty working directory."""

import os
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def clean_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of the user: `home` and `cwd`, next to the run directories."""
    for name in os.environ:
        if name.startswith(("WANDB_", "AIOTWIN_", "XDG_")) or name in ("NETRC", "PYTHONPATH"):
            monkeypatch.delenv(name)
    user = tmp_path / "user"
    for folder in ("home", "cwd"):
        (user / folder).mkdir(parents=True)
    monkeypatch.setenv("HOME", str(user / "home"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.chdir(user / "cwd")
    return user


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    return tmp_path / "runs" / "hands-on-1"
