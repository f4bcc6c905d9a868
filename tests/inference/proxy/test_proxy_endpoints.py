"""What Kubernetes objects say of services, instances and nodes' load; no cluster is asked."""

import pytest

from aiotwin_nb.cli import main
from aiotwin_nb.cluster.usage import METRICS, Usage
from aiotwin_nb.errors import AIoTwinError
from aiotwin_nb.inference.proxy.cluster_source import NODES, Loads, share_in_use
from aiotwin_nb.inference.proxy.endpoints import services_of
from aiotwin_nb.inference.services import Instance, Service


def service(bound=None):
    return {"metadata": {"name": "x", "annotations": None if bound is None else {"maxLatency": bound}}}


def address(ip, pod=None, node=None):
    return {
        "ip": ip,
        **({"targetRef": {"kind": "Pod", "name": pod}} if pod else {}),
        **({"nodeName": node} if node else {}),
    }


def instances(*subsets):
    (found,), problem = services_of({"x": service()}, {"x": {"subsets": list(subsets)}})
    assert problem == ""
    return found.instances


PORT = [{"name": "http", "port": 8000, "protocol": "TCP"}]


def test_addresses_are_instances_with_pod_and_node():
    assert instances(
        {
            "addresses": [address("10.42.2.9", "x-b", "n2"), address("10.42.1.7", "x-a", "n1")],
            "notReadyAddresses": [address("10.42.1.8", "x-c", "n1")],
            "ports": PORT,
        }
    ) == (
        Instance("x-a", "http://10.42.1.7:8000", "n1"),
        Instance("x-b", "http://10.42.2.9:8000", "n2"),
        Instance("x-c", "http://10.42.1.8:8000", "n1", ready=False),
    )


def test_addresses_without_pod_or_node_and_of_six():
    found = instances({"addresses": [address("10.0.0.1"), address("fd00::7")], "ports": PORT})
    assert found == (
        Instance("10.0.0.1:8000", "http://10.0.0.1:8000", ""),
        Instance("[fd00::7]:8000", "http://[fd00::7]:8000", ""),
    )


def test_of_several_ports_the_one_for_http_is_taken():
    ports = [{"name": "admin", "port": 9}, {"name": "quick", "port": 7, "protocol": "UDP"}, *PORT]
    assert [each.url for each in instances({"addresses": [address("h")], "ports": ports})] == ["http://h:8000"]
    assert [each.url for each in instances({"addresses": [address("h")], "ports": ports[:2]})] == ["http://h:9"]
    assert instances({"addresses": [address("h")], "ports": ports[1:2]}) == ()
    assert instances({"addresses": [address("h")]}) == ()


def test_an_address_in_two_subsets_is_one_instance():
    first = {"addresses": [address("h", "pod")], "ports": PORT}
    second = {"notReadyAddresses": [address("h", "pod")], "ports": [{"name": "admin", "port": 9}]}
    assert instances(first, second) == (Instance("pod", "http://h:8000", ""),)


def test_no_endpoints_is_no_instance():
    assert services_of({"x": service("250")}, {"other": {}}) == ((Service("x", (), 250.0),), "")
    assert instances() == ()


@pytest.mark.parametrize("text", ["", "soon", "0", "-5", "nan", "inf", "300 ms"])
def test_a_bound_that_is_none_is_told_and_the_default_is_in_force(text):
    services, problem = services_of({"x": service(text), "y": service("20.5")}, {})
    assert [each.max_latency_ms for each in services] == [300.0, 20.5]
    assert problem.startswith("Service x: annotation maxLatency: ")
    assert repr(text) in problem
    assert problem.endswith("300 ms are in force")


# Loads.


class Api:
    """Answers of an API server by path; what is missing is refused."""

    def __init__(self, **answers):
        self.answers = answers
        self.asked = []

    def asking(self, what):
        return self

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return False

    def request(self, method, path, *_, **__):
        self.asked.append(path)
        if path not in self.answers:
            raise AIoTwinError("refused (HTTP 403)")
        return {"items": self.answers[path]}


def told(name, cpu, memory):
    return {"metadata": {"name": name}, "usage": {"cpu": cpu, "memory": memory}}


def node(name, cpu, memory):
    return {"metadata": {"name": name}, "status": {"allocatable": {"cpu": cpu, "memory": memory}}}


def test_loads_are_the_larger_share():
    api = Api(**{METRICS: [told("n1", "500m", "3Gi"), told("n2", "3", "1Gi")]})
    api.answers[NODES] = [node("n1", "2", "4Gi"), node("n2", "2", "4Gi")]
    loads = Loads(api)
    assert loads.look()
    assert loads.shares == {"n1": 0.75, "n2": 1.0}
    assert not loads.look()
    assert api.asked.count(NODES) == 1  # sizes are asked for once
    api.answers[METRICS] = [told("n2", "1", "1Gi")]
    assert loads.look()
    assert loads.shares == {"n1": 0.0, "n2": 0.5}


@pytest.mark.parametrize("answers", [{}, {METRICS: [told("n1", "1", "1Gi")]}, {NODES: [node("n1", "2", "4Gi")]}])
def test_without_metrics_or_rights_there_are_no_loads(answers):
    loads = Loads(Api(**answers))
    assert not loads.look()
    assert loads.shares == {}


def test_what_is_not_known_is_no_load():
    assert share_in_use(Usage(), Usage(2, 100)) == 0
    assert share_in_use(Usage(1, 100), Usage(None, 400)) == 0.25


# The command.


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--services", "FILE", "--namespace", "a"], "--namespace: only with --cluster"),
        (["--services", "FILE", "--cluster"], "not allowed with"),
        ([], "one of the arguments --services --cluster is required"),
        (["--cluster", "--kubeconfig", "FILE"], "there is no such file"),
    ],
)
def test_what_does_not_go_together(options, words, capsys, tmp_path):
    options = [str(tmp_path / "no-such-file") if each == "FILE" else each for each in options]
    try:
        code = main(["proxy", "--listen", "127.0.0.1:0", *options])
    except SystemExit as ended:
        code = ended.code
    assert code == 2
    assert words in capsys.readouterr().err
