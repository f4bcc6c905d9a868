"""JupyterLab and Voila on this machine alone: on loopback, with a token, asking nobody for news or updates."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

from aiotwin_nb.errors import InvalidInput, MissingDependency, did_you_mean

# JupyterLab makes a token by itself, and Voila when told to; a token of ours would be hidden in the address they print.
# JupyterLab asks for news, checks for updates and looks up extensions unless told otherwise, and asks the user whether
# it should unless the defaults of its settings say so.
JUPYTER_DEFAULTS = Path(__file__).parents[1] / "jupyter"
QUIET_LAB = (
    "--ServerApp.ip=127.0.0.1",
    "--LabApp.news_url=None",
    "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    "--LabApp.extension_manager=readonly",
)
# Voila's page names fonts and scripts on other servers, which the browser is told not to fetch.
_OWN = "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:"
QUIET_APP = (
    "--Voila.ip=127.0.0.1",
    "--Voila.auto_token=True",
    f"--Voila.tornado_settings={{'headers': {{'Content-Security-Policy': {_OWN!r}}}}}",
)
APP = "00-lab.ipynb"


def open_lab(folder: Path, extra: list[str]) -> int:
    """Open JupyterLab in a folder; returns its exit code. `extra`: arguments that win over ours."""
    return _serve(["jupyterlab", *QUIET_LAB, *extra], folder)


def open_app(folder: Path, notebook: str | None, extra: list[str]) -> int:
    """Serve a notebook as an application by Voila: its outputs and widgets without its code.

    `notebook`: a file, or the name of one in the folder; by default 00-lab.ipynb. Raises MissingDependency without
    Voila, InvalidInput when there is no such notebook.
    """
    if importlib.util.find_spec("voila") is None:
        raise MissingDependency("voila", "voila", "aiotwin lab --app")
    return _serve(["voila", str(_app(folder, notebook or APP)), *QUIET_APP, *extra], folder)


def _app(folder: Path, notebook: str) -> Path:
    for path in (Path(notebook), folder / notebook):
        if path.is_file():
            return path.resolve()
    names = sorted(path.name for path in folder.glob("*.ipynb"))
    raise InvalidInput(
        f"--app {notebook}: there is no such notebook; {folder} has {', '.join(names) or 'none'}."
        + did_you_mean(notebook, names)
    )


def _serve(module: list[str], folder: Path) -> int:
    config_path = filter(None, (str(JUPYTER_DEFAULTS), os.environ.get("JUPYTER_CONFIG_PATH")))
    environment = {**os.environ, "JUPYTER_CONFIG_PATH": os.pathsep.join(config_path)}
    return subprocess.call([sys.executable, "-m", *module], cwd=folder, env=environment)
