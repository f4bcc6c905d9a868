"""Worker processes that execute client apps; with the same result as in process, bit for bit.

A worker keeps nothing between calls but prepared data: a client's state travels with every call, so any worker can
serve any client, and a worker that dies takes nothing with it but the calls it held.
"""

from __future__ import annotations

import multiprocessing
import pickle
import queue
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from typing import Any, cast

from flwr.app import Context, Message

from fl_service.grid import App, Call, Member, error_reply, perform

# The workers are children of this process over private pipes, so pickle is safe here; nothing pickled touches a disk.
_spawn = multiprocessing.get_context("spawn")


class WorkerPool:
    """N processes, each with an app of its own made by `make_app(*arguments)` (both must be picklable)."""

    def __init__(self, count: int, make_app: Callable[..., App], *arguments: Any) -> None:
        self._make, self._arguments, self._closed = make_app, arguments, False
        self._idle: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        self._all: list[_Worker] = []
        for _ in range(count):
            self._idle.put(self._started())
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="fl-worker")

    @property
    def pids(self) -> list[int]:
        """Process ids of the workers that are alive."""
        return [worker.process.pid for worker in self._all if worker.process.is_alive() and worker.process.pid]

    def execute(self, calls: Sequence[Call]) -> list[Message]:
        """Perform calls on the workers and return the replies in the order of the calls."""
        return list(self._threads.map(self._perform, calls))

    def close(self) -> None:
        """End all workers; safe to call twice."""
        self._closed = True
        for worker in self._all:
            worker.close()
        self._all.clear()
        self._threads.shutdown(wait=True, cancel_futures=True)

    def _started(self) -> _Worker:
        worker = _Worker(self._make, self._arguments)
        self._all.append(worker)
        return worker

    def _perform(self, call: Call) -> Message:
        worker = self._idle.get()
        try:
            if not worker.process.is_alive():  # it died idle, so nothing is lost
                worker = self._replaced(worker)
            return worker.perform(call)
        except (EOFError, OSError) as error:
            worker = self._replaced(worker)
            return error_reply(call.message, f"the worker process that trained it died ({type(error).__name__})")
        finally:
            self._idle.put(worker)

    def _replaced(self, worker: _Worker) -> _Worker:
        if self._closed:
            return worker
        worker.close()
        self._all.remove(worker)
        return self._started()


class _Worker:
    """One process and the pipe to it."""

    def __init__(self, make_app: Callable[..., App], arguments: tuple[Any, ...]) -> None:
        self._pipe, theirs = _spawn.Pipe()
        self.process = _spawn.Process(target=_serve, args=(theirs, make_app, arguments), daemon=True)
        self.process.start()
        theirs.close()  # so that a dead worker is the end of the pipe, not silence

    def perform(self, call: Call) -> Message:
        """Send a call and wait for its reply; the client's new state is put into its Context."""
        context = call.member.context
        # Pickled apart from sending, so that an object that cannot travel is not taken for a dead worker.
        self._pipe.send_bytes(pickle.dumps((call.member.name, context, call.message, call.seed)))
        reply, state = self._pipe.recv()
        if isinstance(reply, str):
            return error_reply(call.message, reply)
        context.state = state
        return cast(Message, reply)

    def close(self) -> None:
        """End the process: by closing its pipe, by force where it does not listen."""
        self._pipe.close()
        self.process.join(timeout=0.5)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


def _serve(pipe: Connection, make_app: Callable[..., App], arguments: tuple[Any, ...]) -> None:
    """Execute calls until the other end of the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt at the keyboard is the parent's to handle
    app: App | None = None
    while True:
        try:
            name, context, message, seed = pickle.loads(pipe.recv_bytes())
        except (EOFError, OSError):
            return
        try:
            app = app or make_app(*arguments)
            pipe.send(_performed(Member(name, app, context), message, seed, context))
        except Exception as error:  # the app could not be made or its reply could not travel
            pipe.send((f"{type(error).__name__}: {error}", None))


def _performed(member: Member, message: Message, seed: int, context: Context) -> tuple[Message, Any]:
    reply = perform(Call(member, message, seed))
    return reply, context.state
