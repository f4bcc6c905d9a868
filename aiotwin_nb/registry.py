"""Named things that users may add to: strategies, cost models, policies, trends.

A package adds its own through an entry point of the registry's group in its pyproject.toml, e.g.
`[project.entry-points."aiotwin_nb.strategies"] my_strategy = "my_package:my_strategy"`.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Generic, TypeVar

from aiotwin_nb.errors import InvalidInput, did_you_mean

T = TypeVar("T")


class Registry(Generic[T]):
    """Things by name: built-in ones by decorator, users' ones by entry point (loaded when first asked for)."""

    def __init__(self, kind: str, group: str) -> None:
        self.kind = kind
        self.group = group
        self._items: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Return a decorator that registers what it decorates under a name."""

        def add(item: T) -> T:
            if name in self._items:
                raise InvalidInput(f"{self.kind} {name!r} is registered twice; choose another name")
            self._items[name] = item
            return item

        return add

    def names(self) -> list[str]:
        """All known names, built-in ones first."""
        return list(dict.fromkeys([*self._items, *(e.name for e in entry_points(group=self.group))]))

    def get(self, name: str) -> T:
        """Return the thing with a name; raises InvalidInput with what is allowed."""
        if name not in self._items:
            for entry in entry_points(group=self.group, name=name):
                self._items[name] = entry.load()
        try:
            return self._items[name]
        except KeyError:
            allowed = ", ".join(self.names())
            raise InvalidInput(
                f"unknown {self.kind} {name!r}; known are {allowed}.{did_you_mean(name, self.names())}"
            ) from None
