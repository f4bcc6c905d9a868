"""Every pod that this project can make keeps to the Pod Security profile "restricted"; manifests build; rights are exact."""

import copy
import os
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from restricted import RULES, violations

from aiotwin_nb.cluster.manifests import Images, Names, Service, objects_of, orchestrator_secret, owner
from aiotwin_nb.cluster.namespaces import RESTRICTED, namespace
from aiotwin_nb.cluster.permissions import NEEDS
from aiotwin_nb.inference.proxy.cluster_source import NEEDS as PROXY_NEEDS
from aiotwin_nb.inference.proxy.endpoints import PROXIED, services_of
from fl_service.certificates import EVALUATOR, ORCHESTRATOR, Authority

ROOT = Path(__file__).resolve().parents[2]
K3S = ROOT / "k3s"
OVERLAYS = ("k3d", "k3s", "workshop")


def documents(*folders):
    return [
        document
        for folder in folders
        for path in sorted((K3S / folder).rglob("*.yaml"))
        for document in yaml.safe_load_all(path.read_text())
        if document and "kind" in document
    ]


@pytest.fixture(scope="module")
def made():
    """Every object of a run with each role, an evaluator and a user's task."""
    authority, names = Authority("run-1"), Names("run-1", "aiotwin")
    issue = authority.issue
    services = [
        Service("n1", "global-aggregator", "{}", issue("n1"), "{}", issue(EVALUATOR), task="pass", place="w1"),
        Service("n2", "local-aggregator", "{}", issue("n2")),
        Service("N_4", "client", "{}", issue("N_4"), task="pass", model_mb=100),
    ]
    objects = [item for service in services for item in objects_of(service, names, Images())]
    return [owner(names, {"run": "run-1"}), orchestrator_secret(names, issue(ORCHESTRATOR)), *objects]


def templates(objects):
    return {o["metadata"]["name"]: o["spec"]["template"]["spec"] for o in objects if "template" in o.get("spec", {})}


def test_pods_of_runs_break_no_rule(made):
    found = templates(made)
    assert len(found) == 3
    assert {name: violations(pod) for name, pod in found.items()} == {name: [] for name in found}
    assert all(pod["automountServiceAccountToken"] is False for pod in found.values())
    assert [c["name"] for c in found[next(n for n in found if "-ga-" in n)]["containers"]] == ["fl", "evaluator"]


def test_pods_of_the_manifests_break_no_rule():
    found = templates(documents("."))
    assert set(found) == {"orchestrator", "proxy", "people-counting"}
    assert {name: violations(pod) for name, pod in found.items()} == {name: [] for name in found}
    with_token = {name for name, pod in found.items() if pod["automountServiceAccountToken"]}
    assert with_token == {"orchestrator", "proxy"}  # those that speak with the API server


SPOILT = {
    "no host namespaces": lambda pod: pod.update(hostNetwork=True),
    "not privileged": lambda pod: pod["containers"][0]["securityContext"].update(privileged=True),
    "capabilities dropped": lambda pod: pod["containers"][0]["securityContext"]["capabilities"].update(drop=["KILL"]),
    "only harmless volumes": lambda pod: pod["volumes"].append({"name": "h", "hostPath": {"path": "/"}}),
    "no host ports": lambda pod: pod["containers"][0].update(ports=[{"containerPort": 1, "hostPort": 1}]),
    "no SELinux user or role": lambda pod: pod["securityContext"].update(seLinuxOptions={"role": "r"}),
    "default proc mount": lambda pod: pod["containers"][0]["securityContext"].update(procMount="Unmasked"),
    "seccomp": lambda pod: pod["securityContext"].pop("seccompProfile"),
    "safe sysctls": lambda pod: pod["securityContext"].update(sysctls=[{"name": "kernel.msgmax", "value": "1"}]),
    "no escalation": lambda pod: pod["containers"][0]["securityContext"].pop("allowPrivilegeEscalation"),
    "not as root": lambda pod: pod["containers"][0]["securityContext"].update(runAsNonRoot=False),
    "user is not 0": lambda pod: pod["securityContext"].update(runAsUser=0),
    "read-only root": lambda pod: pod["containers"][0]["securityContext"].pop("readOnlyRootFilesystem"),
    "token mounted by decision only": lambda pod: pod.pop("automountServiceAccountToken"),
    "memory is limited": lambda pod: pod["containers"][0]["resources"].pop("limits"),
}


@pytest.mark.parametrize("rule", RULES)
def test_the_table_notices(made, rule):
    pod = copy.deepcopy(next(iter(templates(made).values())))
    SPOILT[rule](pod)
    assert rule in violations(pod)


def test_the_namespace_is_the_same_in_code_and_manifests():
    (written,) = [d for d in documents("base") if d["kind"] == "Namespace"]
    assert written == namespace("aiotwin")
    assert written["metadata"]["labels"].items() >= RESTRICTED.items()


def rules(kind, *folders):
    (role,) = [d for d in documents(*(folders or ("base", "nodes"))) if d["kind"] == kind]
    return {
        (group, resource): set(rule["verbs"])
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }


def test_rights_are_exactly_those_that_a_run_needs():
    for kind, namespaced in (("Role", True), ("ClusterRole", False)):
        assert rules(kind) == {(n.group, n.resource): set(n.verbs) for n in NEEDS if n.namespaced is namespaced}


def test_rights_are_exactly_those_that_a_proxy_needs():
    for kind, namespaced in (("Role", True), ("ClusterRole", False)):
        needed = {(n.group, n.resource): set(n.verbs) for n in PROXY_NEEDS if n.namespaced is namespaced}
        assert rules(kind, "inference") == needed


def test_no_wildcards_and_no_reading_of_secrets():
    every = rules("Role") | rules("ClusterRole") | rules("Role", "inference") | rules("ClusterRole", "inference")
    assert not any("*" in (*key, *verbs) for key, verbs in every.items())
    assert not every["", "secrets"] & {"get", "list", "watch", "patch", "update"}
    assert ("", "nodes/proxy") not in every


def test_workshop_groups_have_a_namespace_each_and_rights_in_no_other():
    groups = {path.name for path in (K3S / "overlays" / "workshop").iterdir() if path.is_dir()}
    (binding,) = [d for d in documents("overlays/workshop") if d["kind"] == "ClusterRoleBinding"]
    assert {subject["namespace"] for subject in binding["subjects"]} == {f"aiotwin-{group}" for group in groups}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_overlays_build(overlay):
    if shutil.which("kubectl") is None:
        pytest.skip(reason="needs kubectl")
    built = subprocess.run(
        ["kubectl", "kustomize", K3S / "overlays" / overlay], capture_output=True, text=True, check=True
    )
    found = list(yaml.safe_load_all(built.stdout))
    count = 3 if overlay == "workshop" else 1
    kinds = [each["kind"] for each in found]
    for kind in ("Namespace", "Role", "RoleBinding", "NetworkPolicy", "ResourceQuota", "LimitRange"):
        assert kinds.count(kind) == count
    bindings = {b["metadata"]["namespace"]: b["subjects"] for b in found if b["kind"] == "RoleBinding"}
    assert all(subject[0]["namespace"] == name for name, subject in bindings.items())


def test_the_inference_side_builds_as_a_part_of_an_overlay(tmp_path):
    if shutil.which("kubectl") is None:
        pytest.skip(reason="needs kubectl")
    parts = [os.path.relpath(K3S / name, tmp_path.resolve()) for name in ("base", "nodes", "inference")]
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump({"namespace": "group-7", "resources": parts}))
    built = subprocess.run(["kubectl", "kustomize", tmp_path], capture_output=True, text=True, check=True)
    found = list(yaml.safe_load_all(built.stdout))
    bindings = [each for each in found if each["kind"].endswith("RoleBinding")]
    assert {subject["namespace"] for each in bindings for subject in each["subjects"]} == {"group-7"}
    assert {each["subjects"][0]["name"] for each in bindings} == {"aiotwin-orchestrator", "aiotwin-proxy"}


def by_name(folder):
    return {(each["kind"], each["metadata"]["name"]): each for each in documents(folder) if "metadata" in each}


def test_nodes_answer_at_the_port_of_the_original_by_their_own_proxy():
    inference = by_name("inference")
    port = inference["Service", "proxy"]["spec"]
    assert [each["nodePort"] for each in port["ports"]] == [30090]
    assert port["externalTrafficPolicy"] == port["internalTrafficPolicy"] == "Local"
    labels = inference["DaemonSet", "proxy"]["spec"]["template"]["metadata"]["labels"]
    assert port["selector"].items() <= labels.items()


def test_the_service_of_the_manifests_is_one_for_proxies():
    inference = by_name("inference")
    services = {name: each for (kind, name), each in inference.items() if kind == "Service"}
    marked = {name: each for name, each in services.items() if each["metadata"]["labels"].get(PROXIED) == "true"}
    (found,), problem = services_of(marked, {})
    assert (found.name, found.max_latency_ms, problem) == ("people-counting", 300.0, "")
    labels = inference["Deployment", found.name]["spec"]["template"]["metadata"]["labels"]
    assert services[found.name]["spec"]["selector"].items() <= labels.items()


def test_images_of_the_inference_side_are_built_from_the_bounds_of_the_project():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = set(project["dependencies"] + project["optional-dependencies"]["kubernetes"])
    listed = {}
    for target in ("proxy", "service"):
        lines = (K3S / "inference" / f"requirements-{target}.txt").read_text().splitlines()
        listed[target] = {line for line in lines if line[0] != "#"}
        assert listed[target] <= declared
    assert not any(line.startswith(("torch", "flwr")) for line in listed["proxy"])
    text = (K3S / "inference" / "Dockerfile").read_text()
    pods = templates(documents("inference"))
    for target, name in (("proxy", "proxy"), ("service", "people-counting")):
        image = pods[name]["containers"][0]["image"]
        assert f"--target {target} -t {image} .\n" in text
        assert f"FROM program AS {target}\n" in text


def test_images_are_built_from_the_bounds_of_the_project():
    declared = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"])
    listed = {}
    for target in ("aggregator", "client"):
        lines = (ROOT / "fl_service" / f"requirements-{target}.txt").read_text().splitlines()
        listed[target] = {line for line in lines if line and line[0] not in "#-"}
        assert listed[target] <= declared
    assert not any(line.startswith("torch") for line in listed["aggregator"])
    assert any(line.startswith("torch>") for line in listed["client"])


def test_the_dockerfile_makes_the_images_that_pods_name():
    text = (ROOT / "fl_service" / "Dockerfile").read_text()
    for target, reference in (("aggregator", Images().aggregator), ("client", Images().client)):
        assert f"--target {target} -t {reference} fl_service" in text
        assert f"FROM service AS {target}\n" in text
    assert "USER 10001:10001" in text


def test_what_k3d_is_given():
    config = yaml.safe_load((K3S / "k3d.yaml").read_text())
    assert (config["apiVersion"], config["kind"], config["metadata"]["name"]) == (
        "k3d.io/v1alpha5",
        "Simple",
        "aiotwin",
    )
    assert config["options"]["kubeconfig"] == {"updateDefaultKubeconfig": False, "switchCurrentContext": False}
