"""What a notebook declares in its cell tagged `parameters`, and whether given values fit.

A parameter is a plain assignment. Its type is its annotation's (`budget: int | None = 100000`), else that of its
default value; a default of None and one that is no plain value (`2 * rounds`) take anything.
"""

from __future__ import annotations

import ast
import json
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError

from aiotwin_nb.errors import InvalidInput, did_you_mean
from aiotwin_nb.scenario import parse_value, shipped

_UNKNOWN = object()
_SCALARS = {int: "a whole number", float: "a number", bool: "true or false", str: "text", type(None): "null"}


@dataclass(frozen=True)
class Parameter:
    """One declared parameter. `type`: None for anything; `default`: only `known` if it is a plain value."""

    name: str
    type: Any
    default: Any
    known: bool

    def allowed(self) -> str:
        """What the parameter takes, in words."""
        return "anything" if self.type is None else _words(self.type)

    def accepts(self, value: Any) -> bool:
        """Whether a value, as YAML gives it, is of the parameter's type; a whole number is a number too."""
        if self.type is None:
            return True
        try:
            TypeAdapter(self.type).validate_json(json.dumps(value), strict=True)
        except (ValidationError, TypeError):  # TypeError: YAML's dates, of which JSON knows nothing
            return False
        return True


def declared_parameters(notebook: Path) -> dict[str, Parameter]:
    """The parameters of a notebook in their order; raises InvalidInput for a file that is no notebook."""
    import nbformat

    if not notebook.is_file():
        names = sorted(path.name for path in shipped("notebooks").glob("*.ipynb"))
        raise InvalidInput(f"{notebook}: there is no such file; shipped are {', '.join(names)}.")
    try:
        document = nbformat.read(notebook, 4)  # type: ignore[no-untyped-call]
    except Exception as error:  # nbformat and json raise many kinds for a file that is no notebook
        raise InvalidInput(f"{notebook}: is not a notebook: {error}") from None
    tagged = (cell for cell in document.cells if "parameters" in cell.metadata.get("tags", ()))
    cell = next(tagged, None)  # the first one, as papermill has it
    return {} if cell is None else {parameter.name: parameter for parameter in _in_cell(cell.source, notebook)}


def check_parameters(notebook: Path, declared: Mapping[str, Parameter], given: Mapping[str, Any], option: str) -> None:
    """Raise InvalidInput for a name that the notebook does not declare or a value of another type."""
    for name, value in given.items():
        if name not in declared:
            there = ", ".join(declared) or "none"
            raise InvalidInput(
                f"{option} {name}: {notebook.name} has no such parameter; it has {there}."
                + did_you_mean(name, declared)
            )
        if not declared[name].accepts(value):
            others = ", ".join(f"{p.name} ({p.allowed()})" for p in declared.values())
            raise InvalidInput(
                f"{option} {name}: is {value!r}; it must be {declared[name].allowed()}. {notebook.name} has {others}."
            )


def read_parameters(declared: Mapping[str, Parameter], pairs: Iterable[tuple[str, str]], option: str) -> dict[str, Any]:
    """Values from texts of the command line, read as YAML (5, 0.1, [n1, n2], null).

    Where text is wanted and YAML would see a number, a date or a truth value in it, the text itself is meant.
    """
    values = {}
    for name, text in pairs:
        value = parse_value(text, f"{option} {name}")
        wants_text = name in declared and not declared[name].accepts(value) and declared[name].accepts(text)
        is_plain = value is not None and not isinstance(value, list | dict)
        values[name] = text if wants_text and is_plain else value
    return values


def _in_cell(source: str, notebook: Path) -> list[Parameter]:
    from IPython.core.inputtransformer2 import TransformerManager

    try:
        plain = TransformerManager().transform_cell(source)  # type: ignore[no-untyped-call]
        statements = ast.parse(plain).body
    except SyntaxError as error:
        raise InvalidInput(
            f"{notebook}: its cell tagged 'parameters' is not valid Python: line {error.lineno}: {error.msg}"
        ) from None
    found = []
    for statement in statements:
        if isinstance(statement, ast.Assign):
            targets, annotation = statement.targets, None
        elif isinstance(statement, ast.AnnAssign):
            targets, annotation = [statement.target], statement.annotation
        else:
            continue
        names = [target.id for target in targets if isinstance(target, ast.Name)]
        found += [_parameter(name, annotation, statement.value) for name in names]
    return found


def _parameter(name: str, annotation: ast.expr | None, value: ast.expr | None) -> Parameter:
    try:
        default = _UNKNOWN if value is None else ast.literal_eval(value)
    except ValueError:
        default = _UNKNOWN
    known = default is not _UNKNOWN
    declared = _annotated(annotation) if annotation is not None else None
    if declared is None and known and default is not None:
        declared = _type_of(default)
    return Parameter(name, declared, default if known else None, known)


def _type_of(default: Any) -> Any:
    """The type of a default value; for a list of numbers, or of texts, also that of its items."""
    kinds = {type(item) for item in default} if isinstance(default, list) else set()
    if kinds == {int, float}:
        return list[float]
    return list[kinds.pop()] if len(kinds) == 1 else type(default)  # type: ignore[misc]


def _annotated(annotation: ast.expr) -> Any:
    """The type an annotation of built-in and typing names stands for; None for any other annotation."""
    text = annotation.value if isinstance(annotation, ast.Constant) else ast.unparse(annotation)
    known = {name: getattr(typing, name) for name in typing.__all__}
    try:
        kind = eval(str(text), {**known, "typing": typing})
        TypeAdapter(kind)
    except (NameError, AttributeError, TypeError, SyntaxError, PydanticUserError):
        return None
    return None if kind is typing.Any else kind


def _words(kind: Any) -> str:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Literal:
        return " or ".join(json.dumps(choice) for choice in arguments)
    if arguments and type(None) in arguments:  # a union with None
        return " or ".join([_words(a) for a in arguments if a is not type(None)] + ["null"])
    if origin is list:
        return f"a list, each item {_words(arguments[0])}"
    if origin in (tuple, set) or kind in (list, tuple, set):
        return "a list, e.g. [1, 2]"
    if origin is dict or kind is dict:
        return "a mapping, e.g. {a: 1}"
    if origin is not None:
        return " or ".join(_words(a) for a in arguments) or str(kind)
    return _SCALARS.get(kind) or str(getattr(kind, "__name__", kind))
