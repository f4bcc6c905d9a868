"""The things of a cluster as plain dictionaries, and as a real API server takes them."""

import time

import yaml

NODES = "/api/v1/nodes"


def node_item(name, labels=None, *, ready=True, cordoned=False, annotations=None, images=(), architecture="amd64"):
    """A Node object as the API server tells of it."""
    spec = {"unschedulable": True} if cordoned else {}
    condition = {"type": "Ready", "status": "True" if ready else "False", "reason": "Test", "message": ""}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": dict(labels or {}), "annotations": dict(annotations or {})},
        "spec": spec,
        "status": {
            "conditions": [condition],
            "allocatable": {"cpu": "2", "memory": "4000000Ki"},
            "images": [{"names": [image]} for image in images],
            "nodeInfo": {"architecture": architecture, "kubeletVersion": "v1.20.2"},
        },
    }


def write_node(connection, name, labels=None, **fields):
    """Make a node on a real API server, with its status, which it takes in a second step."""
    item = node_item(name, labels, **fields)
    made = connection.request("POST", NODES, None, item)
    status = item["status"]
    for key in ("nodeInfo",):
        known = made["status"][key]
        status[key] = {**known, **status[key]}
    return set_status(connection, name, status)


def set_ready(connection, name, ready):
    return set_status(connection, name, node_item(name, ready=ready)["status"])


def set_status(connection, name, status):
    patch = "application/strategic-merge-patch+json"
    return connection.request("PATCH", f"{NODES}/{name}/status", None, {"status": status}, patch)


def delete_nodes(connection):
    for item in connection.request("GET", NODES)["items"]:
        connection.request("DELETE", f"{NODES}/{item['metadata']['name']}")


def wait_until(condition, seconds=10.0, pause=0.005):
    """Seconds until a condition holds; fails when it does not in time."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > seconds:
            raise AssertionError(f"not within {seconds} s")
        time.sleep(pause)
    return time.monotonic() - began


def kubeconfig(path, *names, current=None, server="https://127.0.0.1:1", token="top-secret"):
    """Write a kubeconfig file with contexts of these names."""
    path.parent.mkdir(parents=True, exist_ok=True)
    document = {
        "current-context": current if current is not None else names[0],
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "contexts": [
            {"name": name, "context": {"cluster": "c", "user": "u", "namespace": f"of-{name}"}} for name in names
        ],
        "users": [{"name": "u", "user": {"token": token}}],
    }
    path.write_text(yaml.safe_dump(document))
    return path
