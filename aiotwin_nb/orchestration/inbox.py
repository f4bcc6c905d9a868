"""The inbox: commands for a running run, one file each, written by atomic rename."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from aiotwin_nb.continuum import Infrastructure, Role, check_infrastructure
from aiotwin_nb.errors import InvalidInput
from aiotwin_nb.orchestration.files import write_atomic
from aiotwin_nb.scenario.load import mistakes
from aiotwin_nb.scenario.located import dotted
from aiotwin_nb.scenario.model import ChangeSpec


class Command(ChangeSpec):
    """What a person asks of a running run: stop it, or inject nodes joining or leaving, link costs or data changing."""

    command: Literal["inject", "stop"]


def parse_command(raw: Mapping[str, Any]) -> Command:
    """A command from its JSON form; raises InvalidInput saying what is wrong with it."""
    try:
        command = Command.model_validate(raw)
    except ValidationError as error:
        wrong = [f"{dotted(path) or 'command'}: {text}" for path, text in mistakes(Command, raw, error)]
        raise InvalidInput("; ".join(dict.fromkeys(wrong))) from None
    if command.command == "inject" and not command.to_change():
        raise InvalidInput("the command injects nothing; give add, remove, link or data")
    return command


def check_command(command: Command, infrastructure: Infrastructure) -> None:
    """Raise InvalidInput when a command makes no sense for the nodes that exist now."""
    change = command.to_change()
    if infrastructure.global_aggregator in change.removed:
        raise InvalidInput("the global aggregator cannot leave; stop the run instead")
    if any(node.role is Role.GLOBAL_AGGREGATOR for node in change.added):
        raise InvalidInput("a global aggregator cannot join: the run has one")
    after = infrastructure.apply(change)
    problems = check_infrastructure(after, tuple(infrastructure.nodes))
    known = {problem.message for problem in check_infrastructure(infrastructure)}
    new = [problem.message for problem in problems if problem.message not in known]
    if new:
        raise InvalidInput("; ".join(new))


def submit(inbox: Path, command: Command) -> str:
    """Put a command into an inbox; returns its id."""
    name = f"{time.time_ns()}-{uuid.uuid4().hex[:8]}"
    inbox.mkdir(exist_ok=True)
    content = command.model_dump(mode="json", exclude_defaults=True)
    write_atomic(inbox / f"{name}.json", json.dumps(content).encode())
    return name


def waiting(inbox: Path) -> list[Path]:
    """Command files in the order in which they were put there; anything that is no file is left alone."""
    return sorted(path for path in inbox.glob("[!.]*.json") if path.is_file()) if inbox.is_dir() else []


def command_id(path: Path) -> str:
    """The id of a command file: its name, with bytes that are no text escaped."""
    return path.stem.encode("utf-8", "backslashreplace").decode()


def read_command(path: Path) -> dict[str, Any]:
    """The JSON form of a command file; raises InvalidInput when it is none."""
    try:
        raw = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        raise InvalidInput(f"{command_id(path)}: is not JSON") from None
    except OSError as error:
        raise InvalidInput(f"{command_id(path)}: cannot be read: {error.strerror}") from None
    if not isinstance(raw, dict):
        raise InvalidInput(f"{command_id(path)}: must be a JSON object like {{'command': 'stop'}}")
    return raw
