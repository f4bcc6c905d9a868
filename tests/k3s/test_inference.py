"""Inference on real nodes: proxies at every node's port 30090, a trained model behind them, and what may befall it.

The test bed's Kubernetes is older than internalTrafficPolicy, so the manifests are applied without that field.
"""

import asyncio
import os
import signal
import subprocess
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
import yaml
from aiohttp import ClientError, ClientSession, ClientTimeout
from k3s_support import NAMESPACE, REPOSITORY, SPARE, processes, run_here
from sklearn.datasets import load_digits
from testbed_support import run_testbed

IMAGE = {"newName": "docker.io/aiotwin/inference", "newTag": "test"}
SERVICE, NODES = "people-counting", ("n1", "n2")
BOUND = 0.3  # seconds, the manifest's
PAUSE = 0.03  # seconds between two requests of one client
HEADERS = {"Host": SERVICE, "Content-Type": "application/json"}
INPUTS = {"inputs": [load_digits().images[0].tolist()]}


@pytest.fixture(scope="module")
def site(bed, tmp_path_factory):
    """The manifests as they are, with a trained model; gone afterwards."""
    folder = tmp_path_factory.mktemp("site")
    few = ["--set", "training.max_rounds=2", "--set", "events=[]"]
    done = run_here("run", "improvement", *few, "--out", folder / "run", "--no-progress", folder=folder)
    assert done.returncode == 0, done.stderr
    written = folder / "all.yaml"
    written.write_text(manifests(folder))
    model = max((folder / "run" / "checkpoints").glob("round-*.npz"))
    run_testbed("kubectl", "-n", NAMESPACE, "create", "configmap", f"{SERVICE}-model", f"--from-file=model.npz={model}")
    run_testbed("kubectl", "apply", "--dry-run=server", "-f", written)
    run_testbed("kubectl", "apply", "-f", written)
    try:
        run_testbed("kubectl", "-n", NAMESPACE, "rollout", "status", "daemonset/proxy", "--timeout=120s")
        run_testbed("kubectl", "-n", NAMESPACE, "rollout", "status", f"deployment/{SERVICE}", "--timeout=120s")
        made = Site(bed)
        wait_for("two instances at every node", lambda: all(len(made.turning(node)) == 2 for node in NODES))
        yield made
    finally:
        run_testbed("kubectl", "delete", "--wait=false", "-f", written)
        run_testbed("kubectl", "-n", NAMESPACE, "delete", "configmap", f"{SERVICE}-model")


def manifests(folder):
    """What an overlay makes of k3s/inference."""
    base = os.path.relpath(REPOSITORY / "k3s" / "inference", folder.resolve())
    images = [{"name": f"aiotwin/inference-{part}", **IMAGE} for part in ("proxy", "service")]
    (folder / "kustomization.yaml").write_text(yaml.safe_dump({"resources": [base], "images": images}))
    built = subprocess.run(["kubectl", "kustomize", folder], capture_output=True, text=True, check=True).stdout
    items = list(yaml.safe_load_all(built))
    for item in items:
        item.get("spec", {}).pop("internalTrafficPolicy", None)
    return yaml.safe_dump_all(items)


def wait_for(what, condition, seconds=60):
    until = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < until, f"{what}: not within {seconds} s"
        time.sleep(0.2)
    return found


class Site:
    """The pods of the inference side, and what proxies tell of them."""

    def __init__(self, bed):
        self.connection = bed.connection
        items = bed.connection.request("GET", "/api/v1/nodes")["items"]
        self.address = {
            item["metadata"]["name"]: next(
                each["address"] for each in item["status"]["addresses"] if each["type"] == "InternalIP"
            )
            for item in items
        }

    def url(self, node):
        return f"http://{self.address[node]}:30090/predict"

    def pods(self, name, node=None):
        path, query = f"/api/v1/namespaces/{NAMESPACE}/pods", {"labelSelector": f"app.kubernetes.io/name={name}"}
        items = self.connection.request("GET", path, query)["items"]
        here = [each for each in items if "deletionTimestamp" not in each["metadata"]]
        return [each for each in here if node in (None, each["spec"].get("nodeName"))]

    def stats(self, node):
        """What a node's proxy tells, by way of the API server."""
        (pod,) = self.pods("proxy", node)
        name = pod["metadata"]["name"]
        return self.connection.request("GET", f"/api/v1/namespaces/{NAMESPACE}/pods/{name}:8081/proxy/stats")

    def instances(self, node):
        return self.stats(node)["services"][SERVICE]["instances"]

    def turning(self, node):
        """The instances in rotation at a node's proxy: {name: node that they are on}."""
        return {name: each["node"] for name, each in self.instances(node).items() if each["in_rotation"]}

    def requests(self, node):
        return {name: each["requests"] for name, each in self.instances(node).items()}


@dataclass
class Load:
    """Requests to the ports of both nodes, one client each, until it ends; `took`: (when, seconds) of each answer."""

    site: Site
    failures: list = field(default_factory=list)
    took: list = field(default_factory=list)
    ending: threading.Event = field(default_factory=threading.Event)

    def run(self):
        asyncio.run(self._run())

    async def _run(self):
        async with ClientSession(timeout=ClientTimeout(total=20)) as session:
            await asyncio.gather(*(self._client(session, node) for node in NODES))

    async def _client(self, session, node):
        number = 0
        while not self.ending.is_set():
            number += 1
            headers = {**HEADERS, "Idempotency-Key": f"{node}-{number}"}
            began = time.monotonic()
            try:
                async with session.post(self.site.url(node), json=INPUTS, headers=headers) as answer:
                    text = await answer.text()
                    if answer.status != 200:
                        self.failures.append((node, answer.status, text[:200]))
            except (ClientError, TimeoutError) as error:
                self.failures.append((node, repr(error)))
            self.took.append((time.monotonic(), time.monotonic() - began))
            await asyncio.sleep(PAUSE)

    def share(self, last=3.0):
        """The share within the bound of the answers of the last seconds."""
        now = time.monotonic()
        recent = [seconds for when, seconds in self.took if now - when < last]
        return sum(seconds <= BOUND for seconds in recent) / len(recent) if len(recent) >= 20 else 0.0

    def more(self, count):
        """Wait for so many more answers."""
        until = len(self.took) + count
        wait_for(f"{count} more answers", lambda: len(self.took) >= until)


@pytest.fixture
def load(site):
    """Idempotent requests all the time."""
    load = Load(site)
    thread = threading.Thread(target=load.run, daemon=True)
    thread.start()
    yield load
    load.ending.set()
    thread.join(30)


def instance_on(site, node):
    (pod,) = site.pods(SERVICE, node)
    return pod["metadata"]["name"], processes(pod["metadata"]["uid"], b"aiotwin_nb")


@contextmanager
def overloaded(pids, stopped=0.9, running=0.1):
    """Let processes have a tenth of every second: what they answer takes far longer than the bound."""
    end = threading.Event()

    def choke():
        while not end.is_set():
            for number, pause in ((signal.SIGSTOP, stopped), (signal.SIGCONT, running)):
                for pid in pids:
                    os.kill(pid, number)
                end.wait(pause)
        for pid in pids:
            os.kill(pid, signal.SIGCONT)

    thread = threading.Thread(target=choke)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()


def test_every_node_answers_at_its_port(site):
    async def story():
        async with ClientSession() as session:
            for node in (*NODES, SPARE):
                async with session.post(site.url(node), json=INPUTS, headers=HEADERS) as answer:
                    body = await answer.json()
                    assert (answer.status, len(body["predictions"]), body["model"]["round"]) == (200, 1, 2)
                async with session.get(site.url(node), headers={"Host": "nobody"}) as answer:
                    assert answer.status == 404
                    assert (await answer.json())["services"] == [SERVICE]

    asyncio.run(story())
    assert {node: site.stats(node)["node"] for node in NODES} == {node: node for node in NODES}
    assert sorted(site.turning("n1").values()) == list(NODES)


def test_a_killed_instance_costs_no_request_and_comes_back(site, load):
    load.more(100)
    name, pids = instance_on(site, "n2")
    assert len(pids) == 1
    os.kill(pids[0], signal.SIGKILL)
    wait_for("it is noticed", lambda: name not in site.turning("n1"), 10)
    wait_for("it is back", lambda: all(len(site.turning(node)) == 2 for node in NODES))
    (pod,) = site.pods(SERVICE, "n2")
    load.more(100)
    assert pod["status"]["containerStatuses"][0]["restartCount"] == 1
    assert load.failures == []


def test_a_deleted_pod_costs_no_request(site, load):
    load.more(50)
    name, _ = instance_on(site, "n2")
    run_testbed("kubectl", "-n", NAMESPACE, "delete", "pod", name, "--wait=false")
    wait_for("it is gone", lambda: name not in site.instances("n1"))
    wait_for("another one", lambda: all(len(site.turning(node)) == 2 for node in NODES))
    load.more(50)
    assert load.failures == []


def test_an_overloaded_instance_is_left_alone_and_the_bound_holds(site, load):
    wait_for("a share to compare with", lambda: load.share() > 0, 30)
    load.more(150)
    possible = load.share()
    pod = site.pods(SERVICE)[0]
    name, pids = pod["metadata"]["name"], processes(pod["metadata"]["uid"], b"aiotwin_nb")
    began = time.monotonic()
    with overloaded(pids):
        time.sleep(3.0)  # so that the share is of this time alone
        wait_for("the share is back", lambda: load.share() >= 0.95 * possible, 30)
        took = time.monotonic() - began
        before = {node: site.requests(node) for node in NODES}
        load.more(100)
        after = {node: site.requests(node) for node in NODES}
    there = sum(after[node].get(name, 0) - before[node].get(name, 0) for node in NODES)
    every = sum(sum(after[node].values()) - sum(before[node].values()) for node in NODES)
    print(f"share {possible:.3f} before, {load.share():.3f} again after {took:.1f} s; {there} of {every} sent there")
    assert there < 0.2 * every
    assert load.failures == []


def test_a_drained_node_still_answers(site, load):
    load.more(50)
    try:
        run_testbed("kubectl", "drain", "n2", "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=90s")
        wait_for("instances elsewhere", lambda: list(site.turning("n2").values()) == ["n1", "n1"])
        load.more(100)  # half of them at the drained node
        assert load.failures == []
    finally:
        run_testbed("kubectl", "uncordon", "n2")
