"""Who is there: late, back, lost. A pure state machine; the clock is given to it.

A heartbeat that does not come makes a member *late*: the round goes on without it, and nothing else happens. A late
member whose heartbeat comes is *back*. *Lost* is one whose connection broke and did not come back for a while, that
was silent for long, or that somebody who knows has told us is gone. Only lost is a reason to reconfigure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from fl_service.errors import ConfigError, unknown

Standing = Literal["here", "late", "away", "lost"]


@dataclass(frozen=True)
class Timings:
    """Seconds of everything that is waited for.

    `beat`: between heartbeats. `late`: silence that makes a member late. `lost_broken`: from a broken connection to
    lost. `lost_silent`: silence to lost. `move`: to reach a new parent before falling back to the old one. `train`:
    for one local round of a client. `setup`: to prepare data and model. `gather`: for members to be in place when a
    plan begins. `refuge`: a parent out of reach before a client turns to its refuge. `evaluate`: for an evaluation,
    the evaluator's restart included.
    """

    beat: float = 1.0
    late: float = 4.0
    lost_broken: float = 10.0
    lost_silent: float = 30.0
    move: float = 5.0
    train: float = 600.0
    setup: float = 120.0
    gather: float = 60.0
    refuge: float = 5.0
    evaluate: float = 120.0

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Timings:
        """Check a mapping of seconds; raises ConfigError."""
        allowed = [f.name for f in fields(cls)]
        for key, value in values.items():
            if key not in allowed:
                raise ConfigError(unknown("timings", key, allowed))
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e6:
                raise ConfigError(f"timings.{key}: {value!r} is not allowed; it must be seconds above 0")
        return cls(**values)


@dataclass(frozen=True)
class Transition:
    """A member's new standing and why."""

    member: str
    standing: Standing
    reason: str


@dataclass
class _Member:
    standing: Standing
    heard: float
    broke: float | None = None


class Liveness:
    """The standing of every member that has joined.

    ``here``; ``away`` when its connection broke, which may be a matter of a moment; ``late`` when it was silent or away
    for so long that nobody waits for it; ``lost``. Members stay known after they are lost, so that it is told once;
    `forget` drops those that are no concern any more.
    """

    def __init__(self, timings: Timings) -> None:
        self._timings = timings
        self._members: dict[str, _Member] = {}

    def standings(self) -> dict[str, Standing]:
        """{member: its standing}."""
        return {name: member.standing for name, member in self._members.items()}

    def joined(self, name: str, now: float) -> list[Transition]:
        """Note that a member's connection is there (again)."""
        known = self._members.get(name)
        self._members[name] = _Member("here", now)
        return [] if known is not None and known.standing == "here" else [Transition(name, "here", "it connected")]

    def heard(self, name: str, now: float) -> list[Transition]:
        """Note when the last sign of life came."""
        member = self._members.get(name)
        if member is None or member.broke is not None or member.standing == "lost" or now <= member.heard:
            return []
        member.heard = now
        return [] if member.standing == "here" else self._become(name, "here", "its heartbeat came again")

    def broke(self, name: str, now: float, reason: str = "its connection broke") -> list[Transition]:
        """Note that a member's connection is gone."""
        member = self._members.get(name)
        if member is None or member.broke is not None or member.standing == "lost":
            return []
        member.broke = now
        return self._become(name, "away", reason) if member.standing == "here" else []

    def told_lost(self, name: str, reason: str) -> list[Transition]:
        """Note what somebody who knows has said: the pod or the node is gone."""
        member = self._members.get(name)
        if member is not None and member.standing == "lost":
            return []
        self._members.setdefault(name, _Member("lost", 0.0))
        return self._become(name, "lost", reason)

    def forget(self, name: str) -> None:
        """Stop watching a member: it was moved or is not part of the run any more."""
        self._members.pop(name, None)

    def excuse(self, seconds: float) -> None:
        """Count some seconds for nobody: we were frozen or starved ourselves and could not hear them."""
        for member in self._members.values():
            member.heard += seconds
            if member.broke is not None:
                member.broke += seconds

    def tick(self, now: float) -> list[Transition]:
        """Return what has become of the members by now."""
        t = self._timings
        transitions: list[Transition] = []
        for name, member in self._members.items():
            silent = now - member.heard
            if member.standing == "lost":
                continue
            if member.broke is not None and now - member.broke >= t.lost_broken:
                transitions += self._become(name, "lost", f"its connection broke {t.lost_broken:g} s ago")
            elif member.broke is None and silent >= t.lost_silent:
                transitions += self._become(name, "lost", f"no heartbeat for {t.lost_silent:g} s")
            elif member.standing == "away" and member.broke is not None and now - member.broke >= t.late:
                transitions += self._become(name, "late", f"its connection broke {t.late:g} s ago")
            elif member.standing == "here" and silent >= t.late:
                transitions += self._become(name, "late", f"no heartbeat for {t.late:g} s")
        return transitions

    def _become(self, name: str, standing: Standing, reason: str) -> list[Transition]:
        self._members[name].standing = standing
        return [Transition(name, standing, reason)]
