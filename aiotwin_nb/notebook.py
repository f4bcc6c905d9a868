"""Notebooks without a browser: strict papermill, and opening JupyterLab on a copy of the shipped ones."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aiotwin_nb.errors import InvalidInput, RunFailed, did_you_mean
from aiotwin_nb.scenario import shipped

# JupyterLab asks for news and checks for updates unless told otherwise, and asks the user whether it should unless the
# defaults of its settings say so.
JUPYTER_DEFAULTS = Path(__file__).parent / "jupyter"
QUIET_LAB = (
    "--LabApp.news_url=None",
    "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
)


def execute_notebook(notebook: Path, parameters: Mapping[str, Any], output: Path | None = None) -> Path:
    """Execute a notebook headless with parameters; returns the path of the executed copy.

    Raises InvalidInput for a file that is no notebook and for parameters it does not declare, RunFailed naming the cell
    and its error when one fails (the copy holds everything up to there).
    """
    import papermill
    from papermill.exceptions import PapermillExecutionError

    _check(notebook, parameters)
    output = output or default_output(notebook)
    output.parent.mkdir(parents=True, exist_ok=True)
    try:
        papermill.execute_notebook(
            str(notebook),
            str(output),
            parameters=dict(parameters),
            kernel_name="python3",
            progress_bar=False,
            log_output=False,
            store_widget_state=False,
            coalesce_streams=True,
            record_timing=False,
            extra_arguments=["--IPKernelApp.log_level=40"],  # no warning that a local kernel talks in clear text
        )
    except PapermillExecutionError as error:
        raise RunFailed(
            f"{notebook}: cell {error.exec_count} failed: {error.ename}: {error.evalue}; see {output}"
        ) from None
    return output


def default_output(notebook: Path) -> Path:
    """runs/<name>-executed.ipynb."""
    return Path("runs") / f"{notebook.stem}-executed.ipynb"


def declared_parameters(notebook: Path) -> list[str]:
    """Names of the parameters a notebook declares in its cell tagged `parameters`."""
    import papermill

    return list(papermill.inspect_notebook(str(notebook)))


def _check(notebook: Path, parameters: Mapping[str, Any]) -> None:
    if not notebook.is_file():
        names = sorted(path.name for path in shipped("notebooks").glob("*.ipynb"))
        raise InvalidInput(f"{notebook}: there is no such file; shipped are {', '.join(names)}.")
    try:
        declared = declared_parameters(notebook)
    except Exception as error:  # nbformat and json raise many kinds for a file that is no notebook
        raise InvalidInput(f"{notebook}: is not a notebook: {error}") from None
    for name in parameters:
        if name not in declared:
            allowed = ", ".join(declared) or "none"
            raise InvalidInput(
                f"-p {name}: {notebook.name} has no such parameter; it has {allowed}." + did_you_mean(name, declared)
            )


def open_lab(folder: Path, extra: list[str]) -> int:
    """Copy the shipped notebooks into a folder (existing files are left alone) and open JupyterLab there."""
    folder.mkdir(parents=True, exist_ok=True)
    for source in sorted(shipped("notebooks").glob("*.ipynb")):
        if not (folder / source.name).exists():
            shutil.copy(source, folder / source.name)
    config_path = filter(None, (str(JUPYTER_DEFAULTS), os.environ.get("JUPYTER_CONFIG_PATH")))
    environment = {**os.environ, "JUPYTER_CONFIG_PATH": os.pathsep.join(config_path)}
    command = [sys.executable, "-m", "jupyterlab", *QUIET_LAB, *extra]
    return subprocess.call(command, cwd=folder, env=environment)
