"""`aiotwin orchestrator` as a process, and asking it over HTTP."""

import json
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


class Service:
    """`aiotwin orchestrator` as a process."""

    def __init__(self, folder, *options, **environment):
        self.folder = folder
        command = [sys.executable, "-m", "aiotwin_nb", "orchestrator", "--listen", "127.0.0.1:0", *options]
        path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        self.process = subprocess.Popen(
            command,
            cwd=folder,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path, "AIOTWIN_TRACKING": "off", **environment},
        )
        self.said = []
        while not (self.said and "listens on" in self.said[-1]):
            line = self.process.stderr.readline()
            assert line, f"it ended: {self.said}"
            self.said.append(line)
        self.url = re.search(r"http://[^;]*", self.said[-1]).group()

    def ask(self, method, path, body=None, **headers):
        """(status, JSON or None) of an answer. Headers: _ stands for -."""
        data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(self.url + path, data, named, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                text = answer.read()
                return answer.status, json.loads(text) if text else None
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())

    def stream(self, run_id, after=None):
        """The events of a run as they come, until it ends."""
        headers = {} if after is None else {"Last-Event-ID": str(after)}
        request = urllib.request.Request(f"{self.url}/fl/runs/{run_id}/events", headers=headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            if answer.status == 204:
                return
            assert answer.headers["Content-Type"] == "text/event-stream"
            event = {}
            for line in answer:
                name, _, value = line.decode().rstrip("\n").partition(": ")
                if name:
                    event[name] = value
                elif event:
                    yield event
                    event = {}

    def events(self, run_id, after=None):
        """All events of a run, when it has ended."""
        return list(self.stream(run_id, after))

    def end(self):
        """Stop the service as its machine would; runs go on."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(20) == 0
        self.process.stderr.close()
