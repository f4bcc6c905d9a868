"""A chapter's notebook as a document: which exercises it has, and its version with the solutions (pure).

One file holds both versions. Tags say what a cell is: `exercise` (a stub that the learner completes), `solution` (the
Markdown cell after it: a collapsed <details> with one Python block), `check` and `prediction` (calls of `Chapter`), and
`raises-exception` for cells that use what the learner writes, so that the rest can be run before it is written.
"""

from __future__ import annotations

import ast
import copy
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat

from aiotwin_nb.errors import InvalidInput, did_you_mean
from aiotwin_nb.scenario import shipped

_CODE = re.compile(r"```python\n(.*?)\n```", re.DOTALL)


def chapter_names() -> list[str]:
    """Names of all chapters in their order: 00-lab, 01-first-run and so on."""
    return sorted(path.stem for path in shipped("notebooks").glob("*.ipynb"))


def chapter_file(name: str) -> Path:
    """The shipped notebook of a chapter; raises InvalidInput when there is none of that name."""
    if name not in chapter_names():
        known = chapter_names()
        raise InvalidInput(
            f"{name!r} is no chapter of the course; it has {', '.join(known)}.{did_you_mean(name, known)}"
        )
    return shipped("notebooks") / f"{name}.ipynb"


def read(path: Path) -> Any:
    """A notebook; raises InvalidInput for a file that is none."""
    if not path.is_file():
        raise InvalidInput(f"{path}: there is no such file; `aiotwin lab --course` makes a folder with all notebooks")
    try:
        return nbformat.read(path, 4)  # type: ignore[no-untyped-call]
    except Exception as error:  # nbformat and json raise many kinds for a file that is no notebook
        raise InvalidInput(f"{path}: is not a notebook: {error}") from None


def tags(cell: Any) -> list[str]:
    """The tags of a cell."""
    return list(cell.metadata.get("tags", ()))


def exercises(notebook: Any) -> list[str]:
    """Names of a notebook's exercises, in order: the first arguments of `chapter.check` in its cells tagged check."""
    found = (_checked(cell.source) for cell in notebook.cells if "check" in tags(cell))
    return list(dict.fromkeys(name for names in found for name in names))


def solved(notebook: Any) -> Any:
    """The same notebook with every exercise replaced by the solution that follows it.

    Raises InvalidInput naming the cell of an exercise without a solution.
    """
    done = copy.deepcopy(notebook)
    for index, cell in enumerate(done.cells):
        if "exercise" in tags(cell):
            cell.source = _solution(done.cells, index)
    return done


def cleared(notebook: Any) -> Any:
    """The same notebook as a learner gets it: nothing has been executed."""
    fresh = copy.deepcopy(notebook)
    for cell in fresh.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return fresh


def as_bytes(notebook: Any) -> bytes:
    """A notebook as its file has it."""
    text: str = nbformat.writes(notebook, version=4)  # type: ignore[no-untyped-call]
    return (text.rstrip("\n") + "\n").encode()


def _solution(cells: list[Any], exercise: int) -> str:
    following = cells[exercise + 1] if exercise + 1 < len(cells) else None
    blocks = _CODE.findall(following.source) if following is not None and "solution" in tags(following) else []
    if len(blocks) != 1:
        raise InvalidInput(
            f"cell {exercise}: is tagged 'exercise'; the cell after it must be Markdown, tagged 'solution', "
            f"with one block of Python, and has {len(blocks)}"
        )
    return str(blocks[0])


def _checked(source: str) -> Iterator[str]:
    """First arguments of all calls `….check("name", …)` in a cell; none if it is no Python."""
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "check":
            first = node.args[0] if node.args else None
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                yield first.value
