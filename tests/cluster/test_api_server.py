"""Against a real API server: applying, rights, attaching, labelling, cleaning up, making things happen to nodes."""

import base64
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import yaml
from cluster_support import NODES, set_ready, wait_until, write_node

from aiotwin_nb.cli import main
from aiotwin_nb.cluster.applying import apply_one, apply_owned, delete, read
from aiotwin_nb.cluster.bridge import Bridge
from aiotwin_nb.cluster.cleaning import clean, leftovers
from aiotwin_nb.cluster.connection import Connection
from aiotwin_nb.cluster.happenings import Happenings
from aiotwin_nb.cluster.labels import labels_of
from aiotwin_nb.cluster.manifests import Images, Names, Service, objects_of, owner
from aiotwin_nb.cluster.permissions import NEEDS, lacking
from aiotwin_nb.cluster.source import KubernetesNodeSource
from aiotwin_nb.cluster.survey import survey
from aiotwin_nb.cluster.usage import UNKNOWN, usage
from aiotwin_nb.errors import AIoTwinError, InvalidInput
from aiotwin_nb.orchestration.inbox import waiting
from aiotwin_nb.scenario import load_scenario
from fl_service.certificates import Authority

pytestmark = pytest.mark.k3s
ROOT = Path(__file__).resolve().parents[2]
HANDS_ON = load_scenario("hands-on").infrastructure


def services(run_id="run-1"):
    issue = Authority(run_id).issue
    return [
        Service("n1", "global-aggregator", "{}", issue("n1")),
        Service("n2", "local-aggregator", "{}", issue("n2")),
        Service("n4", "client", "{}", issue("n4"), task="pass"),
    ]


def apply_run(connection, made, run_id="run-1"):
    names = Names(run_id, connection.namespace)
    anchor = apply_one(connection, owner(names, {"run": run_id}))
    manifests = [item for service in made for item in objects_of(service, names, Images())]
    return [anchor, *apply_owned(connection, anchor, manifests)]


@pytest.fixture
def limited(connection, api_server, tmp_path):
    """A kubeconfig with the rights of k3s/base's account in the connection's namespace, and its token."""
    names = {"ServiceAccount": "serviceaccounts", "Role": "roles", "RoleBinding": "rolebindings"}
    for path in ("base/account.yaml", "nodes/cluster-role.yaml", "overlays/k3s/binding.yaml"):
        for item in yaml.safe_load_all((ROOT / "k3s" / path).read_text()):
            kubectl_apply(
                api_server, retargeted(item, connection.namespace), names.get(item["kind"]) and connection.namespace
            )
    path = f"/api/v1/namespaces/{connection.namespace}/serviceaccounts/aiotwin-orchestrator/token"
    request = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {"audiences": [], "expirationSeconds": 3600},
    }
    token = connection.request("POST", path, None, request)["status"]["token"]
    document = yaml.safe_load(api_server.read_text())
    document["users"][0]["user"] = {"token": token}
    document["contexts"][0]["context"]["namespace"] = connection.namespace
    kubeconfig = tmp_path / "limited.kubeconfig"
    kubeconfig.write_text(yaml.safe_dump(document))
    return kubeconfig, token


def retargeted(item, namespace):
    for subject in item.get("subjects", []):
        subject["namespace"] = namespace
    return item


def kubectl(kubeconfig, *arguments, text=None):
    command = [
        shutil.which("kubectl") or pytest.skip(reason="needs kubectl"),
        "--kubeconfig",
        str(kubeconfig),
        *arguments,
    ]
    return subprocess.run(command, input=text, capture_output=True, text=True, check=True, timeout=60).stdout


def kubectl_apply(kubeconfig, item, namespace):
    kubectl(kubeconfig, *(["-n", namespace] if namespace else []), "apply", "-f", "-", text=json.dumps(item))


# Applying, and rights.


def test_applying_twice_changes_nothing(connection):
    made = services()
    first = apply_run(connection, made)
    assert {applied.outcome for applied in first} == {"created"}
    assert len(first) == 1 + 4 + 4 + 3
    assert {applied.outcome for applied in apply_run(connection, made)} == {"unchanged"}


def test_a_run_needs_no_more_than_the_rights_it_is_given(connection, limited):
    orchestrator = Connection.open(limited[0])
    assert orchestrator.namespace == connection.namespace
    assert lacking(orchestrator) == []
    made = services()
    assert {a.outcome for a in apply_run(orchestrator, made)} == {"created"}
    assert {a.outcome for a in apply_run(orchestrator, made)} == {"unchanged"}
    assert delete(orchestrator, owner(Names("run-1", orchestrator.namespace), {}))
    wait_until(lambda: leftovers(connection, "run-1") == {}, 30, 0.2)


def test_secrets_can_be_made_and_not_read(connection, limited):
    orchestrator = Connection.open(limited[0])
    foreign = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "foreign", "namespace": connection.namespace}}
    apply_one(connection, {**foreign, "data": {"key": base64.b64encode(b"hidden").decode()}})
    with pytest.raises(AIoTwinError, match=r'reading Secret foreign: .*cannot get resource "secrets"'):
        read(orchestrator, foreign)
    assert apply_one(orchestrator, foreign).outcome == "unchanged"  # there is one: no word of what is in it
    assert "hidden" not in str(apply_one(orchestrator, foreign).object)


def test_rights_listed_by_the_api_server(connection, limited):
    lines = kubectl(limited[0], "auth", "can-i", "--list", "-n", connection.namespace).splitlines()[1:]
    verbs = {
        line.split()[0]: line[line.rindex("[") :].strip("[]").split() for line in lines if not line.startswith(" ")
    }
    assert set(verbs["secrets"]) == {"create", "delete"}
    granted = {need.resource if not need.group else f"{need.resource}.{need.group}": set(need.verbs) for need in NEEDS}
    assert {name: set(verbs[name]) for name in granted} == granted
    beyond = set(verbs) - set(granted) - {"podsecuritypolicies.policy"}  # of the test's namespace, not of the Role
    assert all("selfsubject" in name for name in beyond), beyond


def test_secrets_of_a_run_that_was_deleted_are_made_anew(connection):
    """The cluster takes them away with their old owner, some time later."""
    made, names = services(), Names("run-1", connection.namespace)
    apply_run(connection, made)
    delete(connection, owner(names, {}))
    apply_run(connection, made)
    time.sleep(3)
    assert {applied.outcome for applied in apply_run(connection, made)} == {"unchanged"}
    assert len(leftovers(connection, "run-1")["Secret"]) == 3


def pods(connection):
    return connection.request("GET", f"/api/v1/namespaces/{connection.namespace}/pods")["items"]


def test_restricted_namespaces_let_in_the_pods_of_a_run(restricted_connection):
    made = services()
    made[0] = replace(made[0], evaluator="{}", evaluator_credentials=made[0].credentials)
    apply_run(restricted_connection, made)
    wait_until(lambda: len(pods(restricted_connection)) == 3, 30, 0.1)
    assert {pod["metadata"]["annotations"]["kubernetes.io/psp"] for pod in pods(restricted_connection)} == {
        "restricted"
    }


@pytest.mark.parametrize(
    "careless",
    [
        {"allowPrivilegeEscalation": True},
        {"readOnlyRootFilesystem": False},
        {"runAsUser": 0, "runAsNonRoot": False},
        {"capabilities": {"add": ["NET_ADMIN"]}},
        {"seccompProfile": {"type": "Unconfined"}},
    ],
    ids=lambda careless: next(iter(careless)),
)
def test_and_no_careless_ones(restricted_connection, careless):
    names = Names("careless", restricted_connection.namespace)
    deployment = objects_of(services()[2], names, Images())[-1]
    deployment["spec"]["template"]["spec"]["containers"][0]["securityContext"].update(careless)
    apply_one(restricted_connection, deployment)

    def refusals():
        conditions = read(restricted_connection, deployment).get("status", {}).get("conditions", [])
        return [c["message"] for c in conditions if c["type"] == "ReplicaFailure"]

    wait_until(refusals, 30, 0.1)
    assert "PodSecurityPolicy: unable to admit pod" in refusals()[0]
    assert pods(restricted_connection) == []


# Attaching.


def test_what_a_cluster_lacks_is_told_with_the_command(connection):
    status = survey(connection)
    assert (status.reachable, status.version) == (True, "v1.20.2")
    (node,) = status.missing
    assert node.startswith("a node that is Ready and not cordoned: there is none")
    write_node(
        connection,
        "n1",
        {"fl/type": "client", "comm/n2": "20", "data/7": "40"},
        images=["docker.io/aiotwin/fl-client:0.1"],
    )
    write_node(connection, "n2", {"fl/type": "clown"}, cordoned=True, architecture="arm64")
    status = survey(connection)
    assert status.missing == ()
    assert (
        status.nodes[0].items()
        >= {
            "name": "n1",
            "role": "client",
            "ready": True,
            "cpu": "2",
            "memory": "4.1 GB",
            "links": {"n2": "20"},
            "data": "7: 40",
            "architecture": "amd64",
            "cores": 2.0,
            "cores_used": None,
            "usage_source": None,
        }.items()
    )
    assert (status.nodes[1]["ready"], status.nodes[1]["state"]) == (False, "Ready, cordoned")
    image, metrics = status.notes
    assert image.startswith(
        "image aiotwin/fl-aggregator:0.1 is not known to be on n1; build it with `docker build --platform linux/amd64 "
    )
    assert metrics.startswith("there is no metrics API, so CPU and memory in use are unknown")


def test_missing_rights_are_named(connection, limited, api_server):
    kubectl(api_server, "-n", connection.namespace, "delete", "rolebinding", "aiotwin-run")
    write_node(connection, "n1")
    (missing,) = survey(Connection.open(limited[0])).missing
    assert missing.startswith(
        f"permissions in namespace {connection.namespace}: get, create, patch, delete configmaps (conf"
    )
    assert "`kubectl apply -k k3s/overlays/k3s`" in missing
    assert "list, watch nodes" not in missing  # these are given elsewhere


def test_attach_remembers_and_runs_find_it(connection, api_server, state, capsys):
    write_node(connection, "n1")
    assert main(["cluster", "attach", "--kubeconfig", str(api_server), "--namespace", connection.namespace]) == 0
    assert "attached: used from now on" in capsys.readouterr().out
    assert main(["cluster", "status", "--json"]) == 0
    status = json.loads(capsys.readouterr().out)
    assert (status["reachable"], [n["name"] for n in status["nodes"]]) == (True, ["n1"])
    assert status == json.loads(json.dumps(asdict(survey(connection))))
    assert main(["cluster", "detach"]) == 0
    assert main(["cluster", "status"]) == 2
    assert "there is no kubeconfig here" in capsys.readouterr().err


def test_a_namespace_that_is_not_there_is_missing(api_server, connection, state, capsys):
    write_node(connection, "n1")
    assert main(["cluster", "attach", "--kubeconfig", str(api_server), "--namespace", "nowhere"]) == 1
    assert "missing: the namespace nowhere: `kubectl apply -k" in capsys.readouterr().out


def test_no_secret_is_ever_shown(connection, limited, state):
    """Every command, as a process of its own, also where it fails."""
    kubeconfig, token = limited
    write_node(connection, "n1")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONFAULTHANDLER": "1"}
    spoilt = kubeconfig.with_name("spoilt")
    spoilt.write_text(kubeconfig.read_text().replace("server: https", "server: httpx"))
    broken = kubeconfig.with_name("broken")
    broken.write_text(kubeconfig.read_text() + "\n\t: {")
    said = ""
    for file in (kubeconfig, spoilt, broken):
        for verb in (["attach"], ["status", "--json"], ["label", "hands-on"], ["clean", "run-1"]):
            command = [sys.executable, "-m", "aiotwin_nb", "cluster", *verb, "--kubeconfig", str(file)]
            done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)
            assert "Traceback" not in done.stderr, (verb, file.name, done.stderr)
            said += done.stdout + done.stderr
    said += "".join(path.read_text() for path in state.rglob("*") if path.is_file())
    assert token[:20] not in said
    assert token[-20:] not in said


# Nodes.


def test_a_scenario_is_written_to_the_nodes_and_read_back(connection, api_server, state, capsys):
    for name in HANDS_ON.nodes:
        write_node(connection, f"w-{name}")
    command = ["cluster", "label", "hands-on", "--kubeconfig", str(api_server)]
    pairs = [part for name in HANDS_ON.nodes for part in ("--map", f"{name}=w-{name}")]
    assert main([*command, *pairs, "--dry-run"]) == 0
    assert "8 nodes would change" in capsys.readouterr().out
    assert main([*command, *pairs]) == 0
    assert "w-n4: " in (out := capsys.readouterr().out)
    assert "8 nodes changed" in out
    source = KubernetesNodeSource(connection).start()
    try:
        assert source.infrastructure() == HANDS_ON
        assert main([*command, *pairs]) == 0
        assert "0 nodes changed" in capsys.readouterr().out
        assert main([*command[:2], "--clear", *command[3:]]) == 0
        wait_until(lambda: not source.infrastructure().nodes)
    finally:
        source.close()


def test_what_happens_to_nodes_is_in_the_inbox_within_a_second(connection, tmp_path):
    for name, node in HANDS_ON.nodes.items():
        write_node(connection, name, labels_of(node))
    source = KubernetesNodeSource(connection).start()
    bridge = Bridge(source, tmp_path / "inbox", source.infrastructure()).start()
    happenings, inbox = Happenings(connection), tmp_path / "inbox"

    def told():
        content = [json.loads(path.read_text()) for path in waiting(inbox)]
        for path in waiting(inbox):
            path.unlink()
        return [(c.get("remove", []), [n["id"] for n in c.get("add", [])], c.get("link", {})) for c in content]

    try:
        assert told() == []
        set_ready(connection, "n8", False)  # NotReady
        assert wait_until(lambda: waiting(inbox)) < 1
        assert told() == [(["n8"], [], {})]
        set_ready(connection, "n8", True)
        assert wait_until(lambda: waiting(inbox)) < 1
        assert told() == [([], ["n8"], {})]
        done = happenings.remove("n7")  # cordon
        assert (done.what, done.state) == ("n7 leaves", "Ready, cordoned")
        wait_until(lambda: waiting(inbox))
        assert told() == [(["n7"], [], {})]
        assert happenings.add("n7").state == "Ready"  # uncordon
        wait_until(lambda: waiting(inbox))
        assert told() == [([], ["n7"], {})]
        connection.request(
            "PATCH", f"{NODES}/n4", None, {"metadata": {"labels": {"comm/n2": "40"}}}, "application/merge-patch+json"
        )
        wait_until(lambda: waiting(inbox))
        assert told() == [([], [], {"n4": {"n2": 40}})]
        connection.request("DELETE", f"{NODES}/n6")
        wait_until(lambda: waiting(inbox))
        assert told() == [(["n6"], [], {})]
        write_node(connection, "n6")
        assert happenings.add("n6", HANDS_ON.nodes["n6"]).state == "Ready"  # a new one, labelled
        wait_until(lambda: waiting(inbox))
        assert told() == [([], ["n6"], {})]
    finally:
        bridge.close()
        source.close()


def test_failing_kills_the_pod_and_reads_back_what_follows(connection):
    apply_run(connection, services())
    wait_until(lambda: len(pods(connection)) == 3, 30, 0.1)
    before = {item["metadata"]["name"] for item in pods(connection)}
    done = Happenings(connection).fail("run-1", "n4")
    (killed,) = [name for name in before if "-cl-n4-" in name]
    assert done.what == f"{killed} was killed"
    assert killed not in {item["metadata"]["name"] for item in pods(connection)}
    wait_until(lambda: len(pods(connection)) == 3, 30, 0.1)
    with pytest.raises(InvalidInput, match="there is no pod of n5 in run run-1"):
        Happenings(connection).fail("run-1", "n5")


def test_draining_deletes_our_pods_there_and_no_others(connection):
    write_node(connection, "n1")
    mine = {"app.kubernetes.io/part-of": "aiotwin"}
    for name, labels in (("mine", mine), ("other", {})):
        spec = {"containers": [{"name": "c", "image": "none"}], "nodeName": "n1", "terminationGracePeriodSeconds": 0}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels}, "spec": spec}
        wait_until(lambda pod=pod: made(connection, pod), 20, 0.2)
    assert Happenings(connection).remove("n1", "drain").state == "Ready, cordoned"
    assert [item["metadata"]["name"] for item in pods(connection)] == ["other"]


def made(connection, pod):
    """Whether a pod could be made: the namespace's default account comes a moment after the namespace."""
    try:
        with connection.asking("making a pod"):
            connection.request("POST", f"/api/v1/namespaces/{connection.namespace}/pods", None, pod)
    except AIoTwinError:
        return False
    return True


# Cleaning up.


def test_cleaning_leaves_nothing_of_the_run_and_all_of_the_others(connection, api_server, state, capsys):
    apply_run(connection, services())
    apply_run(connection, services("run-2"), "run-2")
    options = ["--kubeconfig", str(api_server), "--namespace", connection.namespace]
    assert main(["cluster", "clean", "run-1", *options]) == 0
    assert ", 0 are left" in capsys.readouterr().out
    assert leftovers(connection, "run-1") == {}
    assert {kind: len(names) for kind, names in leftovers(connection, "run-2").items()}.items() >= {
        "Deployment": 3,
        "Service": 2,
        "ConfigMap": 4,
        "Secret": 3,
    }.items()
    assert main(["cluster", "clean", "run-1", *options]) == 0
    assert "run-1: 0 objects were there, 0 are left" in capsys.readouterr().out


def test_cleaning_also_takes_what_lost_its_owner(connection):
    apply_run(connection, services())
    names = Names("run-1", connection.namespace)
    path = f"/api/v1/namespaces/{connection.namespace}/configmaps/{names.owner}"
    connection.request("DELETE", path, None, {"propagationPolicy": "Orphan"})
    wait_until(lambda: read(connection, owner(names, {})) is None, 30, 0.1)
    assert len(leftovers(connection, "run-1")["Deployment"]) == 3
    assert len(clean(connection, "run-1")["Deployment"]) == 3
    assert leftovers(connection, "run-1") == {}


# Manifests.


@pytest.mark.parametrize("overlay", ["k3d", "k3s", "workshop"])
def test_overlays_are_accepted(api_server, connection, overlay):
    """Only the namespaces are made for real: what is in them is tried, and nothing of it stays."""
    built = list(yaml.safe_load_all(kubectl(api_server, "kustomize", str(ROOT / "k3s" / "overlays" / overlay))))
    namespaces = [item for item in built if item["kind"] == "Namespace"]
    for item in namespaces:
        apply_one(connection, item)
    try:
        kubectl(api_server, "apply", "--dry-run=server", "-f", "-", text=yaml.safe_dump_all(built))
    finally:
        for item in namespaces:
            connection.request("DELETE", f"/api/v1/namespaces/{item['metadata']['name']}")
        for item in namespaces:
            wait_until(lambda item=item: read(connection, item) is None, 60, 0.2)


def test_the_orchestrator_in_the_cluster_is_accepted(api_server, connection, tmp_path):
    shutil.copytree(ROOT / "k3s", tmp_path / "k3s")
    overlay = tmp_path / "k3s" / "overlays" / "k3s" / "kustomization.yaml"
    overlay.write_text(overlay.read_text().replace("# components:", "components:"))
    built = list(yaml.safe_load_all(kubectl(api_server, "kustomize", str(overlay.parent))))
    ours = [i for i in built if i["kind"] in ("Deployment", "PersistentVolumeClaim", "ConfigMap", "Service")]
    assert len(ours) == 4
    for item in ours:
        item["metadata"]["namespace"] = connection.namespace
    kubectl(api_server, "apply", "--dry-run=server", "-f", "-", text=yaml.safe_dump_all(ours))


def test_without_metrics_api_and_kubelet_usage_is_unknown(connection):
    """The answer is a 404 whose body is plain text."""
    write_node(connection, "n1")
    assert usage(connection, ["n1"]) == {"n1": UNKNOWN}


def test_nodes_by_the_dozen_are_told_once_each(connection):
    changes, lock = [], threading.Lock()
    source = KubernetesNodeSource(connection).start()
    try:
        source.watch(lambda change: lock.acquire() and (changes.append(change), lock.release()))
        for number in range(12):
            write_node(connection, f"n{number}", {"fl/type": "client"})
        wait_until(lambda: len(source.infrastructure().nodes) == 12)
        assert sorted(node.id for change in changes for node in change.added) == sorted(source.infrastructure().nodes)
    finally:
        source.close()
