"""Rounds over Flower's own SuperLink and SuperNodes, all on loopback: what `bench_transport.py` compares with."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

_PROJECT = """[project]
name = "bench"
version = "1.0.0"
license = "Apache-2.0"
dependencies = []
[tool.hatch.build.targets.wheel]
packages = ["."]
[tool.flwr.app]
publisher = "bench"
[tool.flwr.app.components]
serverapp = "bench.server:app"
clientapp = "bench.client:app"
[tool.flwr.app.config]
rounds = 1
"""
_CLIENT = """import numpy as np
from flwr.app import Array, ArrayRecord, MetricRecord, Message, RecordDict
from flwr.clientapp import ClientApp
app = ClientApp()
@app.train()
def train(message, context):
    arrays = {k: Array(v.numpy() + np.float32(1e-6)) for k, v in message.content.array_records["arrays"].items()}
    records = {"arrays": ArrayRecord(arrays), "metrics": MetricRecord({"num-examples": 1})}
    return Message(RecordDict(records), reply_to=message)
"""
_SERVER = """import time
import numpy as np
from flwr.app import Array, ArrayRecord, MetricRecord
from flwr.serverapp import ServerApp
from flwr.serverapp.strategy import FedAvg
app = ServerApp()
@app.main()
def main(grid, context):
    def note(number, arrays):
        with open({ticks!r}, "a") as file:
            file.write(f"{{time.time()}}\\n")
        return MetricRecord()
    strategy = FedAvg(fraction_evaluate=0.0, min_train_nodes={nodes}, min_available_nodes={nodes})
    model = ArrayRecord({{"w": Array(np.ones({size}, np.float32))}})
    strategy.start(grid, model, num_rounds={rounds}, evaluate_fn=note)
"""


def _port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def superlink_rounds(nodes: int, size: int, rounds: int, limit: float) -> tuple[list[float], float, str]:
    """Return the seconds of each finished round of flat FedAvg, the seconds waited, and what stood in the way."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ticks = folder / "ticks"
        app = folder / "app"
        (app / "bench").mkdir(parents=True)
        (app / "pyproject.toml").write_text(_PROJECT)
        (app / "bench/__init__.py").write_text("")
        (app / "bench/client.py").write_text(_CLIENT)
        server = _SERVER.format(ticks=str(ticks), nodes=nodes, size=size, rounds=rounds)
        (app / "bench/server.py").write_text(server)
        port = _port()  # of all its APIs
        (folder / "home").mkdir()
        config = f'[superlink]\ndefault = "bench"\n[superlink.bench]\naddress = "127.0.0.1:{port}"\ninsecure = true\n'
        (folder / "home/config.toml").write_text(config)
        environment = {
            **os.environ,
            "FLWR_HOME": str(folder / "home"),
            "FLWR_TELEMETRY_ENABLED": "0",
            "FLWR_DISABLE_UPDATE_CHECK": "1",
            "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        }
        log = (folder / "log").open("wb")

        def begin(*command: str) -> subprocess.Popen[bytes]:
            return subprocess.Popen(
                command, env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True
            )

        running = [begin("flower-superlink", "--insecure", f"--port={port}")]
        time.sleep(5)
        for _ in range(nodes):
            node = ["--insecure", f"--superlink=127.0.0.1:{port}", f"--port={_port()}"]
            running.append(begin("flower-supernode", *node))
        time.sleep(5)
        running.append(begin("flwr", "run", str(app), "bench"))
        began = time.time()
        while time.time() - began < limit and (not ticks.exists() or len(ticks.read_text().split()) <= rounds):
            time.sleep(0.2)
        waited = time.time() - began
        for process in running:
            process.terminate()  # in order, so that they end what they started in sessions of their own
        with suppress(subprocess.TimeoutExpired):
            running[0].wait(10)
        for process in running:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        times = [float(line) for line in ticks.read_text().split()] if ticks.exists() else []
        log.close()
        lines = [line for line in (folder / "log").read_text(errors="replace").splitlines() if "Error" in line]
        return [b - a for a, b in pairwise(times)], waited, (lines or [""])[-1].strip()[:160]
