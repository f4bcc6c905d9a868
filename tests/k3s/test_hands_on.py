"""The hands-on on real nodes: the same course as in one process, a join included, and nothing left behind."""

import pytest
from k3s_support import LiveRun, course, embedded, run_here

ROUNDS = ("--set", "training.max_rounds=18")


@pytest.fixture(scope="module")
def finished(bed, tmp_path_factory):
    """A finished run on the cluster, with what was seen of it while it was running."""
    run = LiveRun(bed, tmp_path_factory.mktemp("hands-on") / "hands-on", "hands-on", *ROUNDS)
    run.wait_round(0)
    run.during = bed.left(run.id)
    run.finish()
    return run


def test_the_course_is_that_of_one_process(finished, tmp_path):
    there, here = finished.summary(), embedded(tmp_path / "embedded", *ROUNDS)
    assert course(there) == course(here)
    assert [record["trigger"]["added"] for record in there["reconfigurations"]] == [["n9"]]
    assert there["runtime"] == "kubernetes"


def test_every_service_had_its_objects(finished):
    services = 8  # global aggregator, two local ones, five clients
    assert {kind: len(names) for kind, names in finished.during.items() if kind != "Pod"} == {
        "Deployment": services,
        "ReplicaSet": services,
        "ConfigMap": services + 1,
        "Secret": services,
        "Service": 3,
    }


def test_what_clients_used_is_on_record(finished):
    result = finished.events("round_finished")[-1].result
    last = {client.client: client for client in result.clients if client.local_round == 2}
    assert set(last) == {"n4", "n5", "n6", "n7", "n8", "n9"}
    for client in last.values():
        assert 0 < client.cpu_seconds < 60
        assert 100 < client.peak_rss_mb < 400


def test_nothing_is_left_on_the_cluster(finished):
    assert finished.nothing_left()


def test_a_missing_namespace_is_named_with_what_makes_it(bed, tmp_path):
    done = run_here(
        "run",
        "hands-on",
        "--runtime",
        "kubernetes",
        "--kubeconfig",
        bed.kubeconfig,
        "--namespace",
        "nowhere",
        "--out",
        tmp_path / "run",
        folder=tmp_path,
    )
    assert done.returncode == 2
    assert "no namespace nowhere" in done.stderr
    assert "create namespace nowhere" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()


def test_an_image_that_is_not_there_ends_the_start_with_its_name(bed, tmp_path):
    run = LiveRun(bed, tmp_path / "no-image", "hands-on", "--client-image", "docker.io/aiotwin/none:1")
    assert run.process.wait(240) == 1
    assert "aiotwin/none:1" in run.log.read_text()
    assert run.nothing_left()
