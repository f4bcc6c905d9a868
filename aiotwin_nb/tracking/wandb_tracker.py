"""Trackers: W&B in a process of its own, or nothing."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from aiotwin_nb.errors import InvalidInput, did_you_mean
from aiotwin_nb.orchestration.ports import Tracker
from aiotwin_nb.tracking.credentials import find_key
from aiotwin_nb.tracking.wandb_log import WandbLogSource

logger = logging.getLogger(__name__)

MODES = ("auto", "offline", "online", "off")
_WRITER = Path(__file__).with_name("wandb_writer.py")
# The rest of the user's WANDB_* (run ids, modes, a running service) belongs to other runs.
_KEPT_OFFLINE = ("WANDB_ENTITY", "WANDB_NOTES", "WANDB_RUN_GROUP", "WANDB_TAGS")
_KEPT_ONLINE = (*_KEPT_OFFLINE, "WANDB_APP_URL", "WANDB_BASE_URL", "WANDB_CONFIG_DIR", "WANDB_INSECURE_DISABLE_SSL")


def make_tracker(mode: str | None = None, project: str = "aiotwin") -> NullTracker | WandbTracker:
    """Return the tracker for a mode: auto, offline, online or off; by default what AIOTWIN_TRACKING says, else auto.

    `auto` is online when a W&B key is configured, else offline; WANDB_MODE=offline makes it offline and
    WANDB_MODE=disabled off. Without a key `online` becomes offline, with a warning: nothing ever asks for one.
    """
    mode = mode or os.environ.get("AIOTWIN_TRACKING") or "auto"
    if mode not in MODES:
        raise InvalidInput(f"unknown tracking mode {mode!r}; known are {', '.join(MODES)}.{did_you_mean(mode, MODES)}")
    if mode == "auto":
        mode = _automatic_mode()
    return NullTracker() if mode == "off" else WandbTracker(mode, project)


def _automatic_mode() -> str:
    wish = os.environ.get("WANDB_MODE", "").lower()
    if wish == "disabled":
        return "off"
    return "online" if find_key() and wish not in ("offline", "dryrun") else "offline"


class NullTracker(Tracker):
    """W&B is off: the journal alone keeps the metrics."""

    mode = "off"
    problem: str | None = None

    def start(self, run_id: str, directory: Path, config: Mapping[str, Any]) -> None:
        """Do nothing."""

    def log(self, row: Mapping[str, Any]) -> None:
        """Do nothing."""

    def summary(self, values: Mapping[str, Any]) -> None:
        """Do nothing."""

    def finish(self, exit_code: int = 0) -> None:
        """Do nothing."""


class WandbTracker(Tracker):
    """Writes one segment of a W&B run through a writer process; see `wandb_writer`.

    No call waits for W&B except `finish`, and that at most `time_limit` seconds. When W&B is absent, fails or does not
    answer within `time_limit`, one warning is logged, `problem` holds its text, and the rest is dropped.
    """

    def __init__(self, mode: str = "offline", project: str = "aiotwin", *, time_limit: float = 30.0) -> None:
        self.project = project
        self.time_limit = time_limit
        self.problem: str | None = None
        self.url: str | None = None
        self._key = find_key()
        self.mode = mode
        self._writer: subprocess.Popen[str] | None = None
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        self._service: int | None = None
        self._open = False
        self._orders: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._unanswered: deque[float] = deque()
        self._threads: list[threading.Thread] = []

    def start(self, run_id: str, directory: Path, config: Mapping[str, Any]) -> None:
        """Start the writer and order it to open this process's segment; returns at once."""
        if self._writer is not None:
            return
        if self.mode == "online" and not self._key:
            self.mode = "offline"
            self._warn("W&B online needs a key and none is configured; recording offline (`wandb login` stores a key)")
        directory = Path(directory).absolute()
        try:
            (directory / "wandb").mkdir(parents=True, exist_ok=True)
            # A killed client leaves its temporary folders. Short, as it is part of the path of a socket.
            self._scratch = tempfile.TemporaryDirectory(prefix="w-", ignore_cleanup_errors=True)
            self._writer = self._launch(directory, self._scratch.name)
        except OSError as error:
            self._warn(f"the W&B writer could not be started ({error}); the run goes on without W&B")
            return
        self._open = True
        self._threads = [self._thread(self._feed, self._writer.stdin), self._thread(self._listen, self._writer.stdout)]
        self._order(
            "open",
            {
                "id": run_id,
                "project": self.project,
                "directory": str(directory),
                "mode": self.mode,
                "config": dict(config),
                "first_step": _rows_so_far(directory),
            },
        )

    def log(self, row: Mapping[str, Any]) -> None:
        """Record one flat row; it has the key `round`."""
        self._order("log", dict(row))

    def summary(self, values: Mapping[str, Any]) -> None:
        """Record the run's summary."""
        self._order("summary", dict(values))

    def finish(self, exit_code: int = 0) -> None:
        """Close the segment and wait for the writer's end, at most `time_limit` seconds; safe to call twice."""
        writer, self._writer = self._writer, None
        if writer is None:
            return
        self._order("finish", exit_code)
        self._orders.put(None)
        try:
            writer.wait(self.time_limit)
        except subprocess.TimeoutExpired:
            self._give_up(f"W&B did not finish in {self.time_limit:g} s; `wandb sync` sends what was recorded", writer)
        for thread in self._threads:
            thread.join(1.0)
        self._open = False
        if self._scratch:
            self._scratch.cleanup()

    def _launch(self, directory: Path, scratch: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-P", str(_WRITER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            encoding="utf-8",
            cwd=directory,
            env={**self._environment(directory / "wandb"), "TMPDIR": scratch},
            start_new_session=True,  # Ctrl-C is for the orchestrator, which then finishes the run
        )

    def _environment(self, folder: Path) -> dict[str, str]:
        """The writer's environment: nothing is contacted offline, nothing is written outside the run directory."""
        kept = _KEPT_ONLINE if self.mode == "online" else _KEPT_OFFLINE
        environment = {k: v for k, v in os.environ.items() if not k.startswith("WANDB_") or k in kept}
        environment |= {
            "WANDB_ERROR_REPORTING": "false",
            "WANDB_DIR": str(folder.parent),
            "WANDB_CACHE_DIR": str(folder / "cache"),
            "WANDB_DATA_DIR": str(folder / "cache"),
            "WANDB_ARTIFACT_DIR": str(folder / "cache"),
        }
        if self.mode == "online" and self._key:
            environment["WANDB_API_KEY"] = self._key
        else:
            environment |= {"WANDB_CONFIG_DIR": str(folder / "cache"), "NETRC": os.devnull}
        return environment

    def _order(self, name: str, argument: Any) -> None:
        """Queue an order for the writer, unless W&B is broken."""
        if not self._open:
            return
        if self._overdue():
            self._give_up(f"W&B did not answer for {self.time_limit:g} s; the run goes on without it", self._writer)
            return
        try:
            line = self._scrub(json.dumps({name: argument}, default=_plain))
        except (TypeError, ValueError) as error:
            self._warn(f"a row could not be written to W&B ({error})")
            return
        self._unanswered.append(time.monotonic())
        self._orders.put(line)

    def _overdue(self) -> bool:
        try:
            return time.monotonic() - self._unanswered[0] > self.time_limit
        except IndexError:  # nothing is unanswered
            return False

    def _scrub(self, text: str) -> str:
        return text.replace(json.dumps(self._key)[1:-1], "[secret]") if self._key else text

    def _feed(self, pipe: IO[str]) -> None:
        """Thread: pass orders on, so that a full pipe blocks nobody."""
        with contextlib.suppress(OSError, ValueError), pipe:
            while (line := self._orders.get()) is not None:
                pipe.write(line + "\n")
                pipe.flush()

    def _listen(self, pipe: IO[str]) -> None:
        """Thread: take the writer's reports until it ends."""
        finished = False
        with contextlib.suppress(OSError, ValueError), pipe:
            for line in pipe:
                report = json.loads(line)
                finished |= report.get("done") == "finish"
                self._take(report)
        self._open = False
        if not finished:
            self._warn("the W&B writer ended unexpectedly; the run goes on without W&B")

    def _take(self, report: Mapping[str, Any]) -> None:
        if "done" in report:
            self._unanswered.popleft()
        elif "service" in report:
            self._service = report["service"]
        elif "url" in report:
            self.url = report["url"]
        elif "warning" in report:
            self._warn(report["warning"])
        elif "problem" in report:
            self._warn(f"W&B failed ({report['problem']}); the run goes on without it")

    def _warn(self, message: str) -> None:
        """Keep and log the first problem; what follows from it would only be noise."""
        if self.problem is None:
            self.problem = self._scrub(message)
            logger.warning(self.problem)

    def _give_up(self, message: str, writer: subprocess.Popen[str] | None) -> None:
        self._open = False
        self._warn(message)
        if writer is None:
            return
        if self._service and writer.poll() is None:
            # The writer, its parent, lives and has not reaped it: so the number is still its own.
            with contextlib.suppress(OSError, subprocess.TimeoutExpired):
                os.kill(self._service, signal.SIGKILL)
                writer.wait(1.0)  # it notices, reaps and ends
        writer.kill()
        writer.wait()

    @staticmethod
    def _thread(target: Any, pipe: IO[str] | None) -> threading.Thread:
        thread = threading.Thread(target=target, args=(pipe,), name="aiotwin-wandb", daemon=True)
        thread.start()
        return thread


def _rows_so_far(directory: Path) -> int:
    """The number of rows in earlier segments: W&B's steps go on there, so that all segments sync into one history."""
    try:
        return len(WandbLogSource(directory).poll())
    except Exception:  # a tracker never raises; the reader of the run says what is wrong with them
        return 0


def _plain(value: Any) -> Any:
    """JSON for numpy scalars and the like; anything else by its text."""
    return value.item() if hasattr(value, "item") else str(value)
