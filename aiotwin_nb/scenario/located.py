"""YAML with line numbers: plain values plus the line on which every field stands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from aiotwin_nb.errors import InvalidInput

FieldPath = tuple[str | int, ...]


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
    loader = yaml.SafeLoader(text)
    try:
        root = loader.get_single_node()
        value = None if root is None else _build(loader, root, (), lines, file)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"{file}:{mark.line + 1}" if mark else file
        raise InvalidInput(f"{where}: not valid YAML: {error.problem or error}") from None
    except yaml.YAMLError as error:
        raise InvalidInput(f"{file}: not valid YAML: {error}") from None
    finally:
        loader.dispose()
    return Located(file, value, lines)


def _build(loader: yaml.SafeLoader, node: yaml.Node, path: FieldPath, lines: dict[FieldPath, int], file: str) -> Any:
    lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        loader.flatten_mapping(node)
        result: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            key = loader.construct_object(key_node, deep=True)
            line = key_node.start_mark.line + 1
            if not isinstance(key, str | int | float):
                raise InvalidInput(f"{file}:{line}: {dotted(path)}: a key must be a word or a number, not {key!r}")
            if key in result:
                raise InvalidInput(f"{file}:{line}: {dotted((*path, str(key)))}: is there twice; keep one")
            lines[(*path, str(key))] = line
            result[key] = _build(loader, value_node, (*path, str(key)), lines, file)
        return result
    if isinstance(node, yaml.SequenceNode):
        return [_build(loader, item, (*path, i), lines, file) for i, item in enumerate(node.value)]
    return loader.construct_object(node, deep=True)
