"""Processes of instances: started, slowed down, killed and ended."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryFile
from urllib.parse import urlsplit

import aiohttp

from aiotwin_nb.errors import RunFailed
from aiotwin_nb.inference.site.model import NodeSpec, ServiceSpec

START_S = 60.0  # importing torch on a busy machine takes long
STOP_S = 8.0
SLICE_S = 0.02  # a slowed process runs for this long at a time
PACKAGE_ROOT = Path(__file__).parents[3]


@dataclass
class InstanceProcess:
    """One instance as a process. `factor`: how many times as slow as it could be."""

    id: str
    node: str
    process: asyncio.subprocess.Process
    url: str
    admin: str
    synthetic: bool
    factor: float = 1.0
    wanted: bool = True
    _throttle: asyncio.Task[None] | None = field(default=None, repr=False)

    @property
    def port(self) -> int:
        """Of its public address."""
        return urlsplit(self.url).port or 80

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self.process.returncode is None

    @classmethod
    async def start(cls, identity: str, node: NodeSpec, service: ServiceSpec, seed: int) -> InstanceProcess:
        """Start an instance and wait until it listens; raises RunFailed with its last words."""
        synthetic = service.run is None
        arguments = _synthetic(identity, node, service, seed) if synthetic else _serve(service)
        with TemporaryFile() as words:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                *arguments,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=words,
                env={**os.environ, "PYTHONPATH": _path()},
                start_new_session=True,  # an interrupt of the notebook is not for it
            )
            assert process.stdout is not None
            try:
                async with asyncio.timeout(START_S):
                    told = json.loads(await process.stdout.readline())
            except (TimeoutError, ValueError):
                await _kill(process)
                words.seek(0)
                last = words.read().decode(errors="replace").strip().splitlines()[-1:] or ["it said nothing"]
                raise RunFailed(f"instance {identity} did not start: {last[0]}") from None
            except asyncio.CancelledError:
                await _kill(process)
                raise
        return cls(identity, node.id, process, told["url"], told["admin"], synthetic)

    async def slow_down(self, factor: float) -> None:
        """Make it this many times as slow; 1: as fast as it can.

        A synthetic one takes longer for requests. A real one is stopped and continued by signals, many times a second,
        so that it gets this part of the processor (as cpulimit does); nothing else on the machine suffers.
        """
        self.factor = factor
        if self.synthetic:
            with suppress(aiohttp.ClientError):
                async with aiohttp.ClientSession() as session:
                    await session.post(f"{self.admin}/speed", json={"factor": factor})
        elif factor > 1 and self._throttle is None:
            self._throttle = asyncio.create_task(self._throttled())

    async def kill(self) -> None:
        """End it as a power cut would."""
        self.wanted = False
        await self._unthrottled()
        await _kill(self.process)

    async def stop(self) -> None:
        """Let it end what it has begun; kill it after some seconds."""
        self.wanted = False
        await self._unthrottled()
        with suppress(ProcessLookupError):
            self.process.terminate()
        try:
            async with asyncio.timeout(STOP_S):
                await self.process.wait()
        except TimeoutError:
            pass
        finally:
            await _kill(self.process)

    async def _throttled(self) -> None:
        try:
            while self.factor > 1 and self.alive:
                self._signal(signal.SIGSTOP)
                await asyncio.sleep(SLICE_S * (self.factor - 1))
                self._signal(signal.SIGCONT)
                await asyncio.sleep(SLICE_S)
        finally:
            self._signal(signal.SIGCONT)
            self._throttle = None

    async def _unthrottled(self) -> None:
        if (task := self._throttle) is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def _signal(self, number: int) -> None:
        with suppress(ProcessLookupError):
            self.process.send_signal(number)


def _synthetic(identity: str, node: NodeSpec, service: ServiceSpec, seed: int) -> list[str]:
    program = str(Path(__file__).with_name("synthetic.py"))
    mean = service.service_ms / node.speed
    return ["-P", program, "--name", service.name, "--service-ms", f"{mean:g}", "--seed", f"{seed} {identity}"]


def _serve(service: ServiceSpec) -> list[str]:
    assert service.run is not None
    listen = ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--drain", "0.3"]
    return ["-m", "aiotwin_nb.inference.site.tethered", "serve", service.run, "--name", service.name, "--json", *listen]


def _path() -> str:
    """Where the package is found, also when it is not installed."""
    return os.pathsep.join(filter(None, (str(PACKAGE_ROOT), os.environ.get("PYTHONPATH", ""))))


async def _kill(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        process.kill()
    await process.wait()
