from pathlib import Path

import pytest

from aiotwin_nb.tracking.credentials import find_key


def write_netrc(clean_user: Path, text: str) -> None:
    (clean_user / "home" / ".netrc").write_text(text)


def test_no_key():
    assert find_key() is None


def test_environment_comes_first(clean_user: Path, monkeypatch: pytest.MonkeyPatch):
    write_netrc(clean_user, "machine api.wandb.ai login user password from-netrc\n")
    assert find_key() == "from-netrc"
    monkeypatch.setenv("WANDB_API_KEY", "from-environment")
    assert find_key() == "from-environment"


def test_the_host_counts(clean_user: Path, monkeypatch: pytest.MonkeyPatch):
    write_netrc(clean_user, "machine wandb.example.org:8080 login user password own-server\n")
    assert find_key() is None
    monkeypatch.setenv("WANDB_BASE_URL", "http://wandb.example.org:8080")
    assert find_key() == "own-server"


def test_the_host_in_the_settings_file(clean_user: Path):
    write_netrc(clean_user, "machine wandb.example.org login user password own-server\n")
    folder = clean_user / "home" / ".config" / "wandb"
    folder.mkdir(parents=True)
    (folder / "settings").write_text("[default]\nbase_url = https://wandb.example.org\n")
    assert find_key() == "own-server"


def test_other_netrc_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "other").write_text("machine api.wandb.ai login user password other\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "other"))
    assert find_key() == "other"


@pytest.mark.parametrize("text", ["machine", "machine api.wandb.ai login user password\n", "\x00\n"])
def test_a_broken_netrc_is_no_key(clean_user: Path, text: str):
    write_netrc(clean_user, text)
    assert find_key() is None
