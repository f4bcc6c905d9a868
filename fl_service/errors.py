"""The errors of the FL service: each message says what is wrong, where, what is allowed and what to do."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class FLServiceError(Exception):
    """Root of every error that the FL service raises on purpose."""


class TaskError(FLServiceError):
    """A learning task, its data or its settings are wrong."""


class StrategyError(FLServiceError):
    """A Flower strategy is unknown, has wrong arguments, or cannot be used here."""


class CheckpointError(FLServiceError):
    """A checkpoint cannot be read or does not fit the run."""


class ConfigError(FLServiceError):
    """The configuration of a process or pod is wrong."""


class CertificateError(FLServiceError):
    """A certificate is missing, unreadable or not the one that it should be."""


class TransportError(FLServiceError):
    """A call to another process came to nothing: says to whom, for what, and what was waited for."""


class RestartedError(TransportError):
    """The other process is a new one: it knows nothing of what its predecessor was told."""


class NotStartedError(TransportError):
    """The global aggregator knows of no run: it is a new process."""


class OutOfStepError(TransportError):
    """The global aggregator stands at another round than the one that the orchestrator goes on from."""


def listed(words: Iterable[object]) -> str:
    """Return words for a message: ``a, b, c``, or ``none``."""
    return ", ".join(str(word) for word in words) or "none"


def unknown(field: str, value: object, allowed: Iterable[str]) -> str:
    """Return the message for a value that is not one of the allowed ones, with the closest one if there is any."""
    allowed = list(allowed)
    close = get_close_matches(str(value), allowed, n=1, cutoff=0.6)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return f"{field}: {value!r} is not known; allowed: {listed(allowed)}.{hint}"
