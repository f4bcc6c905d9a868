"""Refusing arguments that a strategy or cost model does not take, before it is called."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from inspect import Parameter
from typing import Any

from aiotwin_nb.errors import InvalidInput, did_you_mean


def check_arguments(
    owner: str, parameters: Sequence[Parameter], args: Mapping[str, Any], provided: Collection[str] = ()
) -> None:
    """Raise InvalidInput for an argument that is not accepted and for one that is needed but missing.

    `provided`: parameters that the caller fills in, which are therefore none of the user's.
    """
    named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) and p.name not in provided]
    allowed = {p.name: p for p in named}
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters)
    known = f"allowed are {', '.join(allowed)}" if allowed else "it takes none"
    for arg in args:
        if arg not in allowed and not open_ended:
            raise InvalidInput(f"{owner} has no argument {arg!r}; {known}.{did_you_mean(arg, allowed)}")
    for arg, parameter in allowed.items():
        if arg not in args and parameter.default is parameter.empty:
            raise InvalidInput(f"{owner} needs the argument {arg!r}; {known}")
