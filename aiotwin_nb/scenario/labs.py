"""The shipped labs: scenario files by name."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from aiotwin_nb.continuum import natural_sorted


def shipped(folder: str) -> Path:
    """Folder of shipped files ("labs", "notebooks" or "k3s"): inside the installed package, else in the source tree."""
    installed = Path(str(files("aiotwin_nb"))) / folder
    return installed if installed.is_dir() else Path(str(files("aiotwin_nb"))).parent / folder


def lab_names() -> list[str]:
    """Names of the shipped labs, natural order."""
    return natural_sorted(path.stem for path in shipped("labs").glob("*.yaml"))


def lab_path(name: str) -> Path | None:
    """The scenario file of a lab, or None if there is no lab of that name."""
    return shipped("labs") / f"{name}.yaml" if name in lab_names() else None
