"""Executing a notebook headless with parameters: papermill, but strict, and with recorded results beside the copy."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aiotwin_nb.errors import RunFailed
from aiotwin_nb.notebook.parameters import check_parameters, declared_parameters
from aiotwin_nb.notebook.results import recorded, results, write_results


def execute_notebook(notebook: Path, parameters: Mapping[str, Any], output: Path | None = None) -> Path:
    """Execute a notebook headless with parameters; returns the path of the executed copy.

    What it recorded is written beside the copy, see `results_path`. Raises InvalidInput for a file that is no notebook
    and for parameters that it does not declare or that are of another type, RunFailed naming the cell and its error
    when one fails (the copy holds everything up to there, and there are no results).
    """
    declared = declared_parameters(notebook)
    check_parameters(notebook, declared, parameters, "-p")
    output = output or default_output(notebook)
    output.parent.mkdir(parents=True, exist_ok=True)
    results_path(output).unlink(missing_ok=True)  # another execution's
    executed = _execute(notebook, parameters, output)
    write_results(results_path(output), results(notebook.name, declared, parameters, recorded(executed.cells)))
    return output


def default_output(notebook: Path) -> Path:
    """runs/<name>-executed.ipynb."""
    return Path("runs") / f"{notebook.stem}-executed.ipynb"


def results_path(output: Path) -> Path:
    """Where the results of an executed copy are: X.results.json beside X.ipynb, so that two copies share a folder."""
    return output.with_name(f"{output.stem}.results.json")


def _execute(notebook: Path, parameters: Mapping[str, Any], output: Path) -> Any:
    import papermill
    from papermill.exceptions import PapermillExecutionError

    # It warns of parameters it cannot parse, such as `budget: int | None`; they have been checked.
    logging.getLogger("papermill").setLevel(logging.ERROR)
    try:
        return papermill.execute_notebook(
            str(notebook),
            str(output),
            parameters=dict(parameters),
            kernel_name="python3",
            progress_bar=False,
            log_output=False,
            store_widget_state=False,
            coalesce_streams=True,
            record_timing=False,
            extra_arguments=["--IPKernelApp.log_level=50"],  # a kernel's own log is no output
        )
    except PapermillExecutionError as error:
        raise RunFailed(
            f"{notebook}: cell {error.exec_count} failed: {error.ename}: {error.evalue}; see {output}"
        ) from None
