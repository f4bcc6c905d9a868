"""A runtime without training: accuracies from a formula, so that the orchestration alone is under test."""

import json
import math
import os
from decimal import Decimal

from aiotwin_nb.orchestration.ports import ClientResult, RoundResult
from aiotwin_nb.orchestration.state import Rules
from aiotwin_nb.scenario import load_scenario


def curve(gain=6.0):
    """Accuracy that grows with what has been trained, faster with more clients."""

    def accuracy(trained):
        return min(100.0, 10 + gain * math.log(1 + max(trained, 0)))

    return accuracy


class FakeRuntime:
    """`trained` is its whole model: the sum over rounds of the members' weights."""

    name = "fake"

    def __init__(self, weights=None, accuracy=None, crash_in=None):
        self.weights = weights or {}
        self.accuracy = accuracy or curve()
        self.crash_in = crash_in
        self.trained = 0.0
        self.members = ()
        self.applied = []
        self.rounds = []
        self.closed = 0

    def start(self, infrastructure, configuration):
        self._place(configuration)
        return self._result(0)

    def apply(self, infrastructure, configuration):
        assert set(configuration.clients) <= set(infrastructure.nodes), "a member that does not exist"
        self.applied.append(configuration)
        self._place(configuration)

    def run_round(self, number):
        if self.crash_in == number:
            raise SystemExit(f"killed in round {number}")
        self.rounds.append(number)
        self.trained += sum(self.weights.get(client, 1.0) for client in self.members)
        return self._result(number)

    def save(self, path):
        with path.open("w") as file:
            json.dump({"trained": self.trained}, file)
            file.flush()
            os.fsync(file.fileno())

    def restore(self, path, infrastructure, configuration):
        self.trained = json.loads(path.read_text())["trained"]
        self._place(configuration)

    def model_size_mb(self):
        return 0.02

    def close(self):
        self.closed += 1

    def _place(self, configuration):
        self.members = configuration.clients
        self.parents = configuration.parents

    def _result(self, number):
        clients = tuple(
            ClientResult(client, self.parents[client], 0, 10, 1.0, 0.01, 0.5)
            for client in (self.members if number else ())
        )
        return RoundResult(number, self.accuracy(self.trained), 1.0, 0.01, clients)


class RecordingTracker:
    def __init__(self):
        self.rows = []
        self.values = None
        self.finished = 0

    def start(self, run_id, directory, config):
        self.config = config

    def log(self, row):
        self.rows.append(row)

    def summary(self, values):
        self.values = values

    def finish(self, exit_code=0):
        self.finished += 1


def rules(lab="improvement", **overrides):
    changes = {path.replace("__", "."): value for path, value in overrides.items()}
    return Rules.of(load_scenario(lab, overrides=changes), model_size_mb=Decimal("0.02"))


def node(node_id, n2=50, n3=50, n1=120, labels=(7, 8, 9)):
    return {"id": node_id, "role": "client", "links": {"n1": n1, "n2": n2, "n3": n3}, "data": dict.fromkeys(labels, 10)}
