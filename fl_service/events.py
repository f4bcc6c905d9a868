"""What a pipeline of pods tells its orchestrator between results: who is late, back or lost, and what rounds cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

LATE, BACK, LOST = "late", "back", "lost"
JOINED, MOVED, STAYED, USAGE, RESTORED = "joined", "moved", "stayed", "usage", "restored"


@dataclass(frozen=True)
class MemberEvent:
    """Something that happened to a node.

    `kind`: ``late`` (silent, or its connection broke: the round goes on without it), ``back``, ``lost`` (the only one
    that is a reason to reconfigure), ``joined`` (a node that was never there or was lost), ``moved`` and ``stayed``
    (a new parent was reached, or not), ``usage`` (`detail`: round, cpu_seconds, peak_rss_mb of a client in a global
    round), ``restored`` (a new global aggregator was given the last checkpoint, and the round under way is repeated).
    `time`: seconds since the epoch, by the global aggregator's clock.
    """

    kind: str
    node: str
    time: float
    reason: str = ""
    detail: Mapping[str, Any] = field(default_factory=dict)


Listener = Callable[[MemberEvent], None]
