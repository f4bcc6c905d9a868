"""The inbox: commands for a running run, one file each, written by atomic rename."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from aiotwin_nb.continuum import Infrastructure, Role, check_infrastructure
from aiotwin_nb.errors import InvalidInput
from aiotwin_nb.orchestration.files import write_atomic
from aiotwin_nb.orchestration.state import RunState
from aiotwin_nb.scenario.load import mistakes
from aiotwin_nb.scenario.located import FieldPath, dotted
from aiotwin_nb.scenario.model import ChangeSpec


class Command(ChangeSpec):
    """What a person asks of a running run: stop it, or inject nodes joining or leaving, link costs or data changing.

    An injected change acts after round `after_round`, by default at the next round boundary; a stop never waits.
    """

    command: Literal["inject", "stop"]
    after_round: int | None = Field(None, ge=1)


@dataclass(frozen=True)
class Mistake:
    """One thing that is wrong with a command. `path`: the field concerned; empty for the command as a whole."""

    path: FieldPath
    text: str


def parse_command(raw: Mapping[str, Any]) -> Command:
    """A command from its JSON form; raises InvalidInput saying what is wrong with it."""
    command, wrong = _parsed(raw)
    if command is None or wrong:
        lines = [f"{dotted(mistake.path)}: {mistake.text}" if mistake.path else mistake.text for mistake in wrong]
        raise InvalidInput("; ".join(dict.fromkeys(lines)))
    return command


def check_command(command: Command, state: RunState, waiting: Sequence[Command] = ()) -> None:
    """Raise InvalidInput when a command makes no sense for the nodes there will be when it acts.

    `waiting`: commands that came before it and have not acted yet.
    """
    if wrong := _nonsense(command, state, waiting):
        raise InvalidInput("; ".join(dict.fromkeys(mistake.text for mistake in wrong)))


def find_mistakes(raw: Mapping[str, Any], state: RunState, waiting: Sequence[Command] = ()) -> list[Mistake]:
    """Everything that `parse_command` and `check_command` would object to, each with its field."""
    command, wrong = _parsed(raw)
    return wrong if command is None or wrong else _nonsense(command, state, waiting)


def next_boundary(state: RunState) -> int:
    """The round after which the next command acts."""
    return state.boundary + 1


def nodes_at(state: RunState, after_round: int | None, waiting: Sequence[Command] = ()) -> Infrastructure:
    """The nodes that a command acting after a round (None: at the next boundary) will meet.

    What the scenario's events and the commands that wait do until then is taken in, as far as it makes sense.
    """
    first = next_boundary(state)
    moment = first if after_round is None else after_round
    coming = [(number, change) for number, change in state.rules.changes.items() if first <= number <= moment]
    coming += [(max(command.after_round or 0, first), command.to_change()) for command in waiting]
    in_time = sorted((pair for pair in coming if pair[0] <= moment), key=lambda pair: pair[0])
    return state.infrastructure.apply_possible(change for _, change in in_time)[0]


def _parsed(raw: Mapping[str, Any]) -> tuple[Command | None, list[Mistake]]:
    try:
        command = Command.model_validate(raw)
    except ValidationError as error:
        return None, [Mistake(path or ("command",), text) for path, text in mistakes(Command, raw, error)]
    if command.command == "inject" and not command.to_change():
        return command, [Mistake((), "the command injects nothing; give add, remove, link or data")]
    if command.command == "stop" and command.after_round is not None:
        return command, [Mistake(("after_round",), "a stop never waits; leave it out")]
    return command, []


def _nonsense(command: Command, state: RunState, waiting: Sequence[Command]) -> list[Mistake]:
    if wrong := _wrong_moment(command.after_round, state):
        return wrong
    nodes = nodes_at(state, command.after_round, waiting)
    return _wrong_roles(command, nodes) or _inapplicable(command, nodes) or _wrong_nodes(command, nodes)


def _wrong_moment(after_round: int | None, state: RunState) -> list[Mistake]:
    if after_round is None:
        return []
    if after_round < next_boundary(state):
        text = f"round {after_round} has passed; give {next_boundary(state)} or more, or none for the next boundary"
        return [Mistake(("after_round",), text)]
    last = state.rules.scenario.training.max_rounds
    if after_round >= last:
        text = f"is {after_round}, but round {last} (training.max_rounds) is the last; give at most {last - 1}"
        return [Mistake(("after_round",), text)]
    return []


def _wrong_roles(command: Command, nodes: Infrastructure) -> list[Mistake]:
    found = [
        Mistake(("remove", i), "the global aggregator cannot leave; stop the run instead")
        for i, node_id in enumerate(command.remove)
        if node_id == nodes.global_aggregator
    ]
    return found + [
        Mistake(("add", i, "role"), "a global aggregator cannot join: the run has one")
        for i, node in enumerate(command.add)
        if node.role is Role.GLOBAL_AGGREGATOR
    ]


def _inapplicable(command: Command, nodes: Infrastructure) -> list[Mistake]:
    """Nodes that are there already or are not there, one by one in the order in which they are applied."""
    paths: list[FieldPath] = [("remove", i) for i in range(len(command.remove))]
    paths += [("add", i, "id") for i in range(len(command.add))]
    paths += [("link", i) for i in command.link] + [("data", i) for i in command.data]
    found = []
    for path, single in zip(paths, command.to_change().singles(), strict=True):
        try:
            nodes = nodes.apply(single)
        except InvalidInput as error:
            found.append(Mistake(path, str(error)))
    return found


def _wrong_nodes(command: Command, nodes: Infrastructure) -> list[Mistake]:
    """What would be wrong with the nodes afterwards, and is not already."""
    after = nodes.apply(command.to_change())
    known = {problem.message for problem in check_infrastructure(nodes)}
    places: dict[str | None, FieldPath] = {node.id: ("add", i) for i, node in enumerate(command.add)}
    return [
        Mistake((*places[p.node], *p.field.split(".", 1)) if p.node in places else (), p.message)
        for p in check_infrastructure(after, tuple(nodes.nodes))
        if p.message not in known
    ]


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
