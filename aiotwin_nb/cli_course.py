"""The command line's verbs for the course: check, reset, and the summary."""

from __future__ import annotations

import argparse
from pathlib import Path

from aiotwin_nb.errors import InvalidInput


def check_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `aiotwin check`."""
    parser.add_argument(
        "notebook",
        type=Path,
        nargs="?",
        metavar="NOTEBOOK",
        help="a chapter; without it: a summary of the whole course",
    )
    parser.epilog = "Exit code 0: everything is solved, 1: something is left, 2: bad input."


def check(options: argparse.Namespace) -> int:
    """Run a chapter's checks and print what is left; without a chapter, print the summary of the course."""
    return _summary(Path()) if options.notebook is None else _check(options.notebook)


def reset_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `aiotwin reset`."""
    parser.add_argument("notebook", type=Path, metavar="NOTEBOOK", help="a chapter in your folder")
    parser.epilog = "What was there is kept in the folder backups beside it. Doing it twice changes nothing."


def reset(options: argparse.Namespace) -> int:
    """Put a chapter back as it was handed out."""
    from aiotwin_nb.course.folder import reset

    print(reset(options.notebook))
    return 0


def _check(path: Path) -> int:
    from aiotwin_nb.course.headless import check_notebook
    from aiotwin_nb.course.report import MARKS

    results, broken = check_notebook(path)
    left = [name for name, result in results.items() if result.status != "passed"]
    print(f"{path.stem}: {len(results) - len(left)} of {len(results)} exercises done")
    for name, result in results.items():
        told = "" if result.status == "passed" else f": {result.message}"
        print(f"  {MARKS[result.status]} {name}{told}")
    for failure in broken:
        print(f"  ✗ cell {failure.cell + 1} fails: {failure.name}: {failure.message}")
    return 1 if left or broken else 0


def _summary(folder: Path) -> int:
    from aiotwin_nb.course.document import chapter_file, chapter_names, exercises, read
    from aiotwin_nb.course.folder import everything
    from aiotwin_nb.course.progress import FILE
    from aiotwin_nb.course.report import plain_report

    notes = everything(folder)
    if not notes:
        raise InvalidInput(
            f"there is no {FILE} here; go to the folder of the course (`aiotwin lab --course` makes one), "
            "or name a notebook"
        )
    expected = {name: found for name in chapter_names() if (found := exercises(read(chapter_file(name))))}
    text, complete = plain_report(notes, expected)
    print(text)
    return 0 if complete else 1
