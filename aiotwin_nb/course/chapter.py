"""A chapter as its notebook uses it: predict first, reveal, check, and a summary at the end."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from IPython.display import display

from aiotwin_nb.course.document import chapter_file, chapter_names, exercises, read
from aiotwin_nb.course.examine import examine
from aiotwin_nb.course.progress import Answer, Guess, Notes, Result, changing, read_progress
from aiotwin_nb.course.report import MARKS, guess_words, report
from aiotwin_nb.errors import InvalidInput, did_you_mean
from aiotwin_nb.notebook.results import plain

CHECK = "application/vnd.aiotwin.check+json"
MODES = ("smoke", "full")
T = TypeVar("T")


class Told:
    """Words in a cell's output, with data for whoever reads the notebook's file."""

    def __init__(self, markdown: str, data: dict[str, Any] | None = None) -> None:
        self.markdown, self.data = markdown, data or {}

    def __repr__(self) -> str:
        return self.markdown.replace("**", "").replace("`", "")

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        return {"text/markdown": self.markdown, "text/plain": repr(self), **self.data}


class Chapter:
    """One chapter of the course. What is predicted and solved is noted in `folder`, the notebook's by default.

    `mode`: smoke (a minute at most) or full (more seeds). Raises InvalidInput for a chapter or mode that does not
    exist.
    """

    def __init__(self, name: str, mode: str = "smoke", folder: str | Path = ".") -> None:
        chapter_file(name)
        if mode not in MODES:
            raise InvalidInput(f"mode: {mode!r} must be one of {', '.join(MODES)}.{did_you_mean(mode, MODES)}")
        self.name, self.mode, self.folder = name, mode, Path(folder)
        self._results: dict[str, Result] = {}

    def __repr__(self) -> str:
        return f"<Chapter {self.name}, mode {self.mode}>"

    def pick(self, smoke: T, full: T) -> T:
        """One value for the mode smoke, another one for full."""
        return smoke if self.mode == "smoke" else full

    @property
    def notes(self) -> Notes:
        """What has been predicted and solved so far."""
        return read_progress(self.folder).of(self.name)

    def predict(
        self,
        name: str,
        answer: Answer | None = None,
        *,
        question: str,
        choices: tuple[str, ...] = (),
        unit: str = "",
    ) -> None:
        """Ask for a prediction, or commit one: `answer`, one of `choices` or, where there are none, a number.

        It can be changed until the truth is revealed, never after that. Without an answer a form is shown.
        """
        if answer is None and name not in self.notes.predictions:
            self._write(name, Guess(question=question, unit=unit))
        if answer is not None:
            self._commit(name, answer, question, choices, unit)
            return
        guess = self.notes.predictions[name]
        if guess.answer is not None:
            _tell(Told(guess_words(guess)))
            return
        allowed = f"one of {', '.join(f'`{choice}`' for choice in choices)}" if choices else f"a number ({unit})"
        _tell(Told(f"{MARKS['open']} **Predict first.** {question}  \nPut {allowed} in the place of `None`, or:"))
        self._form(name, question, choices, unit)

    def reveal(self, name: str, truth: Answer, *, close: float = 0) -> None:
        """Tell what happened and score the prediction; `close`: how far off a number may be to count as right."""
        value = plain(truth, name)
        with changing(self.folder) as progress:
            guess = progress.of(self.name).predictions.setdefault(name, Guess(question=name))
            guess.truth, guess.close = value, close
        _tell(Told(guess_words(guess)))

    def check(self, exercise: str, attempt: Any) -> None:
        """Examine an exercise and say what is wrong with it, if anything; never raises because of the attempt."""
        result = self._results[exercise] = examine(f"{self.name}/{exercise}", attempt)
        with changing(self.folder) as progress:
            progress.of(self.name).exercises[exercise] = result
        data = {"chapter": self.name, "exercise": exercise, **result.model_dump()}
        words = {"passed": "right, well done.", "open": f"not done yet. {result.message}", "wrong": result.message}
        _tell(Told(f"{MARKS[result.status]} **{exercise}**: {words[result.status]}", {CHECK: data}))

    def needs(self, *exercises: str) -> None:
        """Say that the rest of a cell uses what these exercises ask for.

        Raises NotImplementedError naming the first that this notebook has not solved since it was opened.
        """
        for name in exercises:
            result = self._results.get(name)
            if result is None or result.status != "passed":
                why = "run its check" if result is None else result.message
                raise NotImplementedError(f"Exercise {name} comes first: {why}")

    def summary(self) -> None:
        """Close the chapter: what was predicted and what happened, which exercises are done and which are left."""
        notes = self.notes
        expected = exercises(read(chapter_file(self.name)))
        _tell(Told(report({self.name: notes}, {self.name: expected})))

    def certificate(self) -> None:
        """Close the course: the same for all chapters that were worked through in this folder."""
        expected = {name: found for name in chapter_names() if (found := exercises(read(chapter_file(name))))}
        _tell(Told(report(read_progress(self.folder).chapters, expected)))

    def _commit(self, name: str, answer: Answer, question: str, choices: tuple[str, ...], unit: str) -> None:
        if problem := _unfit(answer, choices):
            _tell(Told(f"{MARKS['wrong']} {problem}"))
            return
        known = self.notes.predictions.get(name)
        if known is not None and known.truth is not None:
            _tell(Told(f"{guess_words(known)} It has been revealed, so it stays; `aiotwin reset` begins anew."))
            return
        self._write(name, guess := Guess(question=question, unit=unit, answer=answer))
        _tell(Told(guess_words(guess)))

    def _write(self, name: str, guess: Guess) -> None:
        with changing(self.folder) as progress:
            progress.of(self.name).predictions[name] = guess

    def _form(self, name: str, question: str, choices: tuple[str, ...], unit: str) -> None:
        from aiotwin_nb.course.form import prediction_form
        from aiotwin_nb.widgets.still import has_widgets

        if has_widgets():
            _tell(prediction_form(choices, unit, lambda answer: self._sealed(name, answer, question, unit)))

    def _sealed(self, name: str, answer: Answer, question: str, unit: str) -> str:
        """Keep what the form gave, unless it is too late; returns what to say."""
        known = self.notes.predictions.get(name)
        if known is None or known.truth is None:
            self._write(name, known := Guess(question=question, unit=unit, answer=answer))
        return guess_words(known)


def _tell(what: Any) -> None:
    display(what)  # type: ignore[no-untyped-call]


def _unfit(answer: Any, choices: tuple[str, ...]) -> str | None:
    """Why an answer is none; None if it is one."""
    if choices and answer not in choices:
        return f"{answer!r} is not among the choices {', '.join(choices)}.{did_you_mean(str(answer), choices)}"
    if not choices and (isinstance(answer, bool) or not isinstance(answer, int | float)):
        return f"{answer!r} is no number; give one, without quotes and unit."
    return None
