"""JupyterLab and Voila as `aiotwin lab` starts them: on loopback, behind a token, asking nobody for news."""

import contextlib
import importlib.util
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from http.cookiejar import CookieJar
from pathlib import Path

import nbformat
import pytest

from aiotwin_nb.cli import main
from aiotwin_nb.notebook import serve

ROOT = Path(__file__).resolve().parents[2]
WIDGETS = "import ipywidgets as widgets\nwidgets.IntSlider(description='rounds', value=7)"
HIDDEN = "print('only the result'.upper())"


@pytest.fixture
def calls(monkeypatch):
    made = []
    monkeypatch.setattr(serve.subprocess, "call", lambda command, **more: made.append((command, more)) or 0)
    return made


def test_lab_says_what_was_copied_and_starts_jupyterlab_quietly(tmp_path, calls, capsys):
    assert main(["lab", str(tmp_path / "mine"), "--", "--no-browser"]) == 0
    ((command, more),) = calls
    assert command[:3] == [sys.executable, "-m", "jupyterlab"]
    assert {"--ServerApp.ip=127.0.0.1", "--LabApp.news_url=None", "--LabApp.extension_manager=readonly"} < set(command)
    assert command[-1] == "--no-browser"
    assert more["cwd"] == tmp_path / "mine"
    defaults = Path(more["env"]["JUPYTER_CONFIG_PATH"].split(os.pathsep)[0]) / "labconfig"
    assert "fetchNews" in (defaults / "default_setting_overrides.json").read_text()
    assert "copied 00-lab.ipynb, 01-first-run.ipynb" in capsys.readouterr().out
    assert (tmp_path / "mine" / "labs" / "improvement.yaml").is_file()


def test_without_voila_the_command_that_gets_it_is_told(tmp_path, calls, capsys, monkeypatch):
    monkeypatch.setattr(serve.importlib.util, "find_spec", lambda name: None)
    assert main(["lab", str(tmp_path / "mine"), "--app"]) == 2
    assert "pip install 'aiotwin-nb[voila]'" in capsys.readouterr().err
    assert not calls


def test_an_app_that_is_not_there_is_told(tmp_path, calls, capsys, monkeypatch):
    monkeypatch.setattr(serve.importlib.util, "find_spec", lambda name: object())
    assert main(["lab", str(tmp_path / "mine"), "--app", "01-frist-run.ipynb"]) == 2
    assert "Did you mean '01-first-run.ipynb'?" in capsys.readouterr().err
    assert not calls


def test_an_app_is_found_in_the_folder(tmp_path, calls, monkeypatch):
    monkeypatch.setattr(serve.importlib.util, "find_spec", lambda name: object())
    assert main(["lab", str(tmp_path / "mine"), "--app", "01-first-run.ipynb", "--", "--no-browser"]) == 0
    ((command, _),) = calls
    assert command[2:4] == ["voila", str(tmp_path / "mine" / "01-first-run.ipynb")]
    assert "--Voila.ip=127.0.0.1" in command


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


@contextlib.contextmanager
def served(folder, *arguments):
    """`aiotwin lab …` as a process in an empty home; gives its address with the token."""
    home = folder / "home"
    home.mkdir(parents=True)
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("JUPYTER", "XDG_"))}
    environment = {**kept, "HOME": str(home), "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    log = (folder / "log").open("w+")
    process = subprocess.Popen(
        [sys.executable, "-m", "aiotwin_nb", "lab", str(folder / "mine"), *map(str, arguments)],
        cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip
    try:
        until = time.monotonic() + 90
        while not (
            found := re.search(r"http://127\.0\.0\.1:\d+/\S*\?token=[0-9a-f]{20,}", (folder / "log").read_text())
        ):
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < until, (folder / "log").read_text()
            time.sleep(0.2)
        yield found[0]
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
        log.close()


def fetch(url):
    opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))
    with opener.open(url, timeout=60) as answer:
        return answer, answer.read().decode()


@pytest.mark.slow
def test_jupyterlab_wants_the_token_and_listens_on_loopback_only(tmp_path):
    port = free_port()
    with served(tmp_path, "--", "--no-browser", "--allow-root", f"--ServerApp.port={port}") as address:
        base, token = address.partition("/lab")[0], address.rpartition("=")[2]
        with pytest.raises(urllib.error.HTTPError, match="403"):
            fetch(f"{base}/api/contents")
        _, listing = fetch(f"{base}/api/contents?token={token}")
        assert "01-first-run.ipynb" in listing
        _, page = fetch(address)
        assert re.search(r'"news": *{"disabled": true}', page)
        assert '"name": "read-only"' in page  # the extension manager
        others = [a[4][0] for a in socket.getaddrinfo(socket.gethostname(), port, socket.AF_INET)]
        for other in set(others) - {"127.0.0.1"}:
            if not other.startswith("127."):
                with pytest.raises(OSError):
                    socket.create_connection((other, port), timeout=2)


@pytest.mark.slow
def test_voila_serves_widgets_without_the_code_and_wants_the_token(tmp_path):
    if importlib.util.find_spec("voila") is None:
        pytest.skip(reason="needs voila: pip install 'aiotwin-nb[voila]'")
    document = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(WIDGETS), nbformat.v4.new_code_cell(HIDDEN)])
    document.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(document, tmp_path / "small.ipynb")
    with served(tmp_path, "--app", tmp_path / "small.ipynb", "--", "--no-browser", f"--port={free_port()}") as address:
        assert "/login" in fetch(address.partition("?")[0])[0].geturl()
        answer, page = fetch(address)
        assert answer.status == 200
        assert "ONLY THE RESULT" in page
        assert "only the result" not in page
        assert "IntSliderModel" in page or "application/vnd.jupyter.widget-view+json" in page
        assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
