"""The cluster panel on a real API server: choose a cluster, see its nodes as they change, and go back."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect
from testbed_support import HOME, run_testbed, turn, unavailable

from aiotwin_nb.cluster.connection import Connection
from aiotwin_nb.cluster.namespaces import prepare_namespace

from .lab import DARK
from .panels import LabView

pytestmark = pytest.mark.k3s
NODES = "/api/v1/nodes"
LAB = """
import os
from urllib.parse import urlsplit
import yaml
os.environ["KUBECONFIG"] = {kubeconfig!r}
cluster = yaml.safe_load(open({kubeconfig!r}))["clusters"][0]["cluster"]
os.environ["no_proxy"] = os.environ["NO_PROXY"] = urlsplit(cluster["server"]).hostname  # it is on this machine
from aiotwin_nb import Lab
lab = Lab("hands-on")
lab
"""


@pytest.fixture(scope="module")
def administrator():
    """A connection to a real API server; nodes are what a test writes."""
    with turn() as reason:
        if reason:
            unavailable(reason)
        run_testbed("api-up")
        yield Connection.open(HOME / "run" / "pki" / "admin.kubeconfig")


def write_node(connection, name, **labels):
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}}
    connection.request("POST", NODES, None, node)


def set_ready(connection, name, ready):
    condition = {"type": "Ready", "status": str(ready), "reason": "Test", "message": ""}
    body = {"status": {"conditions": [condition], "allocatable": {"cpu": "2", "memory": "4000000Ki"}}}
    patch = "application/strategic-merge-patch+json"
    connection.request("PATCH", f"{NODES}/{name}/status", None, body, patch)


def test_a_cluster_is_chosen_in_the_panel(open_notebook, administrator):
    write_node(administrator, "worker-1", **{"fl/type": "client", "comm/n2": "20", "data/3": "40"})
    set_ready(administrator, "worker-1", True)
    kubeconfig = str(administrator.context.kubeconfig)
    notebook = open_notebook([LAB.format(kubeconfig=kubeconfig), "lab.session.cluster", "lab.close()"])
    lab = LabView(notebook.run(0))
    expect(lab.area.get_by_text("All nodes are simulated on this machine")).to_be_visible()
    lab.area.locator(".aiotwin-ways").get_by_role("button", name="Attach").click()
    expect(lab.area.get_by_text("the namespace aiotwin:")).to_be_visible()  # missing, with the command that makes it
    expect(lab.area.get_by_text("kubectl create namespace aiotwin")).to_be_visible()
    notebook.screenshot("cluster-lacking", 0)
    prepare_namespace(administrator)
    lab.button("Look again").click()
    expect(lab.area.get_by_text("the namespace aiotwin:")).to_have_count(0)
    row = lab.area.get_by_role("row").filter(has_text="worker-1")
    for words in ("client", "Ready", "n2 20", "3: 40", "4.1 GB"):
        expect(row).to_contain_text(words)
    lab.area.get_by_title("Use this cluster").click()
    expect(lab.area.get_by_text("runs start here")).to_be_visible()
    expect(lab.launch.get_by_text("on the cluster")).to_be_visible()
    assert "kubernetes" in lab.launch.get_by_role("combobox").first.input_value()
    expect(lab.area.get_by_text("watched")).to_be_visible()
    notebook.screenshot("cluster-attached", 0)

    # What happens to nodes is seen without a click.
    set_ready(administrator, "worker-1", False)
    expect(row).to_contain_text("NotReady")
    write_node(administrator, "worker-2", **{"fl/type": "client"})
    expect(lab.area.get_by_role("row").filter(has_text="worker-2")).to_be_visible()
    assert "'namespace': 'aiotwin'" in notebook.run(1).inner_text()
    notebook.tab.theme(DARK)
    notebook.screenshot("cluster-attached-dark", 0)

    lab.area.locator(".aiotwin-ways").get_by_role("button", name="Embedded").click()
    expect(lab.area.get_by_text("All nodes are simulated on this machine")).to_be_visible()
    expect(lab.launch.get_by_text("on the cluster")).to_have_count(0)
    assert "aiotwin" not in notebook.run(1).inner_text()
    notebook.run(2)
