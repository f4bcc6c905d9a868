"""Execute the shipped notebooks with their default parameters and keep the outputs, without traces of the machine.

Chapters with exercises are executed with the solutions in place; the stubs stay in the file. What exercises, their
checks and predictions print is not kept: it is the learner's. The default mode is smoke, so the outputs are those of
smoke.

Usage: python notebooks/refresh.py [NOTEBOOK …]; by default all but those that need more than this machine.
10-on-k3s needs the cluster of $KUBECONFIG, or the one attached to.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat

from aiotwin_nb.course.document import as_bytes, read, solved, tags
from aiotwin_nb.notebook import execute_notebook

RUN_TIME = re.compile(r"-\d{8}T\d{6}Z-[0-9a-f]{4}")
HERE = Path(__file__).resolve().parent
ASKED_FOR = {"10-on-k3s"}
LEARNERS = {"exercise", "check", "prediction"}  # cells whose outputs are the learner's own


def refresh(path: Path) -> None:
    """Execute one notebook in an empty folder and write it back with its outputs."""
    source = read(path)
    with TemporaryDirectory() as folder:
        with_solutions = Path(folder) / path.name
        with_solutions.write_bytes(as_bytes(solved(source)))
        os.chdir(folder)
        notebook = nbformat.read(execute_notebook(with_solutions, {}, Path(folder) / "out.ipynb"), 4)
        os.chdir(HERE)
    for cell, shipped in zip(notebook.cells, source.cells, strict=True):
        cell.source, cell.id = shipped.source, shipped.id
        if LEARNERS.intersection(tags(shipped)):
            cell.outputs, cell.execution_count = [], None
        cell.metadata = nbformat.NotebookNode({"tags": tags(shipped)} if tags(shipped) else {})
        if cell.cell_type == "code":
            cell.outputs = [_timeless(o) for o in cell.outputs if o.get("name") != "stderr" and not _is_widget(o)]
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook.metadata = nbformat.NotebookNode({"kernelspec": kernel, "language_info": {"name": "python"}})
    nbformat.write(notebook, path)


def _is_widget(output: nbformat.NotebookNode) -> bool:
    """Whether an output needs the kernel that made it."""
    return "application/vnd.jupyter.widget-view+json" in output.get("data", {})


def _timeless(output: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """An output without the time in runs' names."""
    return nbformat.from_dict(_without_times(output))


def _without_times(value: object) -> object:
    if isinstance(value, dict):
        return {key: _without_times(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_without_times(each) for each in value]
    return RUN_TIME.sub("", value) if isinstance(value, str) else value


if __name__ == "__main__":
    usual = sorted(path for path in HERE.glob("*.ipynb") if path.stem not in ASKED_FOR)
    for name in [Path(a).resolve() for a in sys.argv[1:]] or usual:
        refresh(name)
        print(name.name)
