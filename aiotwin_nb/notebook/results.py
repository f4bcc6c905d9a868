"""What a notebook records, and the results.json made of it.

A notebook records with `record`, which shows the values and keeps them in the cell's output under a MIME type of its
own; nothing but the notebook's file carries them, so they are there in JupyterLab, in saved notebooks and headless.
"""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Iterable, Mapping
from decimal import Decimal
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from aiotwin_nb import __version__
from aiotwin_nb.errors import InvalidInput
from aiotwin_nb.notebook.parameters import Parameter
from aiotwin_nb.scenario import number

MIME = "application/vnd.aiotwin.results+json"
_VERSIONS_OF = ("flwr", "numpy", "torch")


def record(**values: Any) -> None:
    """Keep values as results of this notebook; `aiotwin notebook` writes them to a results.json.

    Values: numbers, text, true and false, None, lists and mappings of them, numpy's numbers and arrays, pandas tables
    (as lists of rows). A name recorded again replaces the former value. No times, paths or run names, please: the same
    parameters should give the same file. Raises InvalidInput for what JSON has no form for.
    """
    from IPython.display import display

    kept = {name: plain(value, name) for name, value in values.items()}
    display(_Recorded(kept))  # type: ignore[no-untyped-call]


class _Recorded:
    def __init__(self, values: dict[str, Any]) -> None:
        self.values = values

    def __repr__(self) -> str:
        shown = ", ".join(f"{name} = {_shortened(json.dumps(value))}" for name, value in self.values.items())
        return f"recorded: {shown}"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        return {MIME: self.values, "text/plain": repr(self)}


def recorded(cells: Iterable[Any]) -> dict[str, Any]:
    """Everything that an executed notebook's cells recorded."""
    values: dict[str, Any] = {}
    for cell in cells:
        for output in cell.get("outputs", ()):
            values |= output.get("data", {}).get(MIME, {})
    return values


def results(
    notebook: str, declared: Mapping[str, Parameter], given: Mapping[str, Any], values: Mapping[str, Any]
) -> dict[str, Any]:
    """The content of a results.json: nothing in it depends on when or where the notebook was executed.

    `parameters`: those given, and the defaults that are plain values.
    """
    defaults = {p.name: p.default for p in declared.values() if p.known}
    parameters = plain({**defaults, **given}, "parameters")
    return {
        "notebook": notebook,
        "parameters": parameters,
        "seed": parameters.get("seed"),
        "results": dict(values),
        "versions": {"aiotwin-nb": __version__, "python": platform.python_version(), **_versions()},
    }


def write_results(path: Path, content: Mapping[str, Any]) -> None:
    """Write a results.json."""
    path.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def _versions() -> dict[str, str]:
    found = {}
    for package in _VERSIONS_OF:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def plain(value: Any, name: str) -> Any:
    """A value as JSON has it, None for what is no number; raises InvalidInput naming what has no form there."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, Decimal):
        return number(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(item, f"{name}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, f"{name}[{i}]") for i, item in enumerate(value)]
    if hasattr(value, "to_dict"):  # a pandas table, whose rows are results, or a series
        return plain(value.to_dict(orient="records") if hasattr(value, "columns") else value.to_dict(), name)
    if hasattr(value, "tolist"):  # numpy
        return plain(value.tolist(), name)
    raise InvalidInput(
        f"record: {name} is a {type(value).__name__}; "
        "give numbers, text, lists, mappings, numpy arrays or pandas tables"
    )


def _shortened(text: str, most: int = 60) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
