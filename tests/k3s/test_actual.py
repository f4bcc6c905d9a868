"""The cluster's own nodes are the pipeline's: their labels say what they are, and what happens to them happens to runs."""

import json

import pytest
from k3s_support import NAMESPACE, SPARE, LiveRun, run_here
from testbed_support import run_testbed

from aiotwin_nb.api import attach
from aiotwin_nb.cluster.happenings import Happenings
from aiotwin_nb.cluster.labels import MEASURED, MORE

SCENARIO = """
name: three-machines
task: {name: digits, test_samples: 200}
nodes:
  - {id: n1, role: global_aggregator}
  - {id: n2, role: client, links: {n1: 100}, data: {0: 40, 1: 40, 2: 40, 3: 40, 4: 40}}
  - {id: n3, role: client, links: {n1: 50}, data: {5: 40, 6: 40, 7: 40, 8: 40, 9: 40}}
training: {epochs: 20, max_rounds: 100000}
objective: {budget: 1000000000}
"""
ALL = ["n1", "n2", "n3"]


def where(bed):
    return ["--kubeconfig", bed.kubeconfig, "--namespace", NAMESPACE]


def node_names(bed):
    return sorted(item["metadata"]["name"] for item in bed.connection.request("GET", "/api/v1/nodes")["items"])


def node(bed, name):
    return bed.connection.request("GET", f"/api/v1/nodes/{name}")["metadata"]


@pytest.fixture(scope="module")
def labelled(bed, tmp_path_factory):
    """The cluster's nodes with the labels of a scenario's, the spare one still cordoned; without them afterwards."""
    nodes = node_names(bed)
    if nodes != ALL:
        pytest.skip(reason=f"needs a cluster with the nodes {', '.join(ALL)}; this one has {', '.join(nodes)}")
    folder = tmp_path_factory.mktemp("labelled")
    scenario = folder / "three-machines.yaml"
    scenario.write_text(SCENARIO)
    done = run_here("cluster", "label", scenario, *where(bed), folder=folder)
    assert done.returncode == 0, done.stderr
    assert "3 nodes changed" in done.stdout
    yield scenario
    if SPARE in node_names(bed):
        Happenings(bed.connection).remove(SPARE)
    done = run_here("cluster", "label", "--clear", *where(bed), folder=folder)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def run(bed, labelled, tmp_path_factory):
    live = LiveRun(bed, tmp_path_factory.mktemp("actual") / "actual", labelled, "--infrastructure", "actual")
    live.wait_round(1)
    yield live
    live.stop()


def clients(run):
    """The clients of the configuration that is deployed."""
    state = attach(run.path).state()
    return sorted(state.current.clients)


def takes_part(run, name):
    run.wait_for(f"{name} takes part", lambda: name in clients(run), 90)
    after = run.rounds()[-1]
    run.wait_round(after + 2)
    result = run.events("round_finished")[-1].result
    assert name in {client.client for client in result.clients}


def left(run, name):
    run.wait_for(f"{name} left", lambda: name not in clients(run), 90)


def test_only_nodes_that_can_take_part_do_and_each_is_its_own_place(bed, run):
    assert sorted(run.events("planned")[0].configuration.clients) == ["n2"]  # n3 is labelled, and cordoned
    places = {pod["metadata"]["labels"]["aiotwin.io/node"]: pod["spec"]["nodeName"] for pod in bed.pods(run.id)}
    assert places == {"n1": "n1", "n2": "n2"}


def test_uncordoning_a_node_is_a_join(bed, run):
    done = Happenings(bed.connection).add(SPARE)
    assert done.state == "Ready"
    takes_part(run, SPARE)
    (pod,) = bed.pods(run.id, SPARE)
    assert pod["spec"]["nodeName"] == SPARE


def test_a_label_that_changes_is_another_link(bed, run):
    run_testbed("kubectl", "label", "node", "n2", "comm/n1=70", "--overwrite")
    run.wait_for("the link", lambda: any("n2" in event.change.links for event in run.events("infrastructure_changed")))
    assert attach(run.path).state().infrastructure.nodes["n2"].links["n1"] == 70


def test_what_clients_used_is_in_every_row(run):
    row = attach(run.path).metrics(source="journal").iloc[-1]
    for name in clients(run):
        assert 0 < row[f"client/{name}/cpu_seconds"] < 60
        assert 100 < row[f"client/{name}/peak_rss_mb"] < 400


def test_cordoning_is_leaving_and_its_pod_goes(bed, run):
    assert Happenings(bed.connection).remove(SPARE).state == "Ready, cordoned"
    left(run, SPARE)
    run.wait_for("its pod is gone", lambda: not bed.pods(run.id, SPARE), 60)


def test_draining_takes_the_pod_at_once(bed, run):
    happenings = Happenings(bed.connection)
    happenings.add(SPARE)
    takes_part(run, SPARE)
    (pod,) = bed.pods(run.id, SPARE)
    assert happenings.remove(SPARE, drain=True).state == "Ready, cordoned"
    assert pod["metadata"]["uid"] not in {each["metadata"]["uid"] for each in bed.pods(run.id, SPARE)}
    left(run, SPARE)


def test_a_machine_that_falls_silent_leaves_and_comes_back(bed, run):
    Happenings(bed.connection).add(SPARE)
    takes_part(run, SPARE)
    run_testbed("node-freeze", SPARE.removeprefix("n"))
    try:
        left(run, SPARE)
        ready = next(
            c
            for c in bed.connection.request("GET", f"/api/v1/nodes/{SPARE}")["status"]["conditions"]
            if c["type"] == "Ready"
        )
        assert ready["status"] != "True"
    finally:
        run_testbed("node-thaw", SPARE.removeprefix("n"))
    takes_part(run, SPARE)


def test_a_killed_pod_is_followed_by_another(bed, run):
    before = {pod["metadata"]["uid"] for pod in bed.pods(run.id, SPARE)}
    done = Happenings(bed.connection).fail(run.id, SPARE)
    assert "was killed" in done.what
    run.wait_for("another pod", lambda: {p["metadata"]["uid"] for p in bed.pods(run.id, SPARE)} - before, 60)
    takes_part(run, SPARE)


def test_links_are_measured_between_pods_and_written_to_the_nodes(bed, run, labelled):
    """While a run is under way: it takes the measured costs over."""
    done = run_here(
        "cluster",
        "measure",
        "--mb",
        "8",
        "--image",
        "docker.io/aiotwin/fl-aggregator:test",
        "--json",
        *where(bed),
        folder=labelled.parent,
    )
    assert done.returncode == 0, done.stderr
    links = {(link["node"], link["peer"]): link for link in json.loads(done.stdout)["links"]}
    assert links.keys() == {("n2", "n1"), ("n3", "n1")}
    for (name, peer), link in links.items():
        assert 1 < link["rate"] < 100_000  # MB/s
        assert link["cost"] == pytest.approx(1000 / link["rate"], rel=1e-3)
        meta = node(bed, name)
        assert float(meta["labels"][f"comm/{peer}"]) == link["cost"]
        assert json.loads(meta["annotations"][MORE])["rates"] == {peer: link["rate"]}
        assert "3 times 8 MB" in meta["annotations"][MEASURED]
    assert bed.left("measure") == {}
    cost = links["n2", "n1"]["cost"]
    run.wait_for("the new cost", lambda: float(attach(run.path).state().infrastructure.nodes["n2"].links["n1"]) == cost)


def test_a_node_that_is_deleted_leaves_and_after_a_stop_nothing_is_left(bed, run):
    run_testbed("kubectl", "delete", "node", SPARE)
    left(run, SPARE)
    done = run_here("stop", run.path, folder=run.path.parent)
    assert done.returncode == 0, done.stderr
    run.process.wait(120)
    assert attach(run.path).status == "stopped"
    assert run.nothing_left()
