"""Listening: the service on a socket until a signal ends it. Runs are processes of their own and go on."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys

from aiohttp import web

from aiotwin_nb.errors import InvalidInput
from aiotwin_nb.rest.app import application
from aiotwin_nb.rest.runs import Runs
from aiotwin_nb.scenario import Scenario

FAREWELL = 1.0  # seconds for answers under way; streams of events have no end of their own


def address_of(text: str) -> tuple[str, int]:
    """Host and port from `HOST:PORT`; port 0: a free one."""
    host, colon, port = text.rpartition(":")
    if not (colon and host and port.isdecimal() and int(port) < 2**16):
        raise InvalidInput(f"--listen {text!r}: must look like HOST:PORT, such as 127.0.0.1:8081")
    return host.strip("[]"), int(port)


def serve(runs: Runs, base: Scenario, host: str, port: int, token: str = "") -> None:
    """Serve until SIGINT or SIGTERM; goes on with interrupted runs first. Raises InvalidInput for a wrong address."""
    try:
        runs.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInput(f"--runs {runs.folder}: cannot be made: {error.strerror}; choose another folder") from None
    listening = _listening(host, port)
    for run_id in runs.resume_interrupted():
        _tell(f"went on with {run_id}")
    asyncio.run(_serve(runs, base, listening, token))


async def _serve(runs: Runs, base: Scenario, listening: socket.socket, token: str) -> None:
    runner = web.AppRunner(application(runs, base, token), access_log=None, shutdown_timeout=FAREWELL)
    await runner.setup()
    await web.SockSite(runner, listening).start()
    host, port = listening.getsockname()[:2]
    _tell(f"the orchestrator listens on http://{f'[{host}]' if ':' in host else host}:{port}; see /openapi.json there")
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    await ended.wait()
    await runner.cleanup()


def _listening(host: str, port: int) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(address[:2], family=family)
    except OSError as error:
        raise InvalidInput(f"--listen {host}:{port}: {error.strerror}; choose another address or port") from None


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
