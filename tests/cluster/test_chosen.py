"""Which cluster a run is on: chosen once, noted in the run, and found again by whoever goes on with it."""

import json

import pytest
from cluster_support import kubeconfig

from aiotwin_nb import api
from aiotwin_nb.cli import main
from aiotwin_nb.cluster.records import Records
from aiotwin_nb.errors import InvalidInput
from aiotwin_nb.orchestration.ports import ClusterPlace
from aiotwin_nb.orchestration.rundir import RunDirectory
from aiotwin_nb.runtime.kubernetes import ClusterOptions
from aiotwin_nb.runtime.members import ClusterRun
from aiotwin_nb.widgets.session import Session

SECRET = "top-secret"


@pytest.fixture
def attached(tmp_path, state):
    """The place of the cluster that is attached to."""
    place = ClusterPlace(str(kubeconfig(tmp_path / "mine", "first", "second", token=SECRET)), "second", "group-1")
    Records().attach(place)
    return place


@pytest.fixture
def begun(monkeypatch):
    """What `aiotwin run` is called with, instead of calling it."""
    calls = []

    def start(directory, arguments, stdin):
        calls.append(arguments)
        raise InvalidInput("not started: it is a test")

    monkeypatch.setattr(api, "_start", start)
    return calls


def options_of(arguments):
    words = arguments[arguments.index("--runtime") :]
    return dict(zip(words[::2], words[1::2], strict=True))


def test_the_attached_cluster_is_named_when_a_run_begins(attached):
    options = ClusterRun(ClusterOptions(client_image="mine")).options
    assert options == ClusterOptions(**vars(attached), client_image="mine")


def test_a_cluster_that_is_named_stays_the_one(attached, tmp_path):
    other = kubeconfig(tmp_path / "other", "o")
    options = ClusterOptions(str(other)).resolved()
    assert (options.kubeconfig, options.context, options.namespace) == (str(other), "o", "of-o")


def test_a_run_keeps_its_cluster_when_another_one_is_attached_to(attached, tmp_path, state):
    path = tmp_path / "runs" / "r"
    noted = vars(ClusterOptions().resolved())
    RunDirectory.create(path, api.resolve("hands-on", {}), {"runtime": "kubernetes", "cluster": noted}).release()
    Records().attach(ClusterPlace(str(kubeconfig(tmp_path / "other", "o")), "o", "elsewhere"))
    found = api.cluster_of(path)
    assert (found.kubeconfig, found.context, found.namespace) == tuple(vars(attached).values())
    assert found.connect().context.name == "second"
    assert SECRET not in (path / "notes.json").read_text()
    assert json.loads((path / "notes.json").read_text())["cluster"]["namespace"] == "group-1"


def test_a_run_on_this_machine_has_none(tmp_path):
    RunDirectory.create(tmp_path / "r", api.resolve("hands-on", {}), {"runtime": "embedded"}).release()
    assert api.cluster_of(tmp_path / "r") is None


def test_a_lab_starts_where_its_cluster_is(attached, begun, tmp_path):
    session = Session("hands-on", runs=tmp_path / "runs")
    session.cluster = {**vars(attached), "infrastructure": "actual"}
    session.start()
    session._starter.join()
    assert options_of(begun[0]) == {
        "--runtime": "kubernetes",
        "--kubeconfig": attached.kubeconfig,
        "--context": "second",
        "--namespace": "group-1",
        "--infrastructure": "actual",
    }
    session.start(runtime="embedded")  # said here and now, it counts more
    session._starter.join()
    assert options_of(begun[1]) == {"--runtime": "embedded"}
    session.start(runtime="kubernetes", cluster={"namespace": "group-2", "client_image": "mine"})
    session._starter.join()
    assert options_of(begun[2])["--namespace"] == "group-2"
    assert options_of(begun[2])["--client-image"] == "mine"
    session.close()


def test_cleaning_up_finds_the_cluster_of_the_run(attached, tmp_path, capsys, monkeypatch):
    noted = vars(ClusterOptions().resolved())
    notes = {"runtime": "kubernetes", "cluster": noted}
    RunDirectory.create(tmp_path / "r", api.resolve("hands-on", {}), notes).release()
    Records().attach(None)
    asked = []
    monkeypatch.setattr("aiotwin_nb.cluster.cleaning.clean", lambda connection, run: asked.append(connection) or {})
    assert main(["cluster", "clean", str(tmp_path / "r")]) == 0
    assert main(["cluster", "clean", str(tmp_path / "r"), "--kubeconfig", attached.kubeconfig]) == 0
    assert [(c.context.name, c.namespace) for c in asked] == [("second", "group-1"), ("first", "of-first")]
