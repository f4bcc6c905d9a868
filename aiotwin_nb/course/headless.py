"""Running a chapter without a browser: to see what its checks say, and whether it breaks anywhere else."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from aiotwin_nb.course.chapter import CHECK
from aiotwin_nb.course.document import chapter_file, chapter_names, exercises, read, tags
from aiotwin_nb.course.progress import Result
from aiotwin_nb.errors import InvalidInput
from aiotwin_nb.notebook.parameters import declared_parameters

CELL_SECONDS = 600
NOT_REACHED = "its check was not run"


@dataclass(frozen=True)
class Failure:
    """A cell that failed. `cell`: its index; `allowed`: whether it may, because it uses what the learner writes."""

    cell: int
    name: str
    message: str
    allowed: bool

    @property
    def unfinished(self) -> bool:
        """Whether it says no more than that an exercise is not done."""
        return self.allowed and self.name == "NotImplementedError"


def run_chapter(notebook: Any, folder: Path, parameters: Mapping[str, Any]) -> Any:
    """Execute a notebook in a folder; cells that fail do not end it. Returns the executed notebook.

    Raises InvalidInput when its kernel cannot be started or dies.
    """
    import nbclient
    from papermill.parameterize import parameterize_notebook

    executed = copy.deepcopy(notebook)
    if parameters:
        for part in (executed, *executed.cells):  # papermill takes these for granted
            part.metadata.setdefault("papermill", {})
            part.metadata.setdefault("tags", [])
        executed = parameterize_notebook(executed, dict(parameters))
    client = nbclient.NotebookClient(
        executed,
        timeout=CELL_SECONDS,
        kernel_name="python3",
        allow_errors=True,
        store_widget_state=False,
        coalesce_streams=True,
        record_timing=False,
        resources={"metadata": {"path": str(folder)}},
        extra_arguments=["--IPKernelApp.log_level=50"],
    )
    try:
        return client.execute()
    except (nbclient.exceptions.DeadKernelError, nbclient.exceptions.CellTimeoutError) as error:
        raise InvalidInput(f"the notebook cannot be run to its end: {error}") from None


def failures(executed: Any) -> list[Failure]:
    """The cells of an executed notebook that failed."""
    cells = [cell for cell in executed.cells if "injected-parameters" not in tags(cell)]  # not the learner's
    return [
        Failure(index, output.ename, output.evalue, "raises-exception" in tags(cell))
        for index, cell in enumerate(cells)
        for output in cell.get("outputs", ())
        if output.output_type == "error"
    ]


def check_results(executed: Any) -> dict[str, Result]:
    """What the checks of an executed notebook said, by exercise; the last one counts."""
    said = [
        output.data[CHECK]
        for cell in executed.cells
        for output in cell.get("outputs", ())
        if CHECK in output.get("data", {})
    ]
    return {each["exercise"]: Result(status=each["status"], message=each["message"]) for each in said}


def check_notebook(path: Path) -> tuple[dict[str, Result], list[Failure]]:
    """Run a learner's notebook in smoke mode, in a folder of its own, and collect what the checks say.

    Returns the result of every exercise, those whose check is gone included, and the cells that failed for another
    reason than an exercise that is not done. Raises InvalidInput for a file without exercises.
    """
    notebook = read(path)
    expected = exercises(read(chapter_file(path.stem))) if path.stem in chapter_names() else exercises(notebook)
    if not expected:
        with_some = [name for name in chapter_names() if exercises(read(chapter_file(name)))]
        raise InvalidInput(f"{path}: has no exercises; chapters with exercises are {', '.join(with_some)}")
    parameters = {"mode": "smoke"} if "mode" in declared_parameters(path) else {}
    with TemporaryDirectory(prefix="aiotwin-check-") as folder:
        executed = run_chapter(notebook, Path(folder), parameters)
    found = check_results(executed)
    missing = Result(status="open", message=NOT_REACHED)
    broken = [failure for failure in failures(executed) if not failure.unfinished]
    return {name: found.get(name, missing) for name in expected}, broken
