"""What a learner has predicted and solved: course-progress.json beside the notebooks, for this course alone.

Nothing in it says who the learner is.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from aiotwin_nb.errors import InvalidInput
from aiotwin_nb.orchestration.files import alone_in, write_atomic

FILE = "course-progress.json"
Answer = str | float | int
Status = Literal["passed", "wrong", "open"]


class _Plain(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Guess(_Plain):
    """One prediction. `answer`: None until it is made; `truth`: None until it is known; `close`: how near is right."""

    question: str
    unit: str = ""
    answer: Answer | None = None
    truth: Answer | None = None
    close: float = 0

    @property
    def right(self) -> bool | None:
        """Whether the prediction came true; None where it was not made or is not known yet."""
        if self.answer is None or self.truth is None:
            return None
        if isinstance(self.answer, str) or isinstance(self.truth, str):
            return self.answer == self.truth
        return abs(self.answer - self.truth) <= self.close


class Result(_Plain):
    """What came of an exercise's check."""

    status: Status
    message: str


class Notes(_Plain):
    """All about one chapter: predictions and exercises by name, in the order in which they were met."""

    predictions: dict[str, Guess] = Field(default_factory=dict)
    exercises: dict[str, Result] = Field(default_factory=dict)


class Progress(_Plain):
    """All about the course, by chapter."""

    chapters: dict[str, Notes] = Field(default_factory=dict)

    def of(self, chapter: str) -> Notes:
        """A chapter's notes, empty at first; changes to them are changes to this."""
        return self.chapters.setdefault(chapter, Notes())


def read_progress(folder: Path) -> Progress:
    """The progress noted in a folder, empty if there is none; raises InvalidInput when the file is damaged."""
    path = folder / FILE
    try:
        return Progress.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return Progress()
    except (OSError, ValidationError):
        raise InvalidInput(f"{path}: is damaged; restore it from a copy, or move it away to begin anew") from None


@contextmanager
def changing(folder: Path) -> Iterator[Progress]:
    """The progress noted in a folder, for changing it; nobody else changes it meanwhile. Raises InvalidInput."""
    with alone_in(folder):
        progress = read_progress(folder)
        yield progress
        try:
            write_atomic(folder / FILE, progress.model_dump_json(indent=1).encode())
        except OSError as error:
            raise InvalidInput(f"{folder / FILE}: cannot be written: {error.strerror}") from None
