"""What is remembered between commands: the cluster that is attached to, and what was created here. No secrets.

A file in the user's state folder ($XDG_STATE_HOME or ~/.local/state), readable by its owner only. Kubeconfigs of
created clusters lie beside it: they hold secrets and are never printed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from aiotwin_nb.cluster.connection import Connection
from aiotwin_nb.errors import InvalidInput
from aiotwin_nb.orchestration.files import write_atomic
from aiotwin_nb.orchestration.ports import ClusterPlace

FILE = "clusters.json"


class Records:
    """The file and what is in it."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or state_folder()

    @property
    def attached(self) -> ClusterPlace | None:
        """The cluster that is attached to: runs use it when none is named."""
        found = self._read().get("attached")
        return ClusterPlace(**found) if found else None

    def attach(self, attached: ClusterPlace | None) -> None:
        """Remember it, or forget it."""
        self._write({**self._read(), "attached": None if attached is None else asdict(attached)})

    def created(self, provider: str) -> dict[str, Any] | None:
        """What a provider created here, in its own words."""
        found = self._read().get("created", {}).get(provider)
        return None if found is None else dict(found)

    def create(self, provider: str, what: Mapping[str, Any] | None) -> None:
        """Remember what a provider created, or that it is gone."""
        known = self._read()
        created = {**known.get("created", {}), provider: what}
        self._write({**known, "created": {name: each for name, each in created.items() if each is not None}})

    def kubeconfig(self, provider: str) -> Path:
        """Where the kubeconfig of a cluster lies that a provider created."""
        return self.folder / f"{provider}.kubeconfig"

    def write_kubeconfig(self, provider: str, content: str) -> Path:
        """Keep a kubeconfig, readable by its owner only."""
        path = self.kubeconfig(provider)
        self._prepare()
        path.unlink(missing_ok=True)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:  # noqa: PTH123
            file.write(content)
        return path

    def _read(self) -> dict[str, Any]:
        path = self.folder / FILE
        try:
            return dict(json.loads(path.read_bytes()))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError):
            raise InvalidInput(f"{path}: is damaged; remove it, and attach to your cluster again") from None

    def _write(self, content: Mapping[str, Any]) -> None:
        self._prepare()
        try:
            write_atomic(self.folder / FILE, json.dumps(content, indent=1).encode())
        except OSError as error:
            raise InvalidInput(f"{self.folder}: cannot be written: {error.strerror}; see XDG_STATE_HOME") from None

    def _prepare(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise InvalidInput(f"{self.folder}: cannot be made: {error.strerror}; see XDG_STATE_HOME") from None


def state_folder() -> Path:
    """The folder for this user's state."""
    base = os.environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "aiotwin"


def open_connection(
    kubeconfig: str | Path | None = None,
    context: str | None = None,
    namespace: str | None = None,
    records: Records | None = None,
) -> Connection:
    """Connect to the cluster that is named, else to the one that is attached to, else as kubectl would."""
    attached = (records or Records()).attached
    if kubeconfig is None and attached is not None and Path(attached.kubeconfig).is_file():
        kubeconfig, context = attached.kubeconfig, context or attached.context
        namespace = namespace or attached.namespace
    return Connection.open(kubeconfig, context, namespace)
