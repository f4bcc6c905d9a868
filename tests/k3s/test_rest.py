"""The orchestrator as a service whose runs are on the cluster: started, watched and stopped over HTTP."""

import time

import pytest
from k3s_support import IMAGES, NAMESPACE
from orchestrator_support import Service


@pytest.fixture
def service(bed, tmp_path):
    where = ["--runtime", "kubernetes", "--kubeconfig", bed.kubeconfig, "--namespace", NAMESPACE]
    images = [word for name, value in IMAGES.items() for word in (f"--{name.replace('_', '-')}", value)]
    running = Service(tmp_path, "hands-on", *map(str, where), *images)
    yield running
    running.end()


def test_a_run_is_started_by_the_originals_call_and_stopped_and_nothing_is_left(bed, service):
    budget = {"costType": "totalBudget", "communicationBudget": 10**9}
    status, run_id = service.ask("POST", "/fl/start", {"epochs": 2, "localRounds": 2, "costConfiguration": budget})
    assert status == 200, run_id
    stream = service.stream(run_id)
    assert next(event for event in stream if event["event"] == "round_finished" and '"round": 2,' in event["data"])
    assert len(bed.pods(run_id)) >= 8
    assert service.ask("POST", f"/fl/stop/{run_id}") == (200, None)
    assert list(stream)[-1]["event"] == "run_ended"
    assert service.ask("GET", f"/fl/runs/{run_id}")[1]["status"] == "stopped"
    until = time.monotonic() + 150
    while left := bed.left(run_id):
        assert time.monotonic() < until, f"still there: {left}"
        time.sleep(0.3)


def test_a_cluster_that_is_not_there_is_told(bed, tmp_path):
    missing = ["--runtime", "kubernetes", "--kubeconfig", str(bed.kubeconfig), "--namespace", "nowhere"]
    service = Service(tmp_path, "hands-on", *missing)
    try:
        status, answer = service.ask("POST", "/fl/start", {})
        assert status == 400
        assert "no namespace nowhere" in answer["error"]
    finally:
        service.end()
