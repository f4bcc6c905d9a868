"""One command gives every group of a workshop a namespace, limits and a kubeconfig that nobody else can read."""

import base64
import http.server
import json
import re
import stat
import threading
import uuid
from pathlib import Path
from typing import ClassVar

import pytest
import yaml

from aiotwin_nb.cli import main
from aiotwin_nb.cluster.connection import Connection
from aiotwin_nb.cluster.groups import group_names, manifests_of
from aiotwin_nb.cluster.permissions import NEEDS, lacking
from aiotwin_nb.errors import InvalidInput

ROOT = Path(__file__).resolve().parents[2]
SECRET = "token-that-nobody-may-see"


class ApiServer(http.server.BaseHTTPRequestHandler):
    """Keeps what it is given, by path, as an API server does."""

    objects: ClassVar[dict] = {}
    asked: ClassVar[list] = []

    def do_GET(self):
        self._say(200 if self.path in self.objects else 404, self.objects.get(self.path, {"message": "not found"}))

    def do_PATCH(self):
        path, body = self.path.partition("?")[0], self._body()
        old = self.objects.get(path)
        same = old is not None and {k: v for k, v in old.items() if k != "metadata"} == {
            k: v for k, v in body.items() if k != "metadata"
        }
        version = old["metadata"]["resourceVersion"] if same else str(len(self.asked))
        self.objects[path] = {**body, "metadata": {**body["metadata"], "resourceVersion": version}}
        self._say(200, self.objects[path])

    def do_POST(self):
        body = self._body()
        assert body["kind"] == "TokenRequest"
        status = {"token": f"{SECRET}-{len(self.asked)}", "expirationTimestamp": "2030-01-01T08:00:00Z"}
        self._say(201, {**body, "status": status})

    def do_DELETE(self):
        self._body()
        found = self.objects.pop(self.path, None)
        self._say(200 if found else 404, found or {"message": "not found"})

    def _body(self):
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or "{}")
        self.asked.append((self.command, self.path.partition("?")[0], body))
        return body

    def _say(self, status, value):
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    handler = type("Handler", (ApiServer,), {"objects": {}, "asked": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as listening:
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        handler.url = f"http://127.0.0.1:{listening.server_address[1]}"
        yield handler
        listening.shutdown()


@pytest.fixture
def administrator(server, tmp_path):
    config = {
        "clusters": [{"name": "room", "cluster": {"server": server.url}}],
        "users": [{"name": "admin", "user": {"token": "the-administrators"}}],
        "contexts": [{"name": "admin", "context": {"cluster": "room", "user": "admin"}}],
        "current-context": "admin",
    }
    path = tmp_path / "admin.kubeconfig"
    path.write_text(yaml.safe_dump(config))
    return path


def groups(administrator, out, *more, count=2):
    return main(["cluster", "groups", str(count), "--kubeconfig", str(administrator), "--out", str(out), *more])


def test_every_group_gets_a_private_file_and_no_secret_is_printed(administrator, server, tmp_path, capsys):
    out = tmp_path / "groups"
    assert groups(administrator, out) == 0
    printed = "".join(capsys.readouterr())
    files = sorted(out.iterdir())
    assert [file.name for file in files] == ["aiotwin-group-1.kubeconfig", "aiotwin-group-2.kubeconfig"]
    tokens = set()
    for number, file in enumerate(files, start=1):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        document = yaml.safe_load(file.read_text())
        (user,) = document["users"]
        assert user["user"]["token"].startswith(SECRET)
        assert "the-administrators" not in file.read_text()
        assert document["clusters"][0]["cluster"]["server"] == server.url
        assert document["contexts"][0]["context"]["namespace"] == f"aiotwin-group-{number}"
        tokens.add(user["user"]["token"])
        assert Connection.open(file).namespace == f"aiotwin-group-{number}"
    assert len(tokens) == 2
    assert stat.S_IMODE(out.stat().st_mode) == 0o700
    assert SECRET not in printed
    assert "the-administrators" not in printed
    assert "aiotwin-group-2: 8 objects made or changed" in printed
    assert "valid until 2030-01-01T08:00:00Z" in printed


def test_again_changes_nothing_but_the_tokens(administrator, server, tmp_path, capsys):
    out = tmp_path / "groups"
    groups(administrator, out, "--json")
    capsys.readouterr()
    before = [file.read_text() for file in sorted(out.iterdir())]
    assert groups(administrator, out, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert [group["changed"] for group in told["groups"]] == [0, 0]
    assert all(old != file.read_text() for old, file in zip(before, sorted(out.iterdir()), strict=True))
    assert SECRET not in json.dumps(told)


def test_more_groups_leave_the_others_alone_and_removing_takes_all_of_a_group(administrator, server, tmp_path, capsys):
    groups(administrator, tmp_path / "groups", count=1)
    groups(administrator, tmp_path / "groups", count=2)
    capsys.readouterr()
    assert groups(administrator, tmp_path / "groups", "--remove", count=2) == 0
    assert "removed: aiotwin-group-1, aiotwin-group-2" in capsys.readouterr().out
    left = [path for path in server.objects if re.search("namespaces/[^/]+$|clusterrolebindings", path)]
    assert left == []
    groups(administrator, tmp_path / "groups", "--remove", count=2)
    assert "removed: none" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["0"], "must be 1 to 100"),
        (["101"], "must be 1 to 100"),
        (["2", "--hours", "0"], "--hours 0: must be 1 to 168"),
        (["2", "--prefix", "Group One"], "--prefix 'Group One'"),
    ],
)
def test_wrong_input_makes_nothing(administrator, server, tmp_path, capsys, arguments, message):
    out = tmp_path / "groups"
    assert main(["cluster", "groups", *arguments, "--kubeconfig", str(administrator), "--out", str(out)]) == 2
    assert message in capsys.readouterr().err
    assert not out.exists()
    assert server.asked == []


def test_a_file_of_somebody_else_is_not_written_over(administrator, server, tmp_path, capsys):
    out = tmp_path / "groups"
    out.mkdir()
    (out / "aiotwin-group-2.kubeconfig").write_text("my notes, key: 123")
    assert groups(administrator, out) == 2
    error = capsys.readouterr().err
    assert "is no kubeconfig of aiotwin-group-2" in error
    assert "123" not in error
    assert server.asked == []
    assert (out / "aiotwin-group-2.kubeconfig").read_text() == "my notes, key: 123"


def test_the_objects_are_those_of_the_workshops_overlay():
    kinds = [item["kind"] for item in manifests_of("aiotwin-group-1")]
    assert kinds[0] == "Namespace"
    assert sorted(kinds[1:]) == [
        "ClusterRole", "ClusterRoleBinding", "LimitRange", "NetworkPolicy", "ResourceQuota", "Role", "RoleBinding",
        "ServiceAccount",
    ]  # fmt: skip
    (quota,) = (item for item in manifests_of("aiotwin-group-1") if item["kind"] == "ResourceQuota")
    patch = (ROOT / "k3s" / "overlays" / "workshop" / "kustomization.yaml").read_text()
    assert f'/spec/hard/pods, value: "{quota["spec"]["hard"]["pods"]}"' in patch
    assert quota["spec"]["hard"]["configmaps"] == "200"
    for item in manifests_of("aiotwin-group-7"):
        spaces = {item["metadata"].get("namespace"), *(s["namespace"] for s in item.get("subjects", []))} - {None}
        assert spaces <= {"aiotwin-group-7"}


def test_names_count_from_one():
    assert group_names(3, "room-b") == ["room-b-1", "room-b-2", "room-b-3"]
    with pytest.raises(InvalidInput, match="at most 50"):
        group_names(1, "x" * 51)


@pytest.mark.k3s
def test_on_a_real_cluster_a_group_may_run_in_its_namespace_and_nowhere_else(api_server, tmp_path, capsys):
    prefix = f"room-{uuid.uuid4().hex[:6]}"
    out = tmp_path / "groups"
    try:
        assert groups(api_server, out, "--prefix", prefix) == 0
        assert groups(api_server, out, "--prefix", prefix) == 0
        printed = capsys.readouterr().out
        assert f"{prefix}-2: as it was" in printed
        first = Connection.open(out / f"{prefix}-1.kubeconfig")
        assert first.namespace == f"{prefix}-1"
        assert lacking(first) == []
        first.namespace = f"{prefix}-2"
        refused = {need for need, _ in lacking(first)}
        assert refused == {need for need in NEEDS if need.namespaced}
        token = yaml.safe_load((out / f"{prefix}-1.kubeconfig").read_text())["users"][0]["user"]["token"]
        assert token not in printed
        claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
        assert claims["exp"] - claims["iat"] <= 8 * 3600
        quota = Connection.open(api_server).request("GET", f"/api/v1/namespaces/{prefix}-1/resourcequotas/runs")
        assert quota["spec"]["hard"]["pods"] == "20"
    finally:
        assert groups(api_server, out, "--prefix", prefix, "--remove") == 0
