"""Examining what a learner wrote: a check says what is wrong, never how to do it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from aiotwin_nb.course.progress import Result
from aiotwin_nb.registry import Registry

Check = Callable[..., None]
checks: Registry[Check] = Registry("exercise", "aiotwin_nb.exercises")


class Wrong(Exception):
    """An attempt is not right; the message says what about it, without giving the solution."""


def expect(holds: object, message: str) -> None:
    """Raise Wrong unless something holds."""
    if not holds:
        raise Wrong(message)


def call(attempt: Any, *arguments: Any, **named: Any) -> Any:
    """Call a learner's function with copies of the arguments; what it raises is told in a sentence.

    NotImplementedError passes: the exercise has not been begun.
    """
    name = getattr(attempt, "__name__", None)
    expect(callable(attempt), f"give the function itself, not {type(attempt).__name__} {attempt!r}")
    try:
        return attempt(*copy.deepcopy(arguments), **copy.deepcopy(named))
    except (NotImplementedError, Wrong):
        raise
    except Exception as error:
        raise Wrong(f"{name} fails with {type(error).__name__}: {error}") from error


def examine(exercise: str, attempt: Any) -> Result:
    """Check an attempt at an exercise; raises InvalidInput for an exercise that does not exist.

    `exercise`: chapter and name, such as ``02-hfl-from-scratch/average``.
    """
    from aiotwin_nb.course import checks as _all  # noqa: F401 - registers them

    check = checks.get(exercise)
    try:
        check(attempt)
    except NotImplementedError as stub:
        return Result(status="open", message=str(stub) or "not begun")
    except Wrong as wrong:
        return Result(status="wrong", message=str(wrong))
    except Exception as error:  # what was returned is so odd that the check itself stumbles over it
        return Result(status="wrong", message=f"what comes back is not what was asked for ({error})")
    return Result(status="passed", message="right")
