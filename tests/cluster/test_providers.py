"""k3d and the K3s installer through stand-ins on PATH that record how they are called: the real ones were not there."""

import json
import os
import stat
import sys
from pathlib import Path

import pytest
import yaml

from aiotwin_nb.cli import main
from aiotwin_nb.cluster import k3s, providers
from aiotwin_nb.cluster.records import Records
from aiotwin_nb.errors import InvalidInput
from aiotwin_nb.orchestration.ports import ClusterProvider, ClusterStatus

TOKEN = "K10deadbeef::server:0123456789abcdef"
KUBECONFIG = {
    "apiVersion": "v1",
    "kind": "Config",
    "current-context": "default",
    "clusters": [{"name": "default", "cluster": {"server": "https://127.0.0.1:6443"}}],
    "contexts": [{"name": "default", "context": {"cluster": "default", "user": "default"}}],
    "users": [{"name": "default", "user": {"token": "very-secret-user-token"}}],
}
STAND_IN = """\
#!{python}
import json, os, sys
name, text = os.path.basename(sys.argv[0]), ""
if name in ("ssh", "sh", "sudo"):
    text = sys.stdin.read()
with open({log!r}, "a") as log:
    log.write(json.dumps([name, sys.argv[1:], text]) + "\\n")
for part, answer in json.load(open({answers!r})):
    if part in " ".join([name, *sys.argv[1:], text]):
        sys.stdout.write(answer.get("out", "")), sys.stderr.write(answer.get("err", ""))
        sys.exit(answer.get("code", 0))
"""


class Programs:
    """Stand-ins in a folder that is all of PATH; they answer what they are told to and note their calls."""

    def __init__(self, folder):
        self.folder = folder
        self._log, self._answers = folder / "log.jsonl", folder / "answers.json"
        self.answer([])

    def install(self, *names):
        for name in names:
            path = self.folder / name
            path.write_text(STAND_IN.format(python=sys.executable, log=str(self._log), answers=str(self._answers)))
            path.chmod(0o755)

    def answer(self, answers):
        """(part of the call, {out, err, code}) in order; the first that fits is given, else nothing and success."""
        self._answers.write_text(json.dumps(answers))

    @property
    def calls(self):
        lines = self._log.read_text().splitlines() if self._log.exists() else []
        return [json.loads(line) for line in lines]

    @property
    def commands(self):
        return [" ".join([name, *arguments]) for name, arguments, _ in self.calls]


@pytest.fixture
def programs(tmp_path, monkeypatch, state):
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return Programs(folder)


@pytest.fixture
def reachable(monkeypatch):
    """What comes after the programs (a real API server) is shown elsewhere: here the cluster answers well."""
    opened = []

    def survey(connection, images=None):
        opened.append(connection)
        return ClusterStatus(connection.context.name, True, "v1.31.0")

    monkeypatch.setattr("aiotwin_nb.cluster.creating.survey", survey)
    monkeypatch.setattr("aiotwin_nb.cluster.creating.prepare_namespace", lambda connection: None)
    return opened


def cluster(*arguments):
    return main(["cluster", *arguments])


def test_every_provider_is_what_the_notebook_expects(state):
    assert providers.names()[:3] == ["attach", "k3d", "k3s"]
    for name in ("attach", "k3d", "k3s"):
        assert isinstance(providers.get(name)(), ClusterProvider)


def test_missing_tools_are_named_with_how_to_get_them(programs, capsys):
    assert cluster("create", "--provider", "k3d") == 2
    said = capsys.readouterr().err
    assert "docker: see docs.docker.com" in said
    assert (
        "k3d: its official installer gets it: `curl -s https://raw.githubusercontent.com/k3d-io/k3d/main/install.sh | bash`"
        in said
    )
    assert cluster("create", "--provider", "k3s", "--host", "pi@one", "--yes") == 2
    assert "ssh: `sudo apt install openssh-client`" in capsys.readouterr().err
    assert cluster("create", "--provider", "k3s", "--yes") == 2
    assert "curl: `sudo apt install curl`" in capsys.readouterr().err
    assert programs.calls == []


# k3d.

K3D = [
    ("cluster list", {"out": "[]"}),
    ("image inspect aiotwin/fl-client", {"code": 1}),
    ("kubeconfig get", {"out": yaml.safe_dump(KUBECONFIG)}),
]


def test_k3d_creates_a_cluster_brings_the_images_and_attaches(programs, reachable, state, capsys):
    programs.install("docker", "k3d")
    programs.answer(K3D)
    assert cluster("create", "--provider", "k3d", "--agents", "3") == 0
    listed, create, *images, imported, kubeconfig = programs.commands
    root = Path(__file__).resolve().parents[2]
    assert listed == "k3d cluster list -o json"
    assert create == f"k3d cluster create aiotwin --config {root / 'k3s' / 'k3d.yaml'} --agents 3"
    assert images == [
        "docker image inspect aiotwin/fl-aggregator:0.1",
        "docker image inspect aiotwin/fl-client:0.1",
        f"docker build --target client -t aiotwin/fl-client:0.1 {root / 'fl_service'}",
    ]
    assert imported == "k3d image import aiotwin/fl-aggregator:0.1 aiotwin/fl-client:0.1 --cluster aiotwin"
    assert kubeconfig == "k3d kubeconfig get aiotwin"
    said = capsys.readouterr()
    assert [line[2:] for line in said.err.splitlines()] == [c for c in programs.commands if "inspect" not in c]
    assert "default: Kubernetes v1.31.0" in said.out
    assert Records().attached.kubeconfig == str(state / "k3d.kubeconfig")
    assert stat.S_IMODE((state / "k3d.kubeconfig").stat().st_mode) == 0o600
    assert "very-secret" not in said.out + said.err + (state / "clusters.json").read_text()


def test_k3d_deletes_what_it_created_and_nothing_else(programs, reachable, state, capsys):
    programs.install("docker", "k3d")
    assert cluster("delete", "--provider", "k3d") == 2
    assert "no k3d cluster was created here, so none is deleted" in capsys.readouterr().err
    programs.answer(K3D)
    cluster("create", "--provider", "k3d")
    programs.answer([("cluster list", {"out": '[{"name": "aiotwin"}, {"name": "other"}]'})])
    assert cluster("delete", "--provider", "k3d") == 0
    assert programs.commands[-1] == "k3d cluster delete aiotwin"
    assert (Records().attached, Records().created("k3d")) == (None, None)
    assert not (state / "k3d.kubeconfig").exists()


def test_a_k3d_cluster_of_somebody_else_is_left_alone(programs, capsys):
    programs.install("docker", "k3d")
    programs.answer([("cluster list", {"out": '[{"name": "aiotwin"}]'})])
    assert cluster("create", "--provider", "k3d") == 2
    assert "already: attach to it, or delete it first with `k3d cluster delete aiotwin`" in capsys.readouterr().err
    assert cluster("delete", "--provider", "k3d") == 2
    assert programs.commands == ["k3d cluster list -o json"]


def test_half_a_k3d_cluster_can_be_deleted(programs, capsys):
    programs.install("docker", "k3d")
    programs.answer([("cluster list", {"out": "[]"}), ("cluster create", {"code": 1, "err": "FATA no space left"})])
    assert cluster("create", "--provider", "k3d") == 1
    assert "failed (1): FATA no space left" in capsys.readouterr().err
    status = providers.get("k3d")().status()
    assert status.missing == (
        "it was not created to the end: `aiotwin cluster delete --provider k3d`, then create it again",
    )
    programs.answer([("cluster list", {"out": '[{"name": "aiotwin"}]'})])
    assert cluster("delete", "--provider", "k3d") == 0
    assert programs.commands[-1] == "k3d cluster delete aiotwin"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["k3d", "--host", "a"], "--host: is not for --provider k3d"),
        (["k3s", "--agents", "2"], "--agents: is not for --provider k3s"),
        (["k3d", "--agents", "-1"], "--agents -1: must be 0 or more"),
        (["k3d", "--config", "nowhere.yaml"], "--config nowhere.yaml: there is no such file"),
        (["k3s", "--host", "-oProxyCommand=x"], "must be a destination of ssh"),
    ],
)
def test_options_that_make_no_sense(programs, capsys, options, words):
    programs.install("docker", "k3d", "ssh")
    assert cluster("create", "--provider", *(o if o != "-oProxyCommand=x" else "-o x" for o in options)) == 2
    assert words in capsys.readouterr().err
    assert programs.calls == []


# K3s.

HOSTS = ["--host", "pi@one", "--host", "pi@two", "--host", "three"]
K3S = [("node-token", {"out": TOKEN + "\n"}), ("k3s.yaml", {"out": yaml.safe_dump(KUBECONFIG)})]


def test_k3s_changes_nothing_before_it_is_agreed_to_and_shows_what_it_would(programs, capsys, state):
    programs.install("ssh")
    assert cluster("create", "--provider", "k3s", *HOSTS) == 2
    said = capsys.readouterr().err
    assert programs.calls == []
    assert not state.exists()
    assert "on pi@one, by ssh -o BatchMode=yes pi@one 'sudo -n sh -s':" in said
    assert "curl -sfL https://get.k3s.io -o" in said
    assert 'sh "$installer" server --disable traefik --write-kubeconfig-mode 600 --tls-san one' in said
    assert "export K3S_URL=https://one:6443 K3S_TOKEN='(secret)'" in said
    assert (
        "nothing was done: this changes hosts, as root. Agree to it with `aiotwin cluster create --provider k3s" in said
    )


def test_k3s_installs_the_server_and_joins_the_agents(programs, reachable, capsys, state):
    programs.install("ssh")
    programs.answer(K3S)
    assert cluster("create", "--provider", "k3s", *HOSTS, "--yes") == 0
    hosts = [arguments[2] for _, arguments, _ in programs.calls]
    scripts = [text for _, _, text in programs.calls]
    assert hosts == ["pi@one", "pi@one", "pi@two", "three", "pi@one"]
    assert 'sh "$installer" server' in scripts[0]
    assert scripts[1] == "cat /var/lib/rancher/k3s/server/node-token\n"
    for script in scripts[2:4]:
        assert f"export K3S_URL=https://one:6443 K3S_TOKEN={TOKEN}\n" in script
        assert script.endswith('sh "$installer" agent\n')
    said = capsys.readouterr()
    shown = said.out + said.err + str([arguments for _, arguments, _ in programs.calls])
    remembered = (state / "clusters.json").read_text()
    assert TOKEN not in shown + remembered
    assert "very-secret" not in shown + remembered
    kubeconfig = yaml.safe_load((state / "k3s.kubeconfig").read_text())
    assert kubeconfig["clusters"][0]["cluster"]["server"] == "https://one:6443"
    assert [each["role"] for each in Records().created("k3s")["hosts"]] == ["server", "agent", "agent"]


def test_k3s_uninstalls_where_it_installed_and_nowhere_else(programs, reachable, capsys, state):
    programs.install("ssh")
    programs.answer(K3S)
    cluster("create", "--provider", "k3s", *HOSTS, "--yes")
    before = len(programs.calls)
    assert cluster("delete", "--provider", "k3s") == 2
    assert "k3s-agent-uninstall.sh" in capsys.readouterr().err
    assert len(programs.calls) == before
    assert cluster("delete", "--provider", "k3s", "--yes") == 0
    assert [arguments[2] for _, arguments, _ in programs.calls[before:]] == ["three", "pi@two", "pi@one"]
    assert Records().created("k3s") is None
    assert cluster("delete", "--provider", "k3s", "--yes") == 2
    assert not (state / "k3s.kubeconfig").exists()


def test_a_host_that_has_k3s_already_is_left_as_it_is(programs, reachable, capsys):
    programs.install("ssh")
    programs.answer(
        [("pi@two", {"code": k3s.WAS_THERE, "err": "K3s is installed here already: it is left as it is"}), *K3S]
    )
    assert cluster("create", "--provider", "k3s", *HOSTS, "--yes") == 1
    assert "failed (3): K3s is installed here already" in capsys.readouterr().err
    assert [each["host"] for each in Records().created("k3s")["hosts"]] == ["pi@one"]  # what delete will undo


def test_an_installation_that_fails_half_way_can_be_undone(programs, capsys):
    programs.install("ssh")
    programs.answer([("pi@one", {"code": 1, "err": "curl: (6) Could not resolve host"})])
    assert cluster("create", "--provider", "k3s", *HOSTS, "--yes") == 1
    assert "Could not resolve host" in capsys.readouterr().err
    programs.answer([])
    assert cluster("delete", "--provider", "k3s", "--yes") == 0
    assert "k3s-uninstall.sh" in programs.calls[-1][2]


@pytest.mark.parametrize("root", [True, False])
def test_k3s_on_this_machine(programs, reachable, monkeypatch, root):
    monkeypatch.setattr(os, "geteuid", lambda: 0 if root else 1000)
    programs.install("curl", "sh", "sudo")
    programs.answer(K3S)
    assert cluster("create", "--provider", "k3s", "--yes") == 0
    assert set(programs.commands) == {"sh -s" if root else "sudo sh -s"}
    assert Records().created("k3s")["hosts"] == [{"host": "localhost", "role": "server"}]


def test_agents_have_to_reach_a_server_on_this_machine(programs, capsys):
    programs.install("curl", "sh", "sudo", "ssh")
    assert cluster("create", "--provider", "k3s", "--host", "localhost", "--host", "two", "--yes") == 2
    assert "cannot reach this machine as localhost: name it with --address" in capsys.readouterr().err


def test_the_notebook_cannot_agree(state, programs):
    programs.install("curl", "sudo")
    with pytest.raises(InvalidInput, match=r"Agree to it with `aiotwin cluster create --provider k3s \.\.\. --yes`"):
        providers.get("k3s")().create({})


def test_the_installers_scripts_are_shell(tmp_path):
    """The real shell parses them, and the guard against an existing installation works."""
    import subprocess

    folder = tmp_path / "bin"
    folder.mkdir()
    script = k3s.K3sProvider(["one", "two"])._server_script()
    assert subprocess.run(["sh", "-n"], input=script, text=True, check=False).returncode == 0
    (folder / "k3s").write_text("#!/bin/sh\n")
    (folder / "k3s").chmod(0o755)
    environment = {"PATH": f"{folder}:{os.environ['PATH']}"}
    done = subprocess.run(["sh", "-s"], input=script, text=True, env=environment, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (k3s.WAS_THERE, "K3s is installed here already: it is left as it is\n")
