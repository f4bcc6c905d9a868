"""Kubeconfigs, quantities, usage, and what a cluster lacks: from plain dictionaries."""

import json
import sys

import pytest
from cluster_support import kubeconfig, node_item

from aiotwin_nb.cli import main
from aiotwin_nb.cluster import find_kubeconfigs, open_connection
from aiotwin_nb.cluster.backoff import BackOff
from aiotwin_nb.cluster.kubeconfig import choose_context
from aiotwin_nb.cluster.manifests import Images
from aiotwin_nb.cluster.permissions import NEEDS
from aiotwin_nb.cluster.records import Records
from aiotwin_nb.cluster.survey import image_notes, node_lacks, permission_lacks, version_lacks
from aiotwin_nb.cluster.usage import UNKNOWN, Usage, quantity, usage
from aiotwin_nb.errors import AIoTwinError, InvalidInput
from aiotwin_nb.orchestration.ports import ClusterPlace


def test_files_are_found_where_kubectl_and_k3s_keep_them(tmp_path):
    home = kubeconfig(tmp_path / ".kube" / "config", "a", "b", current="b")
    named, k3s = tmp_path / "named", kubeconfig(tmp_path / "k3s.yaml", "default")
    found = find_kubeconfigs({"KUBECONFIG": str(named)}, home=tmp_path, k3s=k3s)
    assert [(each.path, each.contexts) for each in found] == [(named, ()), (home, ("b", "a")), (k3s, ("default",))]
    assert found[0].problem.startswith("there is no such file")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\xff\xfe\x00", "cannot be read as a text file"),
        (b"a: [", "is not YAML"),
        (b"- 1", "names no context"),
        (b"contexts: 3", "names no context"),
        (b"{}", "names no context"),
    ],
)
def test_files_that_are_no_kubeconfig(tmp_path, content, words):
    path = tmp_path / "config"
    path.write_bytes(content)
    with pytest.raises(InvalidInput, match=f"{path}: {words}"):
        choose_context(path, None)


def test_contexts_are_chosen_by_name_or_are_the_current_one(tmp_path):
    path = kubeconfig(tmp_path / "config", "lab", "home", current="home")
    assert choose_context(path, None).name == "home"
    assert choose_context(path, "lab").namespace == "of-lab"
    with pytest.raises(
        InvalidInput, match=r"there is no context 'lap': .*config: names home, lab. Did you mean 'lab'\?"
    ):
        choose_context(path, "lap")
    kubeconfig(path, "lab", current="")
    with pytest.raises(InvalidInput, match="there is no current context"):
        choose_context(path, None)


def test_the_attached_cluster_is_used_unless_one_is_named(tmp_path, state):
    mine, other = kubeconfig(tmp_path / "mine", "m"), kubeconfig(tmp_path / "other", "o")
    Records().attach(ClusterPlace(str(mine), "m", "group-1"))
    connection = open_connection()
    assert (connection.context.name, connection.namespace) == ("m", "group-1")
    assert open_connection(namespace="group-2").namespace == "group-2"
    assert open_connection(other).context.name == "o"
    assert open_connection(other).namespace == "of-o"
    mine.unlink()
    with pytest.raises(InvalidInput, match="there is no kubeconfig here"):
        open_connection()


def test_damaged_records_are_told(state):
    state.mkdir(parents=True)
    (state / "clusters.json").write_text("{")
    with pytest.raises(InvalidInput, match=r"clusters.json: is damaged; remove it"):
        Records().attached  # noqa: B018


def test_an_api_server_that_is_not_there(tmp_path, state, capsys):
    path = kubeconfig(tmp_path / "config", "lab")
    assert main(["cluster", "attach", "--kubeconfig", str(path)]) == 1
    said = capsys.readouterr()
    assert "lab: not reachable" in said.out
    assert "the API server https://127.0.0.1:1 does not answer" in said.out
    assert "top-secret" not in said.out + said.err
    assert Records().attached is None
    assert main(["cluster", "clean", "run-1", "--kubeconfig", str(path)]) == 1
    assert "aiotwin: looking what is left of the run: the API server" in capsys.readouterr().err


def test_without_the_client_library_the_command_that_gets_it_is_named(tmp_path, state, capsys, monkeypatch):
    path = kubeconfig(tmp_path / "config", "lab")
    monkeypatch.setitem(sys.modules, "kubernetes", None)
    assert main(["cluster", "clean", "run-1", "--kubeconfig", str(path)]) == 2
    assert "pip install 'aiotwin-nb[kubernetes]'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("2", 2),
        ("250m", 0.25),
        ("123456789n", 0.123456789),
        ("1Ki", 1024),
        ("4000000Ki", 4096000000),
        ("1.5Gi", 1610612736),
        ("5G", 5e9),
        ("", None),
        ("x", None),
        (None, None),
        ("1Zi", None),
    ],
)
def test_quantities(text, number):
    assert quantity(text) == (None if number is None else pytest.approx(number))


class Answers:
    """A connection that answers by path."""

    namespace = "aiotwin"

    def __init__(self, answers):
        self.answers, self.asked = answers, []

    def request(self, method, path, *_, **__):
        self.asked.append(path)
        if path not in self.answers:
            raise AIoTwinError("404 page not found")
        return self.answers[path]

    def asking(self, what):
        from contextlib import nullcontext

        return nullcontext()


METRICS = "/apis/metrics.k8s.io/v1beta1/nodes"
SUMMARY = {"node": {"cpu": {"usageNanoCores": 250000000}, "memory": {"workingSetBytes": 1000}}}


def test_usage_comes_from_the_metrics_api_else_the_kubelet_else_nowhere():
    metrics = {"items": [{"metadata": {"name": "a"}, "usage": {"cpu": "156m", "memory": "1Mi"}}]}
    told = Answers({METRICS: metrics, "/api/v1/nodes/b/proxy/stats/summary": SUMMARY})
    assert usage(told, ["a", "b", "c"]) == {
        "a": Usage(0.156, 1048576, "metrics API"),
        "b": Usage(0.25, 1000, "kubelet"),
        "c": UNKNOWN,
    }
    assert "/api/v1/nodes/a/proxy/stats/summary" not in told.asked


def test_what_is_lacking_is_told_with_what_to_do():
    assert version_lacks("v1.31.4+k3s1") == version_lacks("v1.20.2") == []
    assert version_lacks("v1.19.9")[0].startswith("Kubernetes 1.20 or later; this is v1.19.9")
    assert node_lacks({"a": node_item("a")}) == []
    assert "a is NotReady" in node_lacks({"a": node_item("a", ready=False)})[0]
    assert "`kubectl cordon b`" in node_lacks({"a": node_item("a"), "b": node_item("b", architecture="arm")})[0]
    refused = [(NEEDS[1], ("create",)), (NEEDS[-1], ("list",))]
    (told,) = permission_lacks(refused, "group-1")
    assert told.startswith("permissions in namespace group-1: create secrets (certificates of the FL services). An adm")


def test_images_are_known_by_any_of_their_names():
    images = ["docker.io/aiotwin/fl-aggregator:0.1", "aiotwin/fl-client@sha256:1"]
    (note,) = image_notes(
        {"a": node_item("a", images=images, architecture="arm64"), "b": node_item("b", ready=False)}, Images()
    )
    assert note.startswith(
        "image aiotwin/fl-client:0.1 is not known to be on a; build it with `docker build --platform linux/arm64"
    )


def test_pauses_double_up_to_the_most_and_begin_anew():
    back_off = BackOff(first=1, most=5, draw=lambda: 1.0)
    assert [back_off.pause() for _ in range(4)] == [1, 2, 4, 5]
    back_off.reset()
    assert back_off.pause() == 1
    assert BackOff(first=1, draw=lambda: 0.0).pause() == 0.5


def test_a_running_run_is_not_cleaned_away(tmp_path, state, capsys):
    from aiotwin_nb.orchestration.rundir import RunDirectory
    from aiotwin_nb.scenario import load_scenario

    directory = RunDirectory.create(tmp_path / "run", load_scenario("hands-on"))
    path = kubeconfig(tmp_path / "config", "lab")
    assert main(["cluster", "clean", str(directory.path), "--kubeconfig", str(path)]) == 2
    assert "is running; stop it first with: aiotwin stop" in capsys.readouterr().err
    directory.release()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["label"], "give a SCENARIO"),
        (["label", "hands-on", "--map", "n1"], "--map 'n1': must look like NODE=CLUSTER_NODE"),
        (["label", "hands-of"], "hands-of"),
        (["status"], "there is no kubeconfig here"),
        (["attach", "--kubeconfig", "nowhere"], "nowhere: there is no such file"),
    ],
)
def test_bad_input_is_one_error(state, capsys, arguments, words):
    assert main(["cluster", *arguments]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("aiotwin: ")
    assert words in said.err
    assert not state.exists()


def test_state_is_its_owners_alone(state):
    path = Records().write_kubeconfig("k3d", json.dumps({}))
    assert path.stat().st_mode & 0o077 == 0
    assert state.stat().st_mode & 0o077 == 0
