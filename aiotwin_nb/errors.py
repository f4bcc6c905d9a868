"""The errors a user can meet: one root, few leaves, every message says what to do next."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class AIoTwinError(Exception):
    """Root of every error raised on purpose; the command line prints it without a traceback.

    `exit_code` is what `aiotwin` exits with: 1 for a failure while running, 2 for bad input.
    """

    exit_code = 1


class InvalidInput(AIoTwinError):
    """A file, option or argument is wrong: nothing was started and nothing was written."""

    exit_code = 2


class MissingDependency(InvalidInput):
    """An optional package is not installed."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs the package {package!r}, which is not installed. "
            f"Install it with: pip install 'aiotwin-nb[{extra}]'"
        )


class InfeasiblePlan(AIoTwinError):
    """No configuration satisfies the constraints; the message names the one that is violated."""

    exit_code = 2


class RunLocked(InvalidInput):
    """Another process owns the run directory."""


class RunFailed(AIoTwinError):
    """The run could not go on; its directory can be resumed once the cause is mended."""


def did_you_mean(word: str, allowed: Iterable[str]) -> str:
    """Return `` Did you mean 'x'?`` for the closest allowed word, or an empty string."""
    close = get_close_matches(str(word), [str(a) for a in allowed], n=1, cutoff=0.6)
    return f" Did you mean {close[0]!r}?" if close else ""
