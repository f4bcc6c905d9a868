"""Copies of the shipped notebooks and labs in a folder of the user's, kept up to date without losing anybody's work.

What was copied is noted with its hash in `.aiotwin-lab.json`. A copy that still has that hash was not touched and
follows the shipped version; any other was changed (running its cells changes it too) and stays.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from aiotwin_nb.errors import InvalidInput
from aiotwin_nb.scenario import shipped

MANIFEST = ".aiotwin-lab.json"


@dataclass
class Copies:
    """What became of every shipped file, by its path in the folder."""

    copied: list[str] = field(default_factory=list)
    updated: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    current: list[str] = field(default_factory=list)

    def lines(self, folder: Path) -> list[str]:
        """The same for people, a line each; nothing about files that are as shipped."""
        told = []
        if self.copied:
            told.append(f"{folder}: copied {', '.join(self.copied)}")
        if self.updated:
            told.append(f"{folder}: updated to this version {', '.join(self.updated)}")
        if self.kept:
            told.append(f"{folder}: left alone, as you changed them: {', '.join(self.kept)} (--force replaces them)")
        return told


def copy_shipped(folder: Path, *, force: bool = False, prepare: Callable[[Path], bytes] = Path.read_bytes) -> Copies:
    """Copy the notebooks into a folder and the labs into its subfolder labs.

    Copies that were changed are replaced by `force` only. `prepare`: what a notebook's copy holds. Raises InvalidInput
    when the folder cannot be one.
    """
    if folder.exists() and not folder.is_dir():
        raise InvalidInput(f"{folder}: is a file; give a folder, new or made by `aiotwin lab`")
    folder.mkdir(parents=True, exist_ok=True)
    noted, copies = _noted(folder), Copies()
    for name, content in _files(prepare):
        target = folder / name
        wanted, there = _digest(content), _digest(target.read_bytes()) if target.is_file() else None
        if there == wanted:
            copies.current.append(name)
        elif there is None:
            copies.copied.append(name)
        elif force or there == noted.get(name):
            copies.updated.append(name)
        else:
            copies.kept.append(name)
            continue
        if there != wanted:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        noted[name] = wanted
    (folder / MANIFEST).write_text(json.dumps(noted, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return copies


def _files(prepare: Callable[[Path], bytes]) -> Iterator[tuple[str, bytes]]:
    """Name in the folder and content of every shipped notebook and lab."""
    for source in sorted(shipped("notebooks").glob("*.ipynb")):
        yield source.name, prepare(source)
    for source in sorted(shipped("labs").rglob("*")):
        if source.suffix in (".yaml", ".csv", ".md", ".png"):
            yield f"labs/{source.relative_to(shipped('labs')).as_posix()}", source.read_bytes()


def _noted(folder: Path) -> dict[str, str]:
    """Hashes of what was copied; empty for a folder without notes, whose files then count as changed."""
    try:
        return dict(json.loads((folder / MANIFEST).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
