"""The roads not taken of a run: computed by a process of its own, kept as compare.json beside the run.

The process is `aiotwin compare RUN --json`. It goes on when the kernel ends; every notebook on the run sees that it is
under way (it holds a lock) and what came of it.
"""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from aiotwin_nb.errors import InvalidInput
from aiotwin_nb.orchestration.files import is_locked

Branch = Mapping[str, Any]
RESULT, LOCK, LOG = "compare.json", ".compare.lock", "compare.log"


@dataclass(frozen=True)
class Truth:
    """What is known of the other branches. `branches`: by the round after which they part, as `compare_run` gives them.

    `seconds`: for how long they have been computed. `problem`: why that failed.
    """

    status: Literal["none", "running", "done", "failed"] = "none"
    branches: Mapping[int, Branch] | None = None
    seconds: float = 0.0
    problem: str = ""

    def of(self, after_round: int) -> Branch | None:
        """The branches of one reconfiguration, once they are known."""
        return (self.branches or {}).get(after_round)


def read_truth(run: Path) -> Truth:
    """What is known now; never raises for what it finds in the folder."""
    if is_locked(run / LOCK):
        return Truth("running", seconds=_age(run / RESULT))
    try:
        found = json.loads((run / RESULT).read_bytes())["branches"]
        return Truth("done", {int(branch["after_round"]): branch for branch in found})
    except FileNotFoundError:
        return Truth()
    except (OSError, ValueError, KeyError, TypeError):
        return Truth("failed", problem=_last_word(run) or f"{RESULT} is damaged; run the other branches again")


def begin_truth(run: Path) -> None:
    """Start to run the other branches; returns at once. Does nothing where somebody has already begun."""
    try:
        lock = os.open(run / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise InvalidInput(f"{run}: cannot be written: {error.strerror}; the result is kept there") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with (run / RESULT).open("wb") as result, (run / LOG).open("wb") as log:
            subprocess.Popen(
                [sys.executable, "-m", "aiotwin_nb", "compare", str(run.resolve()), "--json"],
                stdin=subprocess.DEVNULL,
                stdout=result,
                stderr=log,
                start_new_session=True,  # an interrupt of the kernel is not meant for it
                pass_fds=[lock],  # held for as long as the process lives
            )
    except BlockingIOError:
        pass
    except OSError as error:
        raise InvalidInput(f"{run}: the other branches cannot be run: {error.strerror}") from None
    finally:
        os.close(lock)


def verdict(decision: str, branch: Branch) -> Literal["right", "wrong", "either", "none"]:
    """Whether what was decided, `kept` or `reverted`, was right; "none" where there was no other road."""
    if branch["kept"] is None or branch["reverted"] is None:
        return "none"
    if branch["best"] == "tie":
        return "either"
    return "right" if branch["best"] == decision else "wrong"


def expected_seconds(summary: Mapping[str, Any]) -> float:
    """About how long it takes: the run once more, and the rest of the run for every road that parts from it."""
    rounds: list[float] = [row["seconds"] for row in summary["history"]]
    starts = [record["after_round"] for record in summary["reconfigurations"] if record["decision"] != "refused"]
    return 5 + sum(rounds) + sum(sum(rounds[start + 1 :]) for start in starts)


def _age(path: Path) -> float:
    """Seconds since the file was emptied, which is when the process began."""
    try:
        return max(time.time() - path.stat().st_mtime, 0.0)
    except OSError:
        return 0.0


def _last_word(run: Path) -> str:
    try:
        lines = (run / LOG).read_text(errors="replace").strip().splitlines()
    except OSError:
        return ""
    return lines[-1].removeprefix("aiotwin: ") if lines else ""
