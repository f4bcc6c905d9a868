"""How frozen dataclasses are written into a journal: by their class name in snake case and their fields."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import TypeAdapter


class Vocabulary:
    """The kinds of events that a journal may hold."""

    def __init__(self, kinds: Iterable[type[Any]]) -> None:
        self._kinds = {re.sub(r"(?<!^)(?=[A-Z])", "_", kind.__name__).lower(): kind for kind in kinds}
        self._names = {kind: name for name, kind in self._kinds.items()}
        self._adapters: dict[str, TypeAdapter[Any]] = {}

    def encode(self, event: Any) -> tuple[str, dict[str, Any]]:
        """An event's name and its fields as strict JSON values (decimals as text, so that nothing is rounded)."""
        name = self._names[type(event)]
        return name, _strict(self._adapter(name).dump_python(event, mode="json"))

    def decode(self, name: str, data: Mapping[str, Any]) -> Any:
        """The event of a journal line; raises KeyError for a name that is not known."""
        return self._adapter(name).validate_python(data)

    def _adapter(self, name: str) -> TypeAdapter[Any]:
        if name not in self._adapters:
            self._adapters[name] = TypeAdapter(self._kinds[name])
        return self._adapters[name]


def _strict(value: Any) -> Any:
    """Numbers that JSON does not know (NaN, Infinity) as text; pydantic reads them back."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {str(k): _strict(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(v) for v in value]
    return value
