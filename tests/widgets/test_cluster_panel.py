"""Cluster: what there is, what is missing, and a provider that is slow, broken or fine."""

from __future__ import annotations

import re
import threading
import time
from html import unescape

import pytest
import yaml
from widgets_support import until

from aiotwin_nb.cluster import find_kubeconfigs, providers
from aiotwin_nb.errors import InvalidInput
from aiotwin_nb.orchestration.ports import ClusterProvider, ClusterStatus
from aiotwin_nb.widgets.cluster import ClusterPanel
from aiotwin_nb.widgets.session import Session

SECRET = "c2VjcmV0LXRva2Vu"


def kubeconfig(path, *contexts, current=None):
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "contexts": [{"name": name, "context": {"cluster": name, "user": "me"}} for name in contexts],
        "current-context": current or (contexts[0] if contexts else ""),
        "users": [{"name": "me", "user": {"token": SECRET}}],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(document))
    return path


class StandIn:
    """A provider for tests: ready at once, slow, lacking something or broken."""

    name = "attach"

    def __init__(self, **options):
        self.options = options
        self.created = False

    def create(self, scenario):
        self.created = True
        return self.status()

    def status(self):
        nodes = (
            {"name": "worker<1>", "role": "client", "ready": True, "cpu": 4, "memory": "8 GiB", "links": {"m": 20}},
        )
        return ClusterStatus("office", self.created, "v1.33", nodes if self.created else ())

    def delete(self):
        self.created = False

    def missing(self):
        return ()


@pytest.fixture
def provider(monkeypatch):
    """Register a stand-in under a name."""

    def register(name, factory):
        monkeypatch.setitem(providers._items, name, factory)

    return register


@pytest.fixture
def panel(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig(tmp_path / "config", "lab", "office", current="office")))
    session = Session("improvement", runs=tmp_path)
    made = ClusterPanel(session)
    yield made
    made.close()
    session.close()


def text(widget):
    return unescape(re.sub(r"<[^>]*>", " ", widget.value))


def test_the_stand_in_is_a_provider():
    assert isinstance(StandIn(), ClusterProvider)


def test_embedded_shows_the_scenarios_nodes(panel):
    shown = text(panel._table)
    for words in ("n1", "global aggregator", "ready (simulated)", "n1 120, n2 20, n3 60", "120 (labels 0, 1, 2)"):
        assert words in shown
    assert len(panel._plain_rows()) == 8
    assert "simulated on this machine" in text(panel._note)
    assert "n8, client, ready (simulated)" in panel.describe()


def test_the_table_follows_the_draft_and_marks_the_selected_node(panel):
    panel.session.change({"nodes.3.links.n2": 33})
    until(lambda: "n2 33" in text(panel._table))
    panel.session.selected = "n5"
    until(lambda: re.search(r"<tr class='aiotwin-chosen'><td>n5", panel._table.value))


def test_what_this_machine_lacks_is_what_the_provider_says(panel, monkeypatch):
    monkeypatch.setattr("aiotwin_nb.cluster.programs.shutil.which", lambda name: None)
    panel.choose("create")
    until(lambda: "install.sh | bash" in text(panel._note))
    assert "docs.docker.com" in text(panel._note)
    panel._creator.value = "k3s"
    until(lambda: "apt install curl" in text(panel._note))
    assert panel._get.disabled


def test_without_a_kubeconfig_it_says_how_to_name_one(panel, monkeypatch):
    monkeypatch.delenv("KUBECONFIG")
    monkeypatch.setattr("aiotwin_nb.widgets.cluster.find_kubeconfigs", list)
    panel.choose("attach")
    until(lambda: "there is no kubeconfig here ($KUBECONFIG" in text(panel._note))
    assert panel._file.layout.display == "none"


def test_contexts_are_offered_the_current_one_first_and_no_secret_is_kept(panel):
    panel.choose("attach")
    assert [name for name, _ in panel._context.options] == ["office", "lab"]
    assert SECRET not in repr(panel._file.value)
    assert all(SECRET not in str(widget.get_state()) for widget in (panel._file, panel._context, panel._note))


def test_attaching_shows_the_clusters_nodes(panel, provider):
    provider("attach", StandIn)
    panel.choose("attach")
    until(lambda: "not reachable" in text(panel._note))
    panel._get.click()
    until(lambda: panel.status and panel.status.reachable)
    until(lambda: "worker<1>" in text(panel._table))
    assert "office" in text(panel._note)
    assert "worker<1>" not in panel._table.value  # escaped
    assert panel.describe().splitlines()[0] == "attach: office, reachable"


def test_the_provider_is_told_file_and_context(panel, provider, tmp_path):
    made = []
    provider("attach", lambda **options: made.append(options) or StandIn(**options))
    panel.choose("attach")
    panel._context.value = "lab"
    until(lambda: made and made[-1]["context"] == "lab")
    assert made[-1] == {"kubeconfig": tmp_path / "config", "context": "lab", "namespace": "aiotwin"}


def test_creating_and_deleting(panel, provider):
    made = []

    def factory():
        made.append(StandIn())
        return made[-1]

    provider("k3d", factory)
    panel.choose("create")
    until(lambda: panel.status)
    panel._get.disabled = False  # Docker and k3d are missing here
    panel._get.click()
    until(lambda: panel.status and panel.status.reachable)
    panel._delete.click()
    until(lambda: panel.status and not panel.status.reachable)
    assert len(made) == 1


def test_what_a_provider_lacks_is_shown(panel, provider):
    class Lacking(StandIn):
        def missing(self):
            return ["helm: `apt install helm`"]

    provider("attach", Lacking)
    panel.choose("attach")
    until(lambda: "apt install helm" in text(panel._note))
    assert "<code>apt install helm</code>" in panel._note.value
    until(lambda: panel._get.disabled and not panel._look.disabled)


@pytest.mark.parametrize("error", [InvalidInput("the API server refused the token"), OSError("no route to host")])
def test_what_goes_wrong_is_shown(panel, provider, error):
    class Broken(StandIn):
        def status(self):
            raise error

    provider("attach", Broken)
    panel.choose("attach")
    until(lambda: str(error) in text(panel._note))
    until(lambda: not panel._look.disabled)


def test_a_slow_provider_holds_nobody_up(panel, provider):
    gate = threading.Event()

    class Slow(StandIn):
        def status(self):
            gate.wait(5)
            return super().status()

    provider("attach", Slow)
    began = time.monotonic()
    panel.choose("attach")
    assert time.monotonic() - began < 0.5
    assert "asking" in text(panel._note)
    panel.choose("embedded")  # its answer comes too late and is not shown
    gate.set()
    time.sleep(0.2)
    assert "simulated on this machine" in text(panel._note)
    assert panel.status is None


class TestKubeconfigs:
    def test_all_places_are_looked_at(self, tmp_path):
        named = [kubeconfig(tmp_path / name, name) for name in ("a", "b")]
        home = kubeconfig(tmp_path / "home" / ".kube" / "config", "home").parent.parent
        k3s = kubeconfig(tmp_path / "k3s.yaml", "default")
        found = find_kubeconfigs({"KUBECONFIG": ":".join(map(str, named))}, home=home, k3s=k3s)
        assert [each.contexts for each in found] == [("a",), ("b",), ("home",), ("default",)]
        assert not any(each.problem for each in found)

    def test_none(self, tmp_path):
        assert find_kubeconfigs({}, home=tmp_path, k3s=tmp_path / "k3s.yaml") == []

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            (None, "there is no such file"),
            (f"users: [token: {SECRET}", "is not YAML"),
            ("just text", "names no context"),
            ("contexts: 3", "names no context"),
            ("contexts: [{context: {}}, 7]", "names no context"),
        ],
    )
    def test_files_that_are_of_no_use_say_why_and_quote_nothing(self, tmp_path, content, words):
        path = tmp_path / "config"
        if content is not None:
            path.write_text(content)
        (found,) = find_kubeconfigs({"KUBECONFIG": str(path)}, home=tmp_path, k3s=tmp_path / "k3s.yaml")
        assert words in found.problem
        assert SECRET not in found.problem
