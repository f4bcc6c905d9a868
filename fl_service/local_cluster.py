"""All roles of a run as processes on this machine, with an authority of their own: for tests and for finding faults."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fl_service.remote import RemotePipeline
from fl_service.spec import TrainingSpec


class LocalCluster:
    """Processes `python -m fl_service ROLE --config …` on loopback; configuration, certificates and logs in a folder.

    `command`: what starts a process, before the role's name.
    """

    def __init__(
        self,
        spec: TrainingSpec,
        folder: Path,
        *,
        global_aggregator: str,
        local_aggregators: Sequence[str] = (),
        command: Sequence[str] = (),
        **options: Any,
    ) -> None:
        raise NotImplementedError

    def add_client(self, name: str, parent: str) -> None:
        """Start a client that joins an aggregator."""

    def pipeline(self, **options: Any) -> RemotePipeline:
        """Return a pipeline to the cluster's global aggregator."""
        raise NotImplementedError

    def kill(self, name: str, number: int = signal.SIGKILL) -> None:
        """Send a process a signal."""

    def restart(self, name: str) -> None:
        """Start a process again that has ended, as Kubernetes would."""

    def close(self) -> None:
        """End all processes; safe to call twice."""
