"""The configuration of a process or pod: one JSON file (a ConfigMap), certificates in a folder beside it (a Secret)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from fl_service.errors import ConfigError, unknown
from fl_service.roles import AGGREGATORS, GLOBAL_AGGREGATOR
from fl_service.spec import TrainingSpec
from fl_service.transport.link import Address
from fl_service.transport.liveness import Timings


def address_from(value: Any, where: str) -> Address:
    """Check a JSON value; raises ConfigError."""
    if not isinstance(value, Mapping) or value.keys() != {"name", "at"} or not all(map(_text, value.values())):
        raise ConfigError(f'{where}: {value!r} is not an address; it must be {{"name": NODE, "at": "HOST:PORT"}}')
    return Address(str(value["name"]), checked_address(value["at"], f"{where}.at"))


def checked_address(value: Any, where: str) -> str:
    """Return a `host:port`; raises ConfigError for anything else."""
    host, _, port = value.rpartition(":") if isinstance(value, str) else ("", "", "")
    if not host or not port.isdigit() or not 0 <= int(port) < 65536:
        raise ConfigError(f"{where}: {value!r} is not HOST:PORT, such as 10.0.0.1:9000")
    return str(value)


@dataclass(frozen=True)
class RoleConfig:
    """What a process is told when it starts; everything that may change later comes from its parent.

    `listen`: `host:port` of an aggregator. `parent`: whom it joins at first (a client may be moved later), for the
    evaluator the global aggregator over loopback. `refuge`: where a client turns when its parent cannot be reached
    (the global aggregator). `certificates`: folder of ca.crt, tls.crt, tls.key. `ready_file`: exists while the process
    can work, and is touched with every heartbeat: for an exec probe.
    `spec`: the training; `spec.task.file` (clients and evaluator only) is relative to the configuration file's folder.
    `client_app`: {"file": a Python file, "attribute": name of the Flower ClientApp in it} instead of the task's own.
    `max_message_mb`: a longer message is refused and its sender named.
    """

    name: str
    spec: TrainingSpec
    certificates: Path
    listen: str | None = None
    parent: Address | None = None
    refuge: Address | None = None
    ready_file: Path | None = None
    client_app: Mapping[str, str] | None = None
    max_message_mb: int = 1024
    timings: Timings = field(default_factory=Timings)

    @classmethod
    def load(cls, path: Path, role: str) -> RoleConfig:
        """Read and check a configuration file for a role; raises ConfigError naming file, field and what is allowed."""
        try:
            content = json.loads(Path(path).read_text())
        except (OSError, ValueError) as error:
            raise ConfigError(f"--config {path}: cannot be read as JSON ({error})") from error
        try:
            return cls.of(content, Path(path).parent).checked(role)
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from error

    @classmethod
    def of(cls, content: Any, folder: Path = Path()) -> RoleConfig:
        """Build from JSON; relative paths are in `folder`. Raises ConfigError."""
        if not isinstance(content, dict):
            raise ConfigError("the configuration must be a JSON object")
        allowed = [f.name for f in fields(cls)]
        for key in content:
            if key not in allowed:
                raise ConfigError(unknown("configuration", key, allowed))
        for key in ("name", "spec", "certificates"):
            if key not in content:
                raise ConfigError(f"{key}: is missing")
        given = {key: value for key, value in content.items() if value is not None}
        if not _text(given["name"]):
            raise ConfigError(f"name: {given['name']!r} is not a node's name")
        given["spec"] = _spec(given["spec"], folder)
        for key in ("certificates", "ready_file"):
            if key in given:
                given[key] = folder / str(given[key])
        for key in ("parent", "refuge"):
            if key in given:
                given[key] = address_from(given[key], key)
        if "listen" in given:
            given["listen"] = checked_address(given["listen"], "listen")
        if "client_app" in given:
            given["client_app"] = _client_app(given["client_app"], folder)
        given["timings"] = Timings.of(given.get("timings", {}))
        return cls(**given)

    def checked(self, role: str) -> RoleConfig:
        """Return this configuration if the role can start with it; raises ConfigError."""
        if role in AGGREGATORS and self.listen is None:
            raise ConfigError(f"listen: is missing; a {role} needs HOST:PORT")
        if role != GLOBAL_AGGREGATOR and self.parent is None:
            raise ConfigError(f"parent: is missing; a {role} needs the name and address of its aggregator")
        return self

    def to_json(self) -> str:
        """Return what `of` reads."""
        spec = {
            "seed": self.spec.seed,
            "task": dict(self.spec.task),
            "aggregation_global": [self.spec.aggregation_global[0], dict(self.spec.aggregation_global[1])],
            "report_updates": self.spec.report_updates,
            "aggregation_local": [self.spec.aggregation_local[0], dict(self.spec.aggregation_local[1])],
        }
        content: dict[str, Any] = {
            "name": self.name,
            "spec": spec,
            "certificates": str(self.certificates),
            "listen": self.listen,
            "parent": self.parent and asdict(self.parent),
            "refuge": self.refuge and asdict(self.refuge),
            "ready_file": None if self.ready_file is None else str(self.ready_file),
            "client_app": self.client_app and dict(self.client_app),
            "max_message_mb": self.max_message_mb,
            "timings": asdict(self.timings),
        }
        return json.dumps({key: value for key, value in content.items() if value is not None}, indent=1)


def spec_for(role: str, spec: TrainingSpec, task_file: str | None = None) -> TrainingSpec:
    """Return the part of a training that a role is to know: aggregators are not given the user's task.py.

    `task_file`: the path of task.py as clients and the evaluator see it, relative to their configuration file.
    """
    task = {key: value for key, value in spec.task.items() if key != "file"}
    if task_file is not None and role not in AGGREGATORS:
        task["file"] = task_file
    return replace(spec, task=task)


def _text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _spec(value: Any, folder: Path) -> TrainingSpec:
    try:
        task = dict(value.get("task", {}))
        if task.get("file"):
            task["file"] = str(folder / task["file"])
        strategies = [value.get(f"aggregation_{tier}", ["FedAvg", {}]) for tier in ("global", "local")]
        top, bottom = ((str(name), dict(arguments)) for name, arguments in strategies)
        return TrainingSpec(int(value["seed"]), task, top, bottom, bool(value.get("report_updates", False)))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ConfigError(
            f"spec: {value!r} is not a training ({type(error).__name__}: {error}); it must have seed, task, "
            "aggregation_global and aggregation_local ([strategy, arguments])"
        ) from error


def _client_app(value: Any, folder: Path) -> dict[str, str]:
    if not isinstance(value, Mapping) or value.keys() != {"file", "attribute"}:
        raise ConfigError(f'client_app: {value!r} is not allowed; it must be {{"file": PATH.py, "attribute": NAME}}')
    return {"file": str(folder / value["file"]), "attribute": str(value["attribute"])}
