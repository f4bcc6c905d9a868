"""Running the cells of a sweep: worker processes, results kept in a folder, what is there is not run again."""

from __future__ import annotations

import contextlib
import hashlib
import json
import queue
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from aiotwin_nb.errors import InvalidInput
from aiotwin_nb.orchestration.files import write_atomic

Request = Mapping[str, Any]
Reply = dict[str, Any]


@dataclass(frozen=True)
class Cell:
    """One combination of values. `request`: what a worker is asked; `identity`: all that its result depends on."""

    values: Mapping[str, Any]
    request: Request
    identity: str

    @property
    def label(self) -> str:
        """`validation.window=3, seed=1`."""
        return ", ".join(f"{key}={shown(value)}" for key, value in self.values.items())

    @property
    def name(self) -> str:
        """The name of its files: readable, and another one as soon as anything differs that its result depends on."""
        readable = re.sub(r"[^A-Za-z0-9._=-]+", "_", self.label)[:80]
        return f"{readable}-{hashlib.sha256(self.identity.encode()).hexdigest()[:12]}"


@dataclass(frozen=True)
class Outcome:
    """What came of a cell: its result, or the error in one line. `reused`: it was there already."""

    cell: Cell
    result: Mapping[str, Any] | None
    error: str | None = None
    reused: bool = False


Tell = Callable[[Outcome, int, int], None]


def shown(value: Any) -> str:
    """A value in one word for people and tables: text as it is, everything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, default=str)


def run_cells(cells: Sequence[Cell], folder: Path, workers: int, tell: Tell) -> list[Outcome]:
    """Run the cells that have no result in the folder yet; returns all outcomes in the order of the cells.

    A failing cell stops nothing, and is run again next time. `tell(outcome, done, all)` is called after each cell.
    Raises InvalidInput when the folder cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInput(f"{folder}: cannot be made: {error.strerror}; choose another folder with --out") from None
    found = {i: Outcome(cell, kept, reused=True) for i, cell in enumerate(cells) if (kept := _kept(folder, cell))}
    for done, outcome in enumerate(found.values(), start=1):
        tell(outcome, done, len(cells))
    missing = [i for i in range(len(cells)) if i not in found]
    with contextlib.closing(_ask_all([_placed(cells[i], folder) for i in missing], workers)) as replies:
        for place, reply in replies:
            i = missing[place]
            if "result" in reply:
                write_atomic(_file(folder, cells[i]), json.dumps(reply["result"], indent=1).encode())
            found[i] = Outcome(cells[i], reply.get("result"), reply.get("error"))
            tell(found[i], len(found), len(cells))
    return [found[i] for i in range(len(cells))]


def _file(folder: Path, cell: Cell) -> Path:
    return folder / f"{cell.name}.results.json"


def _kept(folder: Path, cell: Cell) -> dict[str, Any] | None:
    try:
        return dict(json.loads(_file(folder, cell).read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


def _placed(cell: Cell, folder: Path) -> Request:
    """A cell's request with the place for its files, which notebooks need."""
    return {**cell.request, "output": str((folder / f"{cell.name}.ipynb").resolve())}


def _ask_all(requests: Sequence[Request], workers: int) -> Generator[tuple[int, Reply], None, None]:
    """Answers with the place of their request, as they come; no worker outlives the iteration."""
    waiting: queue.SimpleQueue[tuple[int, Request]] = queue.SimpleQueue()
    answered: queue.SimpleQueue[tuple[int, Reply]] = queue.SimpleQueue()
    for request in enumerate(requests):
        waiting.put(request)
    staff = [_Worker() for _ in range(min(max(workers, 1), len(requests)))]

    def serve(worker: _Worker) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                place, request = waiting.get_nowait()
                try:
                    reply = worker.ask(request)
                except Exception as error:  # whatever it is, somebody waits for an answer
                    reply = {"error": f"{type(error).__name__}: {error}"}
                answered.put((place, reply))

    for worker in staff:
        threading.Thread(target=serve, args=(worker,), daemon=True).start()
    try:
        for _ in requests:
            yield answered.get()
    finally:
        for worker in staff:
            worker.dismiss()


class _Worker:
    """A process that runs one cell after another (`aiotwin_nb.worker`); a new one takes the place of one that died."""

    def __init__(self) -> None:
        self._errors: IO[str] = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115
        self._dismissed = False
        self._process = self._launch()

    def ask(self, request: Request) -> Reply:
        """The answer to a request; `{"error": …}` if the process died over it."""
        if self._process.poll() is not None and not self._dismissed:
            self._process = self._launch()
        line = ""
        with contextlib.suppress(OSError, ValueError):
            assert self._process.stdin is not None
            assert self._process.stdout is not None
            self._process.stdin.write(json.dumps(request, default=str) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        return dict(json.loads(line)) if line else {"error": self._last_words()}

    def dismiss(self) -> None:
        """End the process, whatever it is doing."""
        self._dismissed = True
        self._process.terminate()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._errors.close()

    def _launch(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "aiotwin_nb.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            encoding="utf-8",
            start_new_session=True,  # Ctrl-C is for us, who then dismiss it
        )

    def _last_words(self) -> str:
        code = self._process.wait()
        with contextlib.suppress(OSError, ValueError):
            self._errors.seek(0)
            lines = self._errors.read().strip().splitlines()
            return f"its process died (exit code {code})" + (f": {lines[-1]}" if lines else "")
        return f"its process died (exit code {code})"
