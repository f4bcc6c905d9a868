"""YAML with line numbers: plain values plus the line on which every field stands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from aiotwin_nb.errors import InvalidInput

FieldPath = tuple[str | int, ...]


class _Loader(yaml.SafeLoader):
    """YAML as in version 1.2, where only true and false are truth values; off, on, yes and no are words."""


_BOOL = "tag:yaml.org,2002:bool"
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in pairs if tag != _BOOL or first in "tTfF"]
    for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


@dataclass(frozen=True)
class Located:
    """A parsed YAML document: `value`, and `lines` from a field's path to its line (from 1)."""

    file: str
    value: Any
    lines: Mapping[FieldPath, int]

    def line_of(self, path: Sequence[str | int]) -> int | None:
        """Line of a field, or of the nearest field around it."""
        for end in range(len(path), -1, -1):
            if (line := self.lines.get(tuple(path[:end]))) is not None:
                return line
        return None

    def error(self, path: Sequence[str | int], message: str) -> str:
        """One message with file, line and field."""
        line = self.line_of(path)
        where = f"{self.file}:{line}" if line is not None else self.file
        return f"{where}: {dotted(path)}: {message}" if path else f"{where}: {message}"


def dotted(path: Sequence[str | int]) -> str:
    """`("nodes", 3, "links")` as `nodes[3].links`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def read_yaml(path: Path) -> Located:
    """Read a YAML file; raises InvalidInput naming file and line when it cannot be read or parsed."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise InvalidInput(f"{path}: is not text in UTF-8; a scenario is a YAML file") from None
    except OSError as error:
        raise InvalidInput(f"{path}: cannot be read: {error.strerror}") from None
    return parse_yaml(text, str(path))


def parse_yaml(text: str, file: str) -> Located:
    """Parse YAML text; `file` is used in messages. Duplicate keys are errors."""
    lines: dict[FieldPath, int] = {}
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
        value = None if root is None else _build(loader, root, (), lines, file)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"{file}:{mark.line + 1}" if mark else file
        raise InvalidInput(f"{where}: not valid YAML: {error.problem or error}") from None
    except RecursionError:
        raise InvalidInput(f"{file}: not valid YAML: it is nested without end") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date or number that looks like one and is none
        raise InvalidInput(f"{file}: not valid YAML: {' '.join(str(error).split())}") from None
    return Located(file, value, lines)


def parse_value(text: str, origin: str) -> Any:
    """Read one value given on the command line as YAML (5, 0.1, [n1, n2], null); `origin` is used in messages."""
    return parse_yaml(text, origin).value


def _build(loader: yaml.SafeLoader, node: yaml.Node, path: FieldPath, lines: dict[FieldPath, int], file: str) -> Any:
    lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        own = {id(key) for key, _ in node.value}
        loader.flatten_mapping(node)  # `<<: *other` puts the other's keys first; the mapping's own come after and win
        result: dict[Any, Any] = {}
        written: set[Any] = set()
        for key_node, value_node in node.value:
            key = loader.construct_object(key_node, deep=True)
            line = key_node.start_mark.line + 1
            if not isinstance(key, str | int | float):
                raise InvalidInput(f"{file}:{line}: {dotted(path)}: a key must be a word or a number, not {key!r}")
            if key in written:
                raise InvalidInput(f"{file}:{line}: {dotted((*path, str(key)))}: is there twice; keep one")
            if id(key_node) in own:
                written.add(key)
            lines[(*path, str(key))] = line
            result[key] = _build(loader, value_node, (*path, str(key)), lines, file)
        return result
    if isinstance(node, yaml.SequenceNode):
        return [_build(loader, item, (*path, i), lines, file) for i, item in enumerate(node.value)]
    return loader.construct_object(node, deep=True)
