"""Grids: `key=a,b,c` texts, and every combination of their values."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import yaml

from aiotwin_nb.errors import InvalidInput

SEED = "seed"


def split_grid(texts: Iterable[str]) -> dict[str, list[str]]:
    """`["window=3,5", 'kind="a,b",c']` as `{"window": ["3", "5"], "kind": ['"a,b"', "c"]}`.

    Values stay as written, to be read as YAML: commas within quotes, brackets and braces part nothing, `seed=1-5` is a
    range. Raises InvalidInput for a text of another form, a key given twice and a value given twice.
    """
    grid: dict[str, list[str]] = {}
    for text in texts:
        key, equals, listed = (part.strip() for part in text.partition("="))
        if not (key and equals and listed):
            raise InvalidInput(f"--grid {text!r}: must look like KEY=VALUE,VALUE,…, e.g. validation.window=3,5,8")
        if key in grid:
            raise InvalidInput(f"--grid {key}: is there twice; give all its values at once, e.g. {key}=3,5,8")
        grid[key] = _seeds(listed) if key == SEED else _values(listed, key)
        twice = [value for i, value in enumerate(grid[key]) if value in grid[key][:i]]
        if twice:
            raise InvalidInput(f"--grid {key}: the value {twice[0]} is there twice; keep one")
    return grid


def combinations(grid: Mapping[str, Sequence[Any]]) -> Iterator[dict[str, Any]]:
    """Every combination, the last key changing fastest."""
    for values in itertools.product(*grid.values()):
        yield dict(zip(grid, values, strict=True))


def _values(text: str, key: str) -> list[str]:
    """The items of a comma-separated list as they are written."""
    flow = f"[{text}]"
    try:
        node = yaml.compose(flow, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        problem = error.problem if isinstance(error, yaml.MarkedYAMLError) else error
        raise InvalidInput(
            f"--grid {key}: {text!r} is no list of YAML values ({problem}); quote what is text"
        ) from None
    if not isinstance(node, yaml.SequenceNode) or node.end_mark.index != len(flow) or not node.value:
        raise InvalidInput(f"--grid {key}: {text!r} is no list of values; give some, e.g. {key}=3,5,8")
    return [flow[item.start_mark.index : item.end_mark.index].strip() for item in node.value]


def _seeds(text: str) -> list[str]:
    seeds: list[str] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)(?:-(\d+))?\s*", part)
        if match is None:
            raise InvalidInput(f"--grid {SEED}: {text!r} must look like 1-5 or 1,4,7")
        first, last = int(match[1]), int(match[2] or match[1])
        seeds += map(str, range(first, last + 1))
    if not seeds:
        raise InvalidInput(f"--grid {SEED}: {text!r} names no seed; it must look like 1-5 or 1,4,7")
    return seeds
