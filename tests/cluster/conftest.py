"""A real API server for the tests that need one."""

import os
import uuid
from pathlib import Path

import pytest
import yaml
from cluster_support import delete_nodes, wait_until
from fault_proxy import FaultProxy
from testbed_support import ADMISSION, HOME, run_testbed, turn, unavailable

POLICIES = Path(__file__).resolve().parents[1] / "k3s" / "restricted-psp.yaml"


@pytest.fixture(scope="module")  # it is gone before the tests on real nodes want the machine
def api_server():
    """The kubeconfig of an administrator of a real API server (no kubelets: nodes are what a test writes).

    TESTBED_KUBECONFIG names one that is up already, by `testbed api-up` with ADMISSION; it is left up.
    """
    if given := os.environ.get("TESTBED_KUBECONFIG"):
        yield Path(given)
        return
    with turn() as reason:
        if reason:
            unavailable(reason)
        run_testbed("api-up", **ADMISSION)
        yield HOME / "run" / "pki" / "admin.kubeconfig"


@pytest.fixture(scope="module")
def policies(api_server):
    """The API server with the PodSecurityPolicies "restricted" and "unrestricted"; none may be used yet."""
    from aiotwin_nb.cluster.connection import Connection

    administrator = Connection.open(api_server)
    for item in yaml.safe_load_all(POLICIES.read_text()):
        group = item["apiVersion"].partition("/")[0]
        collection = {"policy": "podsecuritypolicies", "rbac.authorization.k8s.io": "clusterroles"}[group]
        path = f"/apis/{item['apiVersion']}/{collection}/{item['metadata']['name']}"
        query = {"fieldManager": "tests", "force": "true"}
        administrator.request("PATCH", path, query, item, "application/apply-patch+yaml")
    return api_server


def namespace_under(api_server, policy):
    """A connection with a new namespace in which pods may be made under a policy, by whatever controller."""
    from aiotwin_nb.cluster.connection import Connection
    from aiotwin_nb.cluster.namespaces import prepare_namespace

    made = Connection.open(api_server, namespace=f"test-{uuid.uuid4().hex[:8]}")
    prepare_namespace(made)
    group = "rbac.authorization.k8s.io"
    binding = {
        "apiVersion": f"{group}/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "policy", "namespace": made.namespace},
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": f"psp-{policy}"},
        "subjects": [{"apiGroup": group, "kind": "Group", "name": "system:serviceaccounts"}],
    }
    made.request("POST", f"/apis/{group}/v1/namespaces/{made.namespace}/rolebindings", None, binding)
    wait_until(lambda: pods_can_be_made(made, policy), 30, 0.1)
    delete_nodes(made)
    yield made
    delete_nodes(made)
    made.request("DELETE", f"/api/v1/namespaces/{made.namespace}")


def pods_can_be_made(connection, policy):
    """Whether controllers may make pods: they have a new right, and pods an account, a moment after the namespace."""
    attributes = {"verb": "use", "group": "policy", "resource": "podsecuritypolicies", "name": policy}
    spec = {
        "user": "system:serviceaccount:kube-system:replicaset-controller",
        "groups": ["system:serviceaccounts"],
        "resourceAttributes": {**attributes, "namespace": connection.namespace},
    }
    review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}
    answer = connection.request("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", None, review)
    accounts = connection.request("GET", f"/api/v1/namespaces/{connection.namespace}/serviceaccounts")["items"]
    return answer["status"]["allowed"] and any(a.get("secrets") for a in accounts)


@pytest.fixture
def connection(policies):
    """A connection with a namespace of its own, and no nodes."""
    yield from namespace_under(policies, "unrestricted")


@pytest.fixture
def restricted_connection(policies):
    """The same, in a namespace that lets in only pods which keep to the profile "restricted"."""
    yield from namespace_under(policies, "restricted")


@pytest.fixture
def proxy(api_server):
    """One that does everything wrong, in front of the API server."""
    proxy = FaultProxy(api_server)
    yield proxy
    proxy.close()


@pytest.fixture
def through(proxy, connection, tmp_path):
    """A connection through the proxy; `connection` goes past it."""
    from aiotwin_nb.cluster.connection import Connection

    return Connection.open(proxy.kubeconfig(tmp_path / "proxied"), namespace=connection.namespace)


@pytest.fixture
def state(tmp_path, monkeypatch):
    """The user's state folder, empty; no kubeconfig is found by itself."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    return tmp_path / "state" / "aiotwin"
