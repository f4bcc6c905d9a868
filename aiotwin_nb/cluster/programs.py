"""Other people's programs: run, told to the user before, and their mistakes in their own words."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from aiotwin_nb.errors import AIoTwinError, InvalidInput

Tell = Callable[[str], None]
LAST_WORDS = 5  # lines of a failed program that are repeated


class ProgramFailed(AIoTwinError):
    """A program ended with an error. `code`: its exit code."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Tool:
    """A program that is needed, and how to get it."""

    name: str
    how: str

    def lacking(self) -> str:
        """What is missing, with the command that gets it; empty when it is there."""
        return "" if shutil.which(self.name) else f"{self.name}: {self.how}"


def need(tools: Sequence[Tool]) -> None:
    """Raise InvalidInput naming the programs that are missing and how to get them."""
    if lacks := [text for tool in tools if (text := tool.lacking())]:
        raise InvalidInput("not installed here: " + "; ".join(lacks))


def run(command: Sequence[str], *, tell: Tell, script: str | None = None, seconds: float = 900) -> str:
    """Run a program to its end, having told the command; returns what it wrote on standard output.

    `script`: its standard input, which is not told: it may hold a secret. Raises ProgramFailed with its last words.
    """
    words = shlex.join(command)
    tell(f"$ {words}")
    try:
        done = subprocess.run(
            list(command), input=script or "", capture_output=True, text=True, timeout=seconds, check=False
        )
    except OSError as error:
        raise AIoTwinError(f"{command[0]}: cannot be started: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise AIoTwinError(f"{words}: did not end within {seconds:g} s") from None
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()[-LAST_WORDS:]
        last_words = " / ".join(said) or "it said nothing"
        raise ProgramFailed(f"{words}: failed ({done.returncode}): {last_words}", done.returncode)
    return done.stdout


def succeeds(command: Sequence[str], seconds: float = 60) -> bool:
    """Whether a program that only looks ends well."""
    try:
        return subprocess.run(list(command), capture_output=True, timeout=seconds, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False
