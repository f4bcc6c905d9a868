"""A learner's folder with the course: fresh copies of the notebooks, and beginning one anew without losing anything."""

from __future__ import annotations

from pathlib import Path

from aiotwin_nb.course.document import as_bytes, chapter_file, cleared, read
from aiotwin_nb.course.progress import Notes, changing, read_progress
from aiotwin_nb.notebook.copies import Copies, copy_shipped

BACKUPS = "backups"


def copy_course(folder: Path, *, force: bool = False) -> Copies:
    """Copy the chapters as learners get them, nothing executed, and the labs; see `copy_shipped`."""
    return copy_shipped(folder, force=force, prepare=fresh)


def fresh(notebook: Path) -> bytes:
    """What a learner's copy of a shipped notebook holds at first."""
    return as_bytes(cleared(read(notebook)))


def reset(notebook: Path) -> str:
    """Put a chapter back as it was handed out, and forget what was predicted and solved in it; returns what was done.

    What was there is kept under backups/. Doing it twice changes nothing. Raises InvalidInput for a file that is not
    named like a chapter, and for a folder that is not there.
    """
    wanted = fresh(chapter_file(notebook.stem))
    with changing(notebook.parent) as progress:
        there = notebook.read_bytes() if notebook.is_file() else None
        notes = progress.chapters.pop(notebook.stem, Notes())
        if there == wanted and notes == Notes():
            return f"{notebook}: is as it was handed out; there is nothing to do"
        kept = [] if there in (None, wanted) else [_backed_up(notebook, notebook.suffix, there or b"")]
        if notes != Notes():
            kept.append(_backed_up(notebook, ".json", notes.model_dump_json(indent=1).encode()))
        notebook.write_bytes(wanted)
    return f"{notebook}: as it was handed out" + (
        f"; what was there is kept in {', '.join(map(str, kept))}" if kept else ""
    )


def everything(folder: Path) -> dict[str, Notes]:
    """What has been predicted and solved in a folder, by chapter."""
    return read_progress(folder).chapters


def _backed_up(notebook: Path, suffix: str, content: bytes) -> Path:
    """Where some content is kept: backups/<name>-<number>, a file of its own unless it is there already."""
    folder = notebook.parent / BACKUPS
    folder.mkdir(exist_ok=True)
    number = 1
    while (path := folder / f"{notebook.stem}-{number}{suffix}").exists() and path.read_bytes() != content:
        number += 1
    path.write_bytes(content)
    return path
