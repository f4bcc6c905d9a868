"""Where a proxy learns which services there are: a watched file, or what takes its place (on K3s, the cluster)."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import yaml

from aiotwin_nb.errors import InvalidInput, did_you_mean
from aiotwin_nb.inference.services import DEFAULT_MAX_LATENCY_MS, Instance, Service

POLL = 0.1  # seconds between two looks at the file; a change counts once two looks agree

_NAME = re.compile(r"[a-z0-9]([-a-z0-9_.]*[a-z0-9])?")
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, slots=True)
class Directory:
    """What is known of the continuum at one time.

    Attributes:
        services: what clients can ask for
        loads: by node, the share (0 to 1) of its CPU or its memory in use, whichever is larger; may be empty
        problem: what of newer information could not be used, and what is in force instead; "" when all could
    """

    services: tuple[Service, ...] = ()
    loads: Mapping[str, float] = field(default_factory=dict)
    problem: str = ""


class ServiceSource(Protocol):
    """Tells which services there are, from the start and whenever that changes."""

    async def current(self) -> Directory:
        """Return what is known now; raises AIoTwinError (InvalidInput) when that is nothing usable."""

    def changes(self) -> AsyncIterator[Directory]:
        """Yield whole new directories for ever; one with a `problem` repeats the old services."""


class FixedSource:
    """Services that are handed over by the program: `put` replaces them."""

    def __init__(self, *services: Service) -> None:
        self._directory = Directory(services)
        self._changed = asyncio.Event()

    def put(self, *services: Service, loads: Mapping[str, float] | None = None) -> None:
        """Replace what is known; to be called in the proxy's event loop."""
        self._directory = Directory(services, dict(loads or {}))
        self._changed.set()

    async def current(self) -> Directory:
        """Return what was handed over last."""
        return self._directory

    async def changes(self) -> AsyncIterator[Directory]:
        """Yield what is handed over."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            yield self._directory


class FileSource:
    """A YAML file that is looked at several times a second; a broken one is reported and the old one stays in force.

    ```yaml
    services:
      NAME: {max_latency_ms: 300, instances: [{id: a, url: "http://10.0.0.2:8000", node: n2}]}
    nodes:                      # optional: how loaded nodes are
      n2: {load: 0.4}
    ```
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._state = self._stat()
        self._last = Directory()

    async def current(self) -> Directory:
        """Return the file's content; raises InvalidInput when it is missing or wrong."""
        self._state = self._stat()
        self._last = await asyncio.to_thread(read_services, self.path)
        return self._last

    async def changes(self) -> AsyncIterator[Directory]:
        """Yield the file's content whenever it has changed."""
        before = self._state
        while True:
            await asyncio.sleep(POLL)
            now = self._stat()
            if now == before and now != self._state:  # it was changed, and nobody is still writing
                self._state = now
                yield await self._read()
            before = now

    async def _read(self) -> Directory:
        try:
            self._last = await asyncio.to_thread(read_services, self.path)
        except InvalidInput as error:
            problem = f"{error}; what was in force stays in force"
            self._last = Directory(self._last.services, self._last.loads, problem)
        return self._last

    def _stat(self) -> tuple[int, ...]:
        try:
            stat = self.path.stat()
        except OSError:
            return ()
        return stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size, stat.st_ino


def read_services(path: Path) -> Directory:
    """Return a services file's content; raises InvalidInput naming file, place, what is wrong and what is allowed."""
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_LOADER)
    except OSError as error:
        raise InvalidInput(f"{path}: {error.strerror or error}; give a file with `services:`") from None
    except UnicodeDecodeError:
        raise InvalidInput(f"{path}: is not UTF-8 text; give a YAML file with `services:`") from None
    except yaml.YAMLError as error:
        raise InvalidInput(f"{path}: is not YAML: {' '.join(str(error).split())}") from None
    try:
        return _directory(content)
    except InvalidInput as error:
        raise InvalidInput(f"{path}: {error}") from None


def _directory(content: Any) -> Directory:
    top = _mapping(content, "the file", required=("services",), allowed=("services", "nodes"))
    services = _mapping(top["services"], "services")
    nodes = _mapping(top.get("nodes") or {}, "nodes")
    return Directory(
        tuple(_service(name, value) for name, value in services.items()),
        {name: _load(value, f"nodes.{name}") for name, value in nodes.items()},
    )


def _service(name: str, value: Any) -> Service:
    where = f"services.{name}"
    if not _NAME.fullmatch(name):
        raise InvalidInput(f"{where}: a name is a host name: small letters, digits and -, such as people-counting")
    given = _mapping(value, where, required=("instances",), allowed=("max_latency_ms", "instances"))
    bound = _number(given.get("max_latency_ms", DEFAULT_MAX_LATENCY_MS), f"{where}.max_latency_ms")
    if bound <= 0:
        raise InvalidInput(f"{where}.max_latency_ms: {bound:g} must be above 0 (milliseconds)")
    listed = given["instances"] if given["instances"] is not None else []
    if not isinstance(listed, list):
        raise InvalidInput(f"{where}.instances: must be a list of {{id, url, node}}, not {listed!r}")
    instances = tuple(_instance(each, f"{where}.instances[{index}]") for index, each in enumerate(listed))
    ids = [instance.id for instance in instances]
    if twice := sorted({each for each in ids if ids.count(each) > 1}):
        raise InvalidInput(f"{where}.instances: the id {twice[0]!r} is there twice; ids are unique within a service")
    return Service(name, instances, bound)


def _instance(value: Any, where: str) -> Instance:
    given = _mapping(value, where, required=("id", "url", "node"), allowed=("id", "url", "node", "ready"))
    for key in ("id", "url", "node"):
        if not isinstance(given[key], (str, int)) or isinstance(given[key], bool) or str(given[key]) == "":
            raise InvalidInput(f"{where}.{key}: {given[key]!r} must be text")
    if not isinstance(given.get("ready", True), bool):
        raise InvalidInput(f"{where}.ready: {given['ready']!r} must be true or false")
    check_url(str(given["url"]), f"{where}.url")
    return Instance(str(given["id"]), str(given["url"]), str(given["node"]), given.get("ready", True))


def check_url(url: str, where: str) -> tuple[str, int]:
    """Return host and port of an instance's URL; raises InvalidInput naming the place."""
    try:
        parts = urlsplit(url)
        port = parts.port or 80
    except ValueError:
        raise InvalidInput(f"{where}: {url!r} is not a URL such as http://10.42.1.7:8000") from None
    extra = parts.query or parts.fragment or parts.username or parts.path.strip("/")
    if parts.scheme != "http" or not parts.hostname or extra:
        raise InvalidInput(f"{where}: {url!r} must be http://HOST:PORT, such as http://10.42.1.7:8000")
    return parts.hostname, port


def _load(value: Any, where: str) -> float:
    load = _number(_mapping(value, where, required=("load",), allowed=("load",))["load"], f"{where}.load")
    if not 0 <= load <= 1:
        raise InvalidInput(f"{where}.load: {load:g} must be between 0 and 1")
    return load


def _number(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise InvalidInput(f"{where}: {value!r} must be a number")
    return float(value)


def _mapping(
    value: Any, where: str, required: tuple[str, ...] = (), allowed: tuple[str, ...] | None = None
) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidInput(f"{where}: must be a mapping{f' with {_listed(required)}' if required else ''}")
    keys = [str(key) for key in value]
    for key in keys:
        if allowed is not None and key not in allowed:
            raise InvalidInput(
                f"{where}: unknown key {key!r}; allowed: {_listed(allowed)}.{did_you_mean(key, allowed)}"
            )
    if missing := [key for key in required if key not in keys]:
        raise InvalidInput(f"{where}: lacks {missing[0]!r}; needed: {_listed(required)}")
    return dict(zip(keys, value.values(), strict=True))


def _listed(keys: tuple[str, ...]) -> str:
    return ", ".join(keys)
