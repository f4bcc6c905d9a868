"""Find the user's W&B key where `wandb login` puts it, without importing wandb and without ever asking."""

from __future__ import annotations

import netrc
import os
from configparser import ConfigParser
from configparser import Error as ConfigError
from pathlib import Path
from urllib.parse import urlsplit

DEFAULT_HOSTS = ("api.wandb.ai", "api.forge.coreweave.com")


def find_key() -> str | None:
    """The key in WANDB_API_KEY, else the one in the netrc file for the W&B host, else None."""
    return os.environ.get("WANDB_API_KEY") or _netrc_key()


def _netrc_key() -> str | None:
    try:
        entries = netrc.netrc(_netrc_path()).hosts
    except (OSError, UnicodeDecodeError, netrc.NetrcParseError):
        return None
    return next((entries[host][2] for host in _hosts() if host in entries and entries[host][2]), None)


def _netrc_path() -> Path:
    if configured := os.environ.get("NETRC"):
        return Path(configured).expanduser()
    return next((path for name in (".netrc", "_netrc") if (path := _home() / name).exists()), _home() / ".netrc")


def _hosts() -> tuple[str, ...]:
    """The host the user configured, else the public ones."""
    url = os.environ.get("WANDB_BASE_URL") or _base_url_in_settings()
    return (urlsplit(url).netloc,) if url else DEFAULT_HOSTS


def _base_url_in_settings() -> str | None:
    folder = Path(os.environ.get("WANDB_CONFIG_DIR") or _home() / ".config" / "wandb").expanduser()
    settings = ConfigParser(interpolation=None)
    try:
        settings.read(folder / "settings", encoding="utf-8")
    except (ConfigError, UnicodeDecodeError):
        return None
    return settings.get("default", "base_url", fallback=None)


def _home() -> Path:
    return Path("~").expanduser()
