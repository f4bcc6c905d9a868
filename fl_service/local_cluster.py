"""All roles of a run as processes on this machine, with an authority of their own: for tests and for finding faults."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fl_service.certificates import EVALUATOR, ORCHESTRATOR, Authority, Credentials
from fl_service.errors import ConfigError
from fl_service.remote import RemotePipeline
from fl_service.roles import CLIENT, GLOBAL_AGGREGATOR, LOCAL_AGGREGATOR
from fl_service.roles import EVALUATOR as EVALUATOR_ROLE
from fl_service.roles.config import RoleConfig, spec_for
from fl_service.roles.process import STARTER
from fl_service.spec import Plan, TrainingSpec
from fl_service.transport.link import Address
from fl_service.transport.liveness import Timings

_END_SECONDS = 3.0


class LocalCluster:
    """Processes `python -m fl_service ROLE --config …` on loopback; configuration, certificates and logs in a folder.

    `plan`: all that it names is started. `command`: what starts a process, before the role's name.
    Use it as a context manager, or call `close`.
    """

    def __init__(
        self,
        spec: TrainingSpec,
        plan: Plan,
        folder: Path,
        *,
        timings: Timings | None = None,
        client_app: tuple[Path, str] | None = None,
        command: Sequence[str] = (sys.executable, "-m", "fl_service"),
        max_message_mb: int = 1024,
    ) -> None:
        self.folder, self.timings = Path(folder), timings or Timings()
        self.authority = Authority(self.folder.name)
        self._spec, self._command, self._limit = spec, tuple(command), max_message_mb
        self._root, self._client_app = plan.global_aggregator, client_app
        self._ports: dict[str, int] = {}
        self._roles: dict[str, str] = {}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._pipelines: list[RemotePipeline] = []
        self.add_aggregator(self._root)
        self._start(EVALUATOR, EVALUATOR_ROLE, parent=self._root)
        for aggregator, clients in plan.clusters:
            if aggregator != self._root:
                self.add_aggregator(aggregator)
            for client in clients:
                self.add_client(client, aggregator)

    def __enter__(self) -> LocalCluster:
        """Return the cluster."""
        return self

    def __exit__(self, *_: object) -> None:
        """End all processes."""
        self.close()

    # --- members ----------------------------------------------------------------------------------------------------

    def add_aggregator(self, name: str) -> None:
        """Start an aggregator: the global one, or a local one that joins it."""
        self._ports[name] = _free_port()
        listen = f"127.0.0.1:{self._ports[name]}"
        if name == self._root:
            self._start(name, GLOBAL_AGGREGATOR, listen=listen)
        else:
            self._start(name, LOCAL_AGGREGATOR, listen=listen, parent=self._root)

    def add_client(self, name: str, parent: str) -> None:
        """Start a client that joins an aggregator."""
        self._start(name, CLIENT, parent=parent, refuge=self._root)

    def address_of(self, name: str) -> str:
        """Return where an aggregator listens."""
        return f"127.0.0.1:{self._ports[name]}"

    def pipeline(self, **options: Any) -> RemotePipeline:
        """Return a pipeline to the cluster's global aggregator; it is closed with the cluster."""
        given: dict[str, Any] = {
            "address_of": self.address_of,
            "timings": self.timings,
            "max_message_mb": self._limit,
            **options,
        }
        address = given.pop("address", self.address_of(self._root))
        credentials = self.authority.issue(ORCHESTRATOR)
        pipeline = RemotePipeline(address, credentials, self._spec, global_aggregator=self._root, **given)
        self._pipelines.append(pipeline)
        return pipeline

    # --- processes --------------------------------------------------------------------------------------------------

    def pid(self, name: str) -> int:
        """Return the id of a node's process."""
        return self._processes[name].pid

    def log(self, name: str) -> str:
        """Return what a node's processes have written."""
        return (self.folder / f"{name}.log").read_text()

    def ready(self, name: str) -> bool:
        """Return whether a node shows that it can work."""
        return (self.folder / f"{name}.ready").exists()

    def kill(self, name: str, number: int = signal.SIGKILL) -> None:
        """Send a process a signal."""
        os.kill(self.pid(name), number)

    def wait(self, name: str, seconds: float = 10.0) -> int:
        """Wait for a process to end; returns its exit code."""
        return self._processes[name].wait(seconds)

    def restart(self, name: str) -> None:
        """Start a process again that has ended, as Kubernetes would."""
        self.wait(name)
        self._launch(name)

    def close(self) -> None:
        """End all processes; safe to call twice."""
        for pipeline in self._pipelines:
            pipeline.close()
        running = [process for process in self._processes.values() if process.poll() is None]
        for process in running:
            process.send_signal(signal.SIGCONT)
            process.terminate()
        deadline = time.monotonic() + _END_SECONDS
        for process in running:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    # --- inside -----------------------------------------------------------------------------------------------------

    def _start(
        self, name: str, role: str, *, parent: str | None = None, refuge: str | None = None, listen: str | None = None
    ) -> None:
        if name in self._processes and self._processes[name].poll() is None:
            raise ConfigError(f"{name}: runs already")
        self._roles[name] = role
        task = self._spec.task.get("file")
        if task is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(task, self.folder / "task.py")
        config = RoleConfig(
            name,
            spec_for(role, self._spec, "task.py" if task is not None else None),
            Path(f"{name}.certificates"),
            listen=listen,
            parent=None if parent is None else Address(parent, self.address_of(parent)),
            refuge=None if refuge is None else Address(refuge, self.address_of(refuge)),
            ready_file=Path(f"{name}.ready"),
            client_app=self._own_app(role),
            max_message_mb=self._limit,
            timings=self.timings,
        )
        self.credentials(name).write(self.folder / config.certificates)
        (self.folder / f"{name}.json").write_text(config.to_json())
        self._launch(name)

    def credentials(self, name: str) -> Credentials:
        """Return new credentials for a name, by this run's authority."""
        return self.authority.issue(name)

    def _own_app(self, role: str) -> dict[str, str] | None:
        if role != CLIENT or self._client_app is None:
            return None
        file, attribute = self._client_app
        return {"file": str(Path(file).resolve()), "attribute": attribute}

    def _launch(self, name: str) -> None:
        (self.folder / f"{name}.ready").unlink(missing_ok=True)
        root = str(Path(__file__).resolve().parents[1])
        path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
        command = [*self._command, self._roles[name], "--config", str(self.folder / f"{name}.json")]
        with (self.folder / f"{name}.log").open("ab") as log:
            environment = {**os.environ, "PYTHONPATH": path, STARTER: str(os.getpid())}
            self._processes[name] = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment
            )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
