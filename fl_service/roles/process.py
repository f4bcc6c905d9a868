"""What all roles share: a process with a place in the tree, signs of readiness, and an orderly end."""

from __future__ import annotations

import logging
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from threading import Event
from typing import Protocol

from fl_service.transport.link import Link

REPLACED = 3


class Role(Protocol):
    """A role that can be started and closed; `link` is its place below a parent, where it has one."""

    link: Link | None

    def start(self) -> None:
        """Begin to serve."""

    def show_ready(self) -> None:
        """Touch the ready file; heartbeats do it where there is a parent."""

    def close(self) -> None:
        """Disconnect and stop listening."""


class Readiness:
    """A file that exists while a process can work and that every heartbeat touches: for exec probes."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def __call__(self, there: bool) -> None:
        """Show or take back the sign."""
        if self._path is None:
            return
        with suppress(OSError):
            if there:
                self._path.touch()
            else:
                self._path.unlink(missing_ok=True)


def run(role: Role) -> int:
    """Run a role until SIGTERM or SIGINT (0), or until another process has taken its name (3)."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    ended = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    role.start()
    replaced = role.link.replaced if role.link is not None else Event()
    while not ended.wait(0.5) and not replaced.is_set():
        if role.link is None:  # nobody's heartbeat says that the root of the tree is there
            role.show_ready()
    role.close()
    return REPLACED if replaced.is_set() else 0


def leave(code: int) -> None:
    """End the process now: training that is under way in another thread is not waited for."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
