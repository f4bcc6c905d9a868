"""Measured link costs: what is measured, what it comes to, how bytes are timed; between real pods in tests/k3s."""

import json
import socket
import subprocess
import sys
import threading
from decimal import Decimal
from pathlib import Path

import pytest
from cluster_support import node_item

from aiotwin_nb.cli import main
from aiotwin_nb.cluster import link_probe
from aiotwin_nb.cluster.labels import MEASURED, MORE, labels_of, node_of
from aiotwin_nb.cluster.measuring import Link, cost_of, links_to_measure, participants, plan_measured
from aiotwin_nb.errors import InvalidInput
from aiotwin_nb.scenario import load_scenario

NODES = load_scenario("hands-on").infrastructure.nodes
CLUSTER = {name: node_item(name, labels_of(node)) for name, node in NODES.items()}


def test_links_that_a_plan_can_use():
    wanted = links_to_measure(NODES)
    assert "n1" not in wanted
    assert wanted["n2"] == wanted["n3"] == ["n1"]
    assert wanted["n4"] == ["n1", "n2", "n3"]


@pytest.mark.parametrize(("rate", "cost"), [(10.0, "100"), (3.0, "333.3"), (123456.0, "0.0081")])
def test_cost_is_seconds_times_what_a_second_costs(rate, cost):
    assert cost_of(rate, Decimal(1000)) == Decimal(cost)
    assert cost_of(rate, Decimal(500)) == pytest.approx(Decimal(cost) / 2, rel=Decimal("1e-3"))


def test_measured_costs_are_what_the_nodes_say_afterwards():
    links = [Link("n4", "n2", 50.0, Decimal(20)), Link("n4", "n1", 8.0, Decimal(125))]
    (change,) = plan_measured(CLUSTER, NODES, {name: name for name in NODES}, links, "1 times 1 MB")
    assert change.labels == {"comm/n1": "125"}  # n2 costs 20 already
    assert json.loads(change.annotations[MORE]) == {"rates": {"n1": 8, "n2": 50}}
    assert change.annotations[MEASURED].endswith("Z: 1 times 1 MB")
    node = node_of("n4", {**labels_of(NODES["n4"]), **change.labels}, change.annotations)
    assert node.links == {"n1": 125, "n2": 20, "n3": 60}
    assert node.rates == {"n1": 8, "n2": 50}


def test_without_an_aggregator_there_is_nothing_to_measure():
    with pytest.raises(InvalidInput, match="label them first"):
        participants({"n4": CLUSTER["n4"], "n5": CLUSTER["n5"]})
    broken = {**CLUSTER, "n5": node_item("n5", {"fl/type": "clint"})}
    with pytest.raises(InvalidInput, match="cluster node n5"):
        participants(broken)


def test_nodes_are_found_by_their_id():
    renamed = {
        f"host-{name}": node_item(f"host-{name}", {**labels_of(n), "aiotwin.io/id": name}) for name, n in NODES.items()
    }
    nodes, places = participants(renamed)
    assert nodes.keys() == NODES.keys()
    assert places["n4"] == "host-n4"


@pytest.fixture
def receiver():
    """A receiver as a pod runs it: by the text of its module."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    text = Path(link_probe.__file__).read_text(encoding="utf-8")
    process = subprocess.Popen([sys.executable, "-c", text, "serve", str(port)])
    yield port
    process.kill()
    process.wait()


def test_bytes_are_timed_over_real_sockets(receiver, tmp_path):
    out = tmp_path / "result"
    link_probe.main(["send", "3.5", "4", str(out), f"n1=127.0.0.1:{receiver}", f"n2=127.0.0.1:{receiver}"])
    found = json.loads(out.read_text())
    assert found.keys() == {"n1", "n2"}
    assert all(len(seconds) == 4 and all(s > 0 for s in seconds) for seconds in found.values())


def test_a_slow_receiver_makes_a_slow_link():
    """It takes 2 MB in at least 0.4 s, by pausing."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve():
        link, _ = server.accept()
        with link:
            for _ in range(2):
                left = 8 + 2_000_000
                while left:
                    left -= len(link.recv(min(left, 100_000)))
                    threading.Event().wait(0.02)
                link.sendall(b"\1")

    threading.Thread(target=serve, daemon=True).start()
    (seconds,) = link_probe.send(*server.getsockname(), 2_000_000, 1)
    server.close()
    assert seconds >= 0.4


def test_a_receiver_that_ends_is_told():
    server = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=lambda: server.accept()[0].close(), daemon=True).start()
    with pytest.raises(OSError):
        link_probe.send(*server.getsockname(), 10_000_000, 1)
    server.close()


@pytest.mark.parametrize("option", [["--mb", "0"], ["--repeats", "0"], ["--second", "-1"], ["--mb", "nan"]])
def test_bad_input_is_one_error(option, capsys):
    assert main(["cluster", "measure", *option]) == 2
    assert f"{option[0]} " in capsys.readouterr().err
