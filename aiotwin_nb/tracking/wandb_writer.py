"""The process that owns the W&B client: obeys one JSON order a line on standard input, reports on standard output.

It is run as a file by `WandbTracker` and imports only the standard library and wandb. As it is a process of its own,
whatever W&B does (import for a second, hang, lose its service, hook exits, draw random numbers) cannot touch the
training, and it can be killed. When the orchestrator dies, standard input ends and the segment is closed properly.

Orders: `open`, then any number of `log` and `summary`, then `finish`. Every order is answered by `{"done": order}`.
Other reports: `{"service": pid}`, `{"url": ...}`, `{"warning": text}` (goes on) and `{"problem": text}` (ends).
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Iterable, Mapping
from typing import Any, TextIO

INIT_TIMEOUT_S = 10.0

# Checked against the installed wandb by tests/tracking/test_wandb_contract.py.
SETTINGS: dict[str, Any] = {
    "console": "off",
    "disable_code": True,
    "disable_git": True,
    "disable_job_creation": True,
    "host": "",
    "init_timeout": INIT_TIMEOUT_S,
    "quiet": True,
    "sagemaker_disable": True,
    "save_code": False,
    "silent": True,
    "symlink": False,
    "x_disable_machine_info": True,
    "x_disable_meta": True,
    "x_disable_stats": True,
    "x_disable_viewer": True,
    "x_save_requirements": False,
    "x_transaction_log_flush_interval": 0.2,  # the default of 15 s would hide a round from live readers
}


class Reports:
    """Lines to the tracker."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def send(self, **report: Any) -> None:
        """Write one report; a tracker that is gone does not matter."""
        with contextlib.suppress(OSError):
            print(json.dumps(report), file=self._stream, flush=True)


class Writer:
    """One segment of a W&B run."""

    def __init__(self, reports: Reports) -> None:
        self.reports = reports
        self.service: int | None = None
        self.run: Any = None
        self.step = 0

    def serve(self, lines: Iterable[str]) -> None:
        """Obey orders until `finish`, or until the orchestrator is gone."""
        for line in lines:
            ((order, argument),) = json.loads(line).items()
            getattr(self, f"do_{order}")(argument)
            self.reports.send(done=order)
            if order == "finish":
                return
        self.do_finish(1)

    def do_open(self, run: Mapping[str, Any]) -> None:
        """Start the service and open the segment; offline if the server cannot be reached."""
        try:
            self._open(run, run["mode"])
        except Exception as error:
            if run["mode"] == "offline":
                raise
            self.reports.send(warning=f"the W&B server did not take the run ({describe(error)}); recording offline")
            self._start_over()
            self._open(run, "offline")
        self.step = max(run["first_step"], self.run.step)
        self.reports.send(url=self.run.url)

    def do_log(self, row: Mapping[str, Any]) -> None:
        """Record one row. A step alone would hold every row back until the next one; `commit` lets it go."""
        self.run.log(row, step=self.step, commit=True)
        self.step += 1

    def do_summary(self, values: Mapping[str, Any]) -> None:
        """Record the summary."""
        self.run.summary.update(values)

    def do_finish(self, exit_code: int) -> None:
        """Close the segment and the service."""
        import wandb

        if self.run is not None:
            self.run.finish(exit_code=exit_code)
        wandb.teardown()

    def kill_service(self) -> None:
        """End wandb-core at once; it may be stuck."""
        if self.service:
            with contextlib.suppress(OSError):
                os.kill(self.service, signal.SIGKILL)
                os.waitpid(self.service, 0)

    def _open(self, run: Mapping[str, Any], mode: str) -> None:
        import wandb

        self.service = service_pid(wandb.setup(settings(mode)))
        self.reports.send(service=self.service)
        self.run = wandb.init(
            id=run["id"],
            name=run["id"],
            project=run["project"],
            dir=run["directory"],
            config=run["config"],
            allow_val_change=True,
            resume="allow" if mode == "online" else None,
            settings=settings(mode),
        )

    def _start_over(self) -> None:
        """Forget a run that could not be opened: its service would not take one with the same id."""
        import wandb

        self.kill_service()
        with contextlib.suppress(Exception, SystemExit):
            wandb.teardown()


def settings(mode: str) -> Any:
    """W&B's settings for a mode: records our rows and nothing about the machine, the code or the console."""
    import wandb

    return wandb.Settings(**{**SETTINGS, "mode": mode})


def service_pid(setup: Any) -> int:
    """The process id of the wandb-core that a `wandb.setup()` started."""
    pid: int = setup.ensure_service()._proc._process.pid
    return pid


def describe(error: BaseException) -> str:
    """One line that names an error."""
    return " ".join(f"{type(error).__name__} {error}".split())[:300]


def _take_streams() -> tuple[TextIO, TextIO]:
    """Keep standard input and output for ourselves: wandb-core would inherit them and hold the pipes open."""
    orders = os.fdopen(os.dup(0), "r", encoding="utf-8")
    reports = os.fdopen(os.dup(1), "w", encoding="utf-8")
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    return orders, reports


def main() -> None:
    """Serve one run."""
    orders, stream = _take_streams()
    writer = Writer(Reports(stream))
    try:
        writer.serve(orders)
    except BaseException as error:
        writer.reports.send(problem=describe(error))
        writer.kill_service()
        os._exit(1)  # wandb's exit hooks would wait for the service that failed


if __name__ == "__main__":
    main()
