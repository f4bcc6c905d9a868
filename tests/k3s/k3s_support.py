"""What the tests on real nodes share: the test bed, runs on it as a user starts them, and faults."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from testbed_support import HOME

from aiotwin_nb.cluster.cleaning import leftovers
from aiotwin_nb.cluster.connection import Connection
from aiotwin_nb.cluster.manifests import NODE_LABEL, ROLE_LABEL, Names, dns_label
from aiotwin_nb.orchestration.journal import read_journal

REPOSITORY = Path(__file__).resolve().parents[2]
ARCHIVES = ("fl-aggregator-test", "fl-client-test")  # image archives in HOME/fl, for runs
INFERENCE = ("inference-test",)  # and for the inference side
IMAGES = {
    "aggregator_image": "docker.io/aiotwin/fl-aggregator:test",
    "client_image": "docker.io/aiotwin/fl-client:test",
}
NAMESPACE = "aiotwin"
SPARE = "n3"  # the cluster node that is cordoned unless a test says otherwise


def archives(names=ARCHIVES):
    """Where image archives are."""
    return [HOME / "fl" / f"{name}.tar" for name in names]


class Bed:
    """A cluster of real nodes."""

    kubeconfig = HOME / "run" / "pki" / "admin.kubeconfig"

    def __init__(self):
        self.connection = Connection.open(self.kubeconfig, namespace=NAMESPACE)

    def left(self, run_id):
        """{kind: names} of a run's objects."""
        return leftovers(self.connection, run_id)

    def pods(self, run_id, node=None, role=None):
        """The pods of a run, those that are going away left out."""
        path = f"/api/v1/namespaces/{NAMESPACE}/pods"
        items = self.connection.request("GET", path, {"labelSelector": Names(run_id, NAMESPACE).selector})["items"]
        wanted = {NODE_LABEL: node and dns_label(node), ROLE_LABEL: role}
        return [
            pod
            for pod in items
            if "deletionTimestamp" not in pod["metadata"]
            and all(value is None or pod["metadata"]["labels"][key] == value for key, value in wanted.items())
        ]

    def signal(self, run_id, node, number):
        """Send a signal to the FL process of a node, as the machine's administrator could."""
        (pod,) = self.pods(run_id, node)
        pids = processes(pod["metadata"]["uid"])
        assert pids, f"{node} has no process"
        for pid in pids:
            os.kill(pid, number)

    def api_stop(self):
        """End the API server; returns what starts it again."""
        file = HOME / "run" / "apiserver.pid"
        pid = int(file.read_text())
        command = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")[:-1]
        os.kill(pid, signal.SIGKILL)
        while Path(f"/proc/{pid}").exists() and state_of(pid) != "Z":
            time.sleep(0.05)

        def start():
            with (HOME / "run" / "log" / "apiserver-again.log").open("ab") as log:
                again = ["nsenter", "--net=/run/netns/kctl", *command]
                file.write_text(str(subprocess.Popen(again, stdout=log, stderr=log, start_new_session=True).pid))

        return start


def state_of(pid):
    """A process's state letter; Z when it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


def processes(pod_uid, program=b"fl_service"):
    """Ids of the Python processes of a pod."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if pod_uid in (folder / "cgroup").read_text() and program in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def command_line(*arguments):
    """`aiotwin …` as this checkout has it."""
    return [sys.executable, "-m", "aiotwin_nb", *map(str, arguments)]


def environment(folder):
    """No tracking, no state of the user, this checkout first on the path."""
    path = os.pathsep.join([str(REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "AIOTWIN_TRACKING": "off", "XDG_STATE_HOME": str(folder / "state"), "PYTHONPATH": path}


class LiveRun:
    """A run on the cluster, started and killed like a user's."""

    def __init__(self, bed, path, scenario="hands-on", *options):
        self.bed, self.path, self.id = bed, path, path.name
        flags = [word for name, value in IMAGES.items() for word in (f"--{name.replace('_', '-')}", value)]
        where = ["--runtime", "kubernetes", "--kubeconfig", bed.kubeconfig, "--namespace", NAMESPACE]
        self._start("run", scenario, *where, *flags, "--out", path, *options)

    def _start(self, *arguments):
        self.log = self.path.parent / f"{self.id}.log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command_line(*arguments), stdout=log, stderr=log, env=environment(self.path.parent)
            )

    def resume(self):
        """Go on with it."""
        self._start("resume", self.path)

    def kill(self):
        """End its orchestrator without a farewell."""
        self.process.kill()
        self.process.wait()

    def entries(self):
        """Its journal."""
        journal = self.path / "journal.jsonl"
        return read_journal(journal) if journal.exists() else []

    def events(self, kind):
        """The events of a kind."""
        return [entry.event for entry in self.entries() if entry.type == kind]

    def rounds(self):
        """Numbers of the rounds that were finished, in the journal's order."""
        return [event.result.round for event in self.events("round_finished")]

    def wait_for(self, what, condition, seconds=120):
        """Wait until something is so; fails with the run's output."""
        until = time.monotonic() + seconds
        while not (found := condition()):
            alive = self.process.poll() is None
            assert alive, f"{what}: the run ended with {self.process.poll()}: {self.log.read_text()[-2000:]}"
            assert time.monotonic() < until, f"{what}: not within {seconds} s: {self.log.read_text()[-2000:]}"
            time.sleep(0.1)
        return found

    def wait_round(self, number, seconds=180):
        """Wait until a round is finished."""
        self.wait_for(f"round {number}", lambda: (self.rounds() or [-1])[-1] >= number, seconds)

    def standings(self, node):
        """What became of a member, in order."""
        return [event.standing for event in self.events("member_changed") if event.node == node]

    def finish(self, seconds=300):
        """Wait for its end; returns the summary."""
        code = self.process.wait(seconds)
        assert code == 0, self.log.read_text()[-3000:]
        return self.summary()

    def summary(self):
        """Its summary."""
        return json.loads((self.path / "summary.json").read_text())

    def stop(self):
        """Ask it to stop, and wait until it has."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(120)

    def nothing_left(self, seconds=150):
        """Whether the cluster has no object of the run any more, before long."""
        until = time.monotonic() + seconds
        while left := self.bed.left(self.id):
            assert time.monotonic() < until, f"still there: {left}"
            time.sleep(0.3)
        return True


def embedded(folder, *options, scenario="hands-on"):
    """The summary of the same run in one process."""
    arguments = ["run", scenario, "--out", folder, "--no-progress", "--json", *options]
    done = subprocess.run(
        command_line(*arguments), capture_output=True, text=True, env=environment(folder.parent), check=True
    )
    return json.loads(done.stdout)


def course(summary):
    """What must be the same wherever a run takes place."""
    history = [{key: value for key, value in row.items() if key != "seconds"} for row in summary["history"]]
    return {"history": history, "ledger": summary["ledger"], "reconfigurations": summary["reconfigurations"]}


def run_here(*arguments, folder):
    """`aiotwin …` to its end."""
    return subprocess.run(command_line(*arguments), capture_output=True, text=True, env=environment(folder))
