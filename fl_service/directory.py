"""Where everybody is: what every aggregator sees of its children, put together. Pure; its caller holds the lock."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fl_service.events import BACK, JOINED, LATE, LOST
from fl_service.transport.liveness import Standing

_ORDER: Mapping[str, int] = {"here": 0, "away": 1, "late": 2, "lost": 3}


@dataclass(frozen=True)
class Place:
    """Where a node is: below which parent, how it is, and which process it is (`life`).

    `connected`: its stream to that parent is open.
    """

    parent: str
    standing: Standing
    life: str
    connected: bool
    reason: str

    @property
    def may_return(self) -> bool:
        """True while its connection is broken but it is not given up."""
        return not self.connected and self.standing in ("away", "late")


class Directory:
    """The place of every node, from the views of the global aggregator (`root`) and of the local ones."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._views: dict[str, Mapping[str, Mapping[str, Any]]] = {root: {}}
        self._told: dict[str, str] = {}

    def saw(self, parent: str, view: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str, str]]:
        """Take over a parent's view of all its children; returns what is news, as (kind of event, node, reason)."""
        self._views[parent] = view
        if parent == self._root:
            for name, child in view.items():
                if child["standing"] == "lost":
                    self._views.pop(name, None)  # whoever was below it is nowhere until it turns up elsewhere
        return list(self._news())

    def place(self, name: str) -> Place | None:
        """Return where a node is; None for one that is nowhere."""
        places = [self._place(parent, view[name]) for parent, view in self._views.items() if name in view]
        return min(places, key=lambda place: _ORDER[place.standing], default=None)

    def _place(self, parent: str, child: Mapping[str, Any]) -> Place:
        standing, connected = child["standing"], bool(child["connected"])
        if parent != self._root and standing == "here" and (reach := self._reach(parent)) != "here":
            above = self._views[self._root].get(parent, {})  # nobody can say more of it than of its parent
            standing, connected = ("away" if reach == "lost" else reach), bool(above.get("connected"))
        return Place(parent, standing, str(child.get("life", "")), connected, str(child.get("reason", "")))

    def _reach(self, parent: str) -> Standing:
        standing: Standing = self._views[self._root].get(parent, {}).get("standing", "lost")
        return standing

    def _news(self) -> Iterator[tuple[str, str, str]]:
        for name in sorted({name for view in self._views.values() for name in view}):
            place = self.place(name)
            if place is None or (place.parent != self._root and self._reach(place.parent) != "here"):
                continue
            now = {"away": "late"}.get(place.standing, place.standing)
            before, self._told[name] = self._told.get(name), now
            if now == before:
                continue
            if now == "here":
                yield (JOINED if before is None else BACK), name, place.reason
            else:
                yield (LATE if now == "late" else LOST), name, place.reason
