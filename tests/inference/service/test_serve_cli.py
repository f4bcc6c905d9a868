import json
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from service_support import IMAGES, ask, eventually

from aiotwin_nb.cli import main


@pytest.mark.slow
def test_serve_ends_without_losing_a_request(trained):
    command = [sys.executable, "-m", "aiotwin_nb", "serve", str(trained), "--listen", "127.0.0.1:0", "--admin"]
    command += ["127.0.0.1:0", "--name", "digits", "--drain", "1", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process, ThreadPoolExecutor(4) as clients:
        told = json.loads(process.stdout.readline())
        assert (told["service"], told["pid"], told["model"]["round"]) == ("digits", process.pid, 6)
        url, stop = told["url"], threading.Event()

        def load():
            statuses = []
            while not stop.is_set():  # each request on a connection of its own, while any is taken
                statuses.append(ask(f"{url}/predict", {"inputs": IMAGES[:8].tolist()})[0])
            return statuses

        loads = [clients.submit(load) for _ in range(3)]
        assert ask(f"{url}/ready")[0] == 200
        os.kill(process.pid, signal.SIGTERM)
        eventually(lambda: ask(f"{url}/ready")[:2] == (503, {"status": "draining"}))
        stop.set()
        assert {status for each in loads for status in each.result()} == {200}
        assert process.wait(30) == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere"], "is no run directory"),
        (["RUN", "--round", "3"], "it has rounds: 5, 6"),
        (["RUN", "--listen", "8000"], "--listen '8000': must be HOST:PORT"),
        (["RUN", "--listen", "127.0.0.1:99999"], "HOST:PORT"),
        (["RUN", "--admin", "0.0.0.0:0"], "AIOTWIN_ADMIN_TOKEN"),
        (["RUN", "--batch-ms", "-1"], "batch_ms"),
        (["RUN", "--drain", "nan"], "drain"),
        (["RUN", "--task", "nowhere.py"], "nowhere.py"),
        (["RUN", "--round", "5", "--follow"], "give one of them"),
        (["RUN/scenario.yaml"], "not a readable checkpoint"),
    ],
)
def test_wrong_arguments_are_told(trained, monkeypatch, capsys, arguments, words):
    monkeypatch.delenv("AIOTWIN_ADMIN_TOKEN", raising=False)
    assert main(["serve", *(argument.replace("RUN", str(trained)) for argument in arguments)]) == 2
    assert words in capsys.readouterr().err
