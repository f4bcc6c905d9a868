"""What all roles share: a process with a place in the tree, signs of readiness, and an orderly end."""

from __future__ import annotations

import ctypes
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
STARTER = "FL_SERVICE_STARTER"  # id of the process with which a role ends, where it is to end with one


# glibc's mallopt: parameters and values (https://man7.org/linux/man-pages/man3/mallopt.3.html).
_ALLOCATOR = {"M_ARENA_MAX": (-8, 1), "M_MMAP_THRESHOLD": (-3, 32 << 20), "M_TRIM_THRESHOLD": (-1, 64 << 20)}


class Role(Protocol):
    """A role that can be started and closed; `link` is its place below a parent, where it has one."""

    link: Link | None

    def start(self) -> None:
        """Begin to serve."""

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
    """Run a role until SIGTERM, SIGINT or its starter's end (0), or until another process has taken its name (3)."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    ended = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    role.start()
    replaced = role.link.replaced if role.link is not None else Event()
    starter = os.environ.get(STARTER)
    while not ended.wait(0.5) and not replaced.is_set():
        if starter is not None and os.getppid() != int(starter):
            break  # nobody is left to end this process
    role.close()
    return REPLACED if replaced.is_set() else 0


def calm_allocator() -> None:
    """Have the C library keep the memory of one message for the next, in one heap for all threads.

    Models come and go with every message. Giving their pages back and faulting them in again costs a seventh of the
    time, and a heap per thread a third more memory. Where the C library is another one, nothing happens.
    """
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL("libc.so.6")
        for parameter, value in _ALLOCATOR.values():
            library.mallopt(parameter, value)


def leave(code: int) -> None:
    """End the process now: training that is under way in another thread is not waited for."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
