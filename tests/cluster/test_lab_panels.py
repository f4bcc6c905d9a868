"""The lab's panels on a real API server: a cluster is chosen and watched, events are made to happen on it."""

import re
from html import unescape
from pathlib import Path

import pytest
from cluster_support import NODES, set_ready, wait_until, write_node
from fault_proxy import FaultProxy
from test_api_server import apply_run, pods, services

from aiotwin_nb import api
from aiotwin_nb.cluster.labels import labels_of
from aiotwin_nb.cluster.source import ClusterNode
from aiotwin_nb.orchestration.rundir import RunDirectory
from aiotwin_nb.orchestration.state import RunState
from aiotwin_nb.runtime.kubernetes import ClusterOptions
from aiotwin_nb.widgets.cluster import ClusterPanel
from aiotwin_nb.widgets.events import EventsPanel
from aiotwin_nb.widgets.follow import Snapshot
from aiotwin_nb.widgets.session import Session

pytestmark = pytest.mark.k3s
HANDS_ON = api.resolve("hands-on", {"events": []}).infrastructure


def text(widget):
    return unescape(re.sub(r"<[^>]*>", " ", widget.value))


@pytest.fixture
def session(tmp_path):
    session = Session("hands-on", runs=tmp_path / "runs")
    yield session
    session.close()


@pytest.fixture
def panel(session, connection, api_server, state, monkeypatch):
    """A cluster panel where the API server's kubeconfig is what there is."""
    monkeypatch.setenv("KUBECONFIG", str(api_server))
    made = ClusterPanel(session)
    yield made
    made.close()


def test_a_cluster_is_chosen_watched_and_given_up(panel, session, connection, api_server):
    write_node(connection, "n4", labels_of(HANDS_ON.nodes["n4"]))
    panel.choose("attach")
    wait_until(lambda: "the namespace aiotwin" in text(panel._note))  # the usual one: what makes it is told
    assert session.cluster is None, "looking is not choosing"
    panel._namespace.value = connection.namespace
    wait_until(lambda: panel.status is not None)
    panel._get.click()
    wait_until(lambda: session.cluster is not None)
    assert session.cluster == {
        "kubeconfig": str(api_server),
        "context": connection.context.name,
        "namespace": connection.namespace,
        "infrastructure": "simulated",
    }
    panel._kind.value = "actual"
    assert session.cluster["infrastructure"] == "actual"
    wait_until(lambda: "runs start here" in text(panel._note))
    assert "docker build" in text(panel._note), "notes are shown: here is no image"
    row = next(row for row in panel._plain_rows() if row[0] == "n4")
    assert row[1:3] == ("client", "Ready")
    assert "n2 20" in row[5]
    assert "0: 40" in row[6]
    wait_until(lambda: "watched" in text(panel._table))
    set_ready(connection, "n4", False)
    wait_until(lambda: "NotReady" in text(panel._table))
    write_node(connection, "n5", labels_of(HANDS_ON.nodes["n5"]))
    wait_until(lambda: "n5" in text(panel._table))
    panel.choose("embedded")
    assert session.cluster is None
    wait_until(lambda: "simulated" in text(panel._table))
    panel.choose("attach")  # it is attached to: no need to press a button again
    wait_until(lambda: session.cluster is not None)
    assert panel._namespace.value == connection.namespace


def test_what_is_shown_is_called_stale_while_the_api_server_is_away(session, connection, api_server, state, tmp_path):
    proxy = FaultProxy(api_server)
    write_node(connection, "n1")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KUBECONFIG", str(proxy.kubeconfig(tmp_path / "proxied")))
        panel = ClusterPanel(session)
        try:
            panel.choose("attach")
            wait_until(lambda: "watched" in text(panel._table))
            proxy.down = True
            proxy.cut()
            wait_until(lambda: "not up to date: nothing was heard for" in text(panel._table))
            assert "n1" in text(panel._table), "what was known is still shown"
            proxy.down = False
            wait_until(lambda: "watched" in text(panel._table))
        finally:
            panel.close()
            proxy.close()


def follow_run(session, connection, infrastructure):
    """Let a session follow a run on the cluster, which has begun and whose process is elsewhere."""
    path = Path(session.runs) / "run-1"
    options = ClusterOptions(**vars(connection.place), infrastructure=infrastructure)
    notes = {"runtime": "kubernetes", "cluster": vars(options)}
    RunDirectory.create(path, session.scenario, notes).release()
    session._run = api.Run(path)
    session.snapshot = Snapshot(path, RunState.before(api.rules(session.scenario)), "running")
    session.phase = "attached"


@pytest.fixture
def events(session):
    made = EventsPanel(session)
    yield made
    made.close()


def fill(events, kind, **values):
    events.settle()
    events.kind.value = kind
    for name, value in values.items():
        events.fields[name].value = value
    events.settle()
    assert events.mistakes == {}


def confirm(events):
    events.confirm.click()
    wait_until(lambda: "asking" not in events.said.value, 30)
    return text(events.said)


def state_of(connection, name):
    return ClusterNode.of(connection.request("GET", f"{NODES}/{name}")).describe()


def offered(events):
    return [field.label for field in events._form.children]


def test_own_nodes_leave_and_join(session, events, connection):
    for name in ("n4", "n5"):
        write_node(connection, name, labels_of(HANDS_ON.nodes[name]))
    follow_run(session, connection, "actual")
    fill(events, "leave", node="n4", how="cordon")
    assert offered(events) == ["node", "how"], "a cluster knows no rounds"
    assert "n4 leaves. The cluster says after" in confirm(events)
    assert "Ready, cordoned" in text(events.said)
    assert state_of(connection, "n4") == "Ready, cordoned"
    fill(events, "join", ready="labelled", machine="n4")
    assert offered(events) == ["cluster node", "ready node"]
    assert "n4 joins" in confirm(events)
    assert state_of(connection, "n4") == "Ready"
    write_node(connection, "worker-7")
    fill(
        events, "join", ready="own", machine="worker-7", id="n9", role="client", links="n1: 150, n2: 120", data="7: 40"
    )
    assert "worker-7 joins" in confirm(events)
    labels = connection.request("GET", f"{NODES}/worker-7")["metadata"]["labels"]
    assert (labels["fl/type"], labels["aiotwin.io/id"], labels["comm/n2"]) == ("client", "n9", "120")
    fill(events, "join", ready="labelled", machine="n44")
    assert "the cluster has no node 'n44'" in confirm(events)
    assert "Did you mean" in text(events.said)
    assert not list((session.runs / "run-1" / "inbox").iterdir()), "the run hears of it from the cluster, not from here"


def test_a_pod_fails_and_another_takes_its_place(session, events, connection):
    apply_run(connection, services())
    wait_until(lambda: len(pods(connection)) == 3, 30, 0.1)
    follow_run(session, connection, "simulated")
    events.settle()
    assert dict(map(reversed, events.kind.options))["fail"] == "A pod fails"
    fill(events, "fail", node="n1")  # also the global aggregator
    assert "starts another one" in text(events.estimate)
    fill(events, "fail", node="n4")
    before = {item["metadata"]["name"] for item in pods(connection)}
    told = confirm(events)
    (killed,) = [name for name in before if "-cl-n4-" in name]
    assert f"{killed} was killed. The cluster says after" in told
    assert killed not in {item["metadata"]["name"] for item in pods(connection)}
    fill(events, "fail", node="n8")
    assert "there is no pod of n8 in run run-1" in confirm(events)


def test_simulated_nodes_come_and_go_by_commands(session, events, connection):
    follow_run(session, connection, "simulated")
    fill(events, "leave", node="n4")
    assert offered(events) == ["node", "when", "after round"]
    events.confirm.click()
    assert "Sent: n4 leaves" in text(events.said)
    assert len(list((session.runs / "run-1" / "inbox").iterdir())) == 1
