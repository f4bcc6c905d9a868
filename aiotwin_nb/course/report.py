"""What a learner predicted, what happened and what is left, in words (pure)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from aiotwin_nb.course.progress import Answer, Guess, Notes

MARKS = {"passed": "✔", "wrong": "✗", "open": "○"}


def guess_words(guess: Guess) -> str:
    """One prediction in a sentence or two."""
    if guess.truth is None:
        if guess.answer is None:
            return f"{MARKS['open']} {guess.question} Not predicted yet."
        return f"You predict **{shown(guess.answer, guess.unit)}**. It can be changed until you see what happens."
    happened = f"What happens: **{shown(guess.truth, guess.unit)}**."
    if guess.right is None:
        return f"{happened} You had not predicted anything."
    mark = MARKS["passed"] if guess.right else MARKS["wrong"]
    return f"{mark} {happened} You had predicted {shown(guess.answer, guess.unit)}{_off(guess)}."


def shown(value: Answer | None, unit: str = "") -> str:
    """A value as people write it: 1,320 cost units, 94.0 %, keep."""
    if isinstance(value, float):
        value = f"{value:,.1f}"
    elif isinstance(value, int):
        value = f"{value:,}"
    return f"{value} {unit}".strip()


def report(notes: Mapping[str, Notes], expected: Mapping[str, Sequence[str]]) -> str:
    """A certificate of sorts, as Markdown: predictions beside what happened, exercises, and both counted.

    `notes`, `expected`: by chapter; `expected`: the names of all its exercises.
    """
    guesses = [guess for note in notes.values() for guess in note.predictions.values()]
    rows = [f"| {guess.question} | {' | '.join(_beside(guess))} |" for guess in guesses]
    table = ["| prediction | you said | it was | |", "|---|---|---|---|", *rows, ""] if rows else []
    return "\n".join([*table, f"**{_counted(guesses)}**", "", _left_words(notes, expected)])


def plain_report(notes: Mapping[str, Notes], expected: Mapping[str, Sequence[str]]) -> tuple[str, bool]:
    """The same for a terminal, chapter by chapter, and whether all exercises are done."""
    lines = []
    for chapter in [*expected, *(name for name in notes if name not in expected)]:
        note, names = notes.get(chapter, Notes()), expected.get(chapter, ())
        done = sum(_passed(notes, chapter, name) for name in names)
        lines.append(f"{chapter}: {done} of {len(names)} exercises" if names else chapter)
        for guess in note.predictions.values():
            said, was, mark = _beside(guess)
            lines.append(f"  {mark or MARKS['open']} {guess.question} You said {said}; it was {was}.")
    guesses = [guess for note in notes.values() for guess in note.predictions.values()]
    lines += ["", _counted(guesses), _left_words(notes, expected)]
    return "\n".join(lines), not _left(notes, expected)


def _beside(guess: Guess) -> tuple[str, str, str]:
    """What was said, what it was, and whether it was right."""
    said = "–" if guess.answer is None else shown(guess.answer, guess.unit)
    was = "–" if guess.truth is None else shown(guess.truth, guess.unit)
    return said, was, "" if guess.right is None else MARKS["passed"] if guess.right else MARKS["wrong"]


def _counted(guesses: Sequence[Guess]) -> str:
    known = [guess.right for guess in guesses if guess.right is not None]
    return f"Predictions: {len(known)} of {len(guesses)} made and revealed, {sum(known)} of them came true."


def _left_words(notes: Mapping[str, Notes], expected: Mapping[str, Sequence[str]]) -> str:
    total, left = sum(map(len, expected.values())), _left(notes, expected)
    if not total:
        return "This chapter has no exercises."
    if not left:
        return f"Exercises: all {total} are solved. Congratulations!"
    named = ", ".join(name if len(expected) == 1 else f"{chapter}: {name}" for chapter, name in left)
    return f"Exercises: {total - len(left)} of {total} done; left are {named}."


def _left(notes: Mapping[str, Notes], expected: Mapping[str, Sequence[str]]) -> list[tuple[str, str]]:
    return [(chapter, name) for chapter in expected for name in expected[chapter] if not _passed(notes, chapter, name)]


def _passed(notes: Mapping[str, Notes], chapter: str, exercise: str) -> bool:
    result = notes[chapter].exercises.get(exercise) if chapter in notes else None
    return result is not None and result.status == "passed"


def _off(guess: Guess) -> str:
    if isinstance(guess.answer, str) or isinstance(guess.truth, str) or guess.answer is None or guess.truth is None:
        return ""
    return f", {shown(abs(guess.answer - guess.truth), guess.unit)} off"
