"""The JupyterLab that `aiotwin lab` starts, as a user without any settings or accounts would get it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
PRIVATE = ("JUPYTER", "IPYTHON", "WANDB_", "AIOTWIN_", "XDG_", "KUBECONFIG", "NETRC", "MPL")
START = 60.0  # seconds until the server must answer; 3 to 4 on two quiet cores


@dataclass(frozen=True)
class Server:
    """A running JupyterLab: `url` ends with a slash, `root` is its folder, `log` what it printed."""

    url: str
    token: str
    root: Path
    log: Path

    def address(self, path: str, query: str = "") -> str:
        """URL of a page of this server, token included."""
        return f"{self.url}{path}?token={self.token}{query}"


@contextmanager
def lab_server(folder: Path, environment: Mapping[str, str]) -> Iterator[Server]:
    """Run `aiotwin lab` on an empty folder with settings, data and home of its own; ends it and its kernels after."""
    root, home = folder / "notebooks", folder / "home"
    home.mkdir(parents=True)
    runtime, log = home / "runtime", folder / "jupyter.log"
    # Jupyter picks a free port and a token; the file that it leaves in its runtime folder tells both.
    flags = ["--no-browser", "--allow-root", "--ServerApp.port=0", "--LabApp.expose_app_in_browser=True"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "aiotwin_nb", "lab", str(root), "--", *flags],
            env={**_clean(home), **environment, "JUPYTER_RUNTIME_DIR": str(runtime)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield _wait(process, runtime, root, log)
    finally:
        _end(process, runtime)


def _clean(home: Path) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.upper().startswith(PRIVATE)}
    data = {"AIOTWIN_DATA": os.environ["AIOTWIN_DATA"]} if "AIOTWIN_DATA" in os.environ else {}
    return {
        **inherited,
        **data,
        "HOME": str(home),
        "PYTHONPATH": os.pathsep.join(filter(None, (str(PROJECT), os.environ.get("PYTHONPATH")))),
        "IPYTHONDIR": str(home / "ipython"),
        **{f"JUPYTER_{kind}_DIR": str(home / kind.lower()) for kind in ("CONFIG", "DATA")},
        **{f"JUPYTERLAB_{kind}_DIR": str(home / kind.lower()) for kind in ("SETTINGS", "WORKSPACES")},
    }


def _wait(process: subprocess.Popen, runtime: Path, root: Path, log: Path) -> Server:
    until = time.monotonic() + START
    while time.monotonic() < until and process.poll() is None:
        for told in _told(runtime):
            server = Server(told["url"], told["token"], root, log)
            if _answers(server):
                return server
        time.sleep(0.05)
    raise RuntimeError(f"JupyterLab did not start; its last words:\n{log.read_text()[-3000:]}")


def _told(runtime: Path) -> list[dict]:
    told = []
    for path in runtime.glob("jpserver-*.json"):
        try:
            told.append(json.loads(path.read_text()))
        except (OSError, ValueError):  # still being written, or just removed
            continue
    return told


def _answers(server: Server) -> bool:
    try:
        urllib.request.urlopen(server.address("api/status"), timeout=2).read()
    except OSError:
        return False
    return True


def _end(process: subprocess.Popen, runtime: Path) -> None:
    for told in _told(runtime):
        try:  # the server's own way down: it ends its kernels first
            request = urllib.request.Request(f"{told['url']}api/shutdown?token={told['token']}", method="POST")
            urllib.request.urlopen(request, timeout=10).read()
        except OSError:
            continue
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
