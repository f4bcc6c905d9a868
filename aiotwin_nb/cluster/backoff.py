"""Pauses between tries that grow, with chance in them, so that many who wait do not come back at the same moment."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class BackOff:
    """Pauses that double from `first` up to `most` seconds; each is drawn from its upper half."""

    first: float = 0.2
    most: float = 15.0
    draw: Callable[[], float] = random.random
    _next: float = field(default=0.0, init=False)

    def pause(self) -> float:
        """Seconds to wait before the next try."""
        self._next = min(self._next * 2, self.most) if self._next else self.first
        return self._next * (0.5 + 0.5 * self.draw())

    def reset(self) -> None:
        """All is well again."""
        self._next = 0.0
