"""A run directory: the only place where a run's state lives.

::

    scenario.yaml    resolved scenario        inbox/        commands for the running run
    journal.jsonl    what happened            checkpoints/  global model of the last finished rounds
    lock, state.json the owning process       wandb/        the W&B run        summary.json  written at the end
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import socket
import time
import uuid
from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import yaml

from aiotwin_nb.errors import InvalidInput, RunLocked, did_you_mean
from aiotwin_nb.orchestration.events import Event
from aiotwin_nb.orchestration.files import is_locked, replace_durably, write_atomic
from aiotwin_nb.orchestration.journal import disk_failure, read_journal, utc_now
from aiotwin_nb.orchestration.state import Rules, RunState, fold
from aiotwin_nb.scenario import Scenario, load_scenario

KEPT_CHECKPOINTS = 2


class RunDirectory:
    """Paths, files and the lock of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: int | None = None

    scenario_file = property(lambda self: self.path / "scenario.yaml")
    journal_file = property(lambda self: self.path / "journal.jsonl")
    inbox = property(lambda self: self.path / "inbox")
    checkpoints = property(lambda self: self.path / "checkpoints")
    summary_file = property(lambda self: self.path / "summary.json")
    state_file = property(lambda self: self.path / "state.json")

    @classmethod
    def create(cls, path: Path, scenario: Scenario, notes: Mapping[str, Any] | None = None) -> RunDirectory:
        """Make a new run directory, owned by this process; raises InvalidInput unless it is new or empty.

        `notes`: facts settled now that the scenario leaves open (the size of an `auto` model).
        """
        check_new(path)
        run = cls(path)
        try:
            path.mkdir(parents=True, exist_ok=True)
            run.own()
            for folder in (run.inbox, run.checkpoints):
                folder.mkdir()
            if notes:
                write_atomic(path / "notes.json", json.dumps(notes).encode())
            write_atomic(run.scenario_file, scenario_yaml(scenario).encode())
        except OSError as error:
            run.release()
            raise InvalidInput(f"{path}: cannot be made: {error.strerror}; choose another folder with --out") from error
        return run

    @classmethod
    def open(cls, reference: str | Path) -> RunDirectory:
        """Find a run by its directory or by its name under ./runs."""
        for path in (Path(reference), Path("runs") / reference):
            if (path / "scenario.yaml").is_file():
                return cls(path)
        names = sorted(p.parent.name for p in Path("runs").glob("*/scenario.yaml"))
        known = f"runs here are {', '.join(names[-5:])}" if names else "there are no runs under ./runs"
        raise InvalidInput(f"{reference}: is no run directory; {known}.{did_you_mean(str(reference), names)}")

    @property
    def run_id(self) -> str:
        """The run's id: the directory's name."""
        return self.path.resolve().name

    @property
    def tracking_id(self) -> str:
        """The run's id at W&B, where runs of many people may share one project: only this run has it."""
        return str(self.notes().get("tracking_id") or self.run_id)

    def own(self, patience: float = 0.5) -> None:
        """Take the directory for this process until it ends; raises RunLocked naming the process that has it.

        `patience`: seconds to try, because somebody who only looks (`is_owned`) holds the lock for an instant too.
        """
        if self._lock is not None:
            return
        descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        if not _locked(descriptor, patience):
            os.close(descriptor)
            owner = self.owner()
            who = f"process {owner.get('pid')} on {owner.get('host')}" if owner else "another process"
            raise RunLocked(
                f"{self.path}: {who} is running it; watch it with: aiotwin watch {self.path}, "
                f"or stop it first with: aiotwin stop {self.path}"
            )
        self._lock = descriptor
        owner = {"pid": os.getpid(), "host": socket.gethostname(), "started": utc_now()}
        write_atomic(self.state_file, json.dumps(owner).encode())

    def release(self) -> None:
        """Give the directory up; safe to call twice."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def is_owned(self) -> bool:
        """Whether some living process owns the run."""
        return is_locked(self.path / "lock")

    def owner(self) -> dict[str, Any]:
        """Information on the process that owns or owned the run."""
        try:
            return dict(json.loads(self.state_file.read_bytes()))
        except (OSError, ValueError):
            return {}

    def scenario(self) -> Scenario:
        """The resolved scenario."""
        return load_scenario(self.scenario_file)

    def rules(self) -> Rules:
        """The run's rules."""
        size = self.notes().get("model_size_mb")
        return Rules.of(self.scenario(), model_size_mb=None if size is None else Decimal(size))

    def notes(self) -> dict[str, Any]:
        """Facts settled when the run began that the scenario leaves open."""
        try:
            return dict(json.loads((self.path / "notes.json").read_bytes()))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError):
            raise InvalidInput(f"{self.path / 'notes.json'}: is damaged; restore it from a copy") from None

    def events(self) -> list[Event]:
        """Everything in the journal."""
        return [entry.event for entry in read_journal(self.journal_file)]

    def state(self) -> RunState:
        """The run's state, from its journal."""
        return fold(self.rules(), self.events())

    def save_checkpoint(self, number: int, save: Callable[[Path], None]) -> tuple[str, str]:
        """Write the checkpoint of a round; returns its file name and SHA-256."""
        name = f"round-{number:06d}.npz"
        temporary = self.checkpoints / f".{name}.tmp"
        try:
            save(temporary)
            digest = sha256(temporary)
            replace_durably(temporary, self.checkpoints / name)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise disk_failure(self.checkpoints, error) from error
        return name, digest

    def drop_old_checkpoints(self) -> None:
        """Keep the checkpoints of the last finished rounds only."""
        for old in sorted(self.checkpoints.glob("round-*.npz"))[:-KEPT_CHECKPOINTS]:
            old.unlink(missing_ok=True)

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Write summary.json."""
        try:
            write_atomic(self.summary_file, json.dumps(summary, indent=1, allow_nan=False).encode())
        except OSError as error:
            raise disk_failure(self.summary_file, error) from error

    def remove(self) -> None:
        """Remove a directory that `create` made, when the run could not begin."""
        self.release()
        shutil.rmtree(self.path, ignore_errors=True)


def new_tracking_id(directory: Path) -> str:
    """An id that no other run has, wherever it is: two people may both run in a folder `runs/improvement`."""
    readable = re.sub(r"[^A-Za-z0-9_.-]+", "-", directory.resolve().name)[:40]
    return f"{readable}-{uuid.uuid4().hex[:12]}"


def check_new(path: Path) -> None:
    """Raise InvalidInput unless a run directory can be made here: new, or an empty folder."""
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise InvalidInput(
            f"{path}: is there already and not empty; choose a new folder, "
            f"or continue the run that is in it with: aiotwin resume {path}"
        )


def _locked(descriptor: int, patience: float) -> bool:
    until = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > until:
                return False
            time.sleep(0.02)
        else:
            return True


def scenario_yaml(scenario: Scenario) -> str:
    """The resolved scenario as YAML, every default written out."""
    return str(yaml.safe_dump(scenario.resolved(), sort_keys=False, default_flow_style=None, width=110))


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
