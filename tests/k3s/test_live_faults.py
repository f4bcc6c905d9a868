"""Pods, nodes, the API server and the orchestrator fail while a run goes on; what it cost and learnt stays right."""

import signal
import time

import pytest
from k3s_support import IMAGES, NAMESPACE, LiveRun, course, embedded, run_here

from aiotwin_nb.api import attach, training_spec
from aiotwin_nb.cluster.happenings import Happenings
from aiotwin_nb.runtime.kubernetes import ClusterOptions, kubernetes_runtime

ROUNDS = 20
BUSY = ("--set", "events=[]", "--set", f"training.max_rounds={ROUNDS}", "--set", "training.epochs=30")


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """The course of the same run in one process."""
    return course(embedded(tmp_path_factory.mktemp("reference") / "run", *BUSY))


@pytest.fixture
def run(bed, request, tmp_path):
    """A run that has just begun; it is stopped afterwards."""
    live = LiveRun(bed, tmp_path / request.node.name[:40].replace("[", "-").strip("]"), "hands-on", *BUSY)
    live.wait_round(2)
    yield live
    live.stop()


def assert_every_round_once(run):
    """All rounds in order, each paid for once."""
    numbers = list(dict.fromkeys(run.rounds()))
    assert numbers == list(range(numbers[-1] + 1))
    paid = [entry["round"] for entry in run.summary()["ledger"] if entry["kind"] == "round"]
    assert paid == numbers[1:]


def rounds_without(run, node, since):
    """Rounds after one in which a client took no part."""
    results = [event.result for event in run.events("round_finished") if event.result.round > since]
    return [result.round for result in results if node not in {client.client for client in result.clients}]


@pytest.mark.parametrize("node", ["n4", "n2", "n1"], ids=["client", "local-aggregator", "global-aggregator"])
def test_a_killed_pod_comes_back(bed, run, node, reference):
    before = run.rounds()[-1]
    Happenings(bed.connection).fail(run.id, node)
    run.wait_for(f"{node} noticed", lambda: {"late", "lost", "restored"} & set(run.standings(node)))
    run.finish()
    assert_every_round_once(run)
    results = {event.result.round: event.result for event in run.events("round_finished")}
    everybody = {"n4", "n5", "n6", "n7", "n8"}
    assert {client.client for client in results[ROUNDS].clients} == everybody
    if node == "n1":
        assert course(run.summary())["history"] == reference["history"]
    elif "lost" not in run.standings(node):
        assert run.summary()["reconfigurations"] == []
        assert len([n for n, r in results.items() if n > before and r.problems]) <= 1


def test_the_orchestrator_is_killed_and_goes_on(bed, run, reference):
    pods = {pod["metadata"]["uid"] for pod in bed.pods(run.id)}
    run.kill()
    assert {pod["metadata"]["uid"] for pod in bed.pods(run.id)} == pods
    run.resume()
    run.wait_for("resumed", lambda: run.events("run_resumed"))
    assert {pod["metadata"]["uid"] for pod in bed.pods(run.id)} == pods
    run.finish()
    assert course(run.summary())["history"] == reference["history"]
    assert course(run.summary())["ledger"] == reference["ledger"]
    assert_every_round_once(run)
    told = [(event.node, event.standing, event.time) for event in run.events("member_changed")]
    assert len(told) == len(set(told))
    assert run.nothing_left()


def test_the_api_server_is_away_for_a_minute(bed, run, reference):
    start_again = bed.api_stop()
    try:
        time.sleep(60)
        assert run.process.poll() is None
    finally:
        start_again()
    run.finish()
    assert course(run.summary()) == reference
    assert not [event for event in run.events("member_changed") if event.standing == "lost"]


def test_a_frozen_client_is_late_and_comes_back(bed, run):
    bed.signal(run.id, "n4", signal.SIGSTOP)
    frozen = time.time()
    run.wait_for("late", lambda: "late" in run.standings("n4"), 15)
    noticed = next(e.time for e in run.events("member_changed") if (e.node, e.standing) == ("n4", "late")) - frozen
    bed.signal(run.id, "n4", signal.SIGCONT)
    run.wait_for("back", lambda: "back" in run.standings("n4"), 15)
    run.finish()
    assert noticed < 8
    assert "lost" not in run.standings("n4")
    assert run.summary()["reconfigurations"] == []
    assert_every_round_once(run)


def test_moves_need_no_new_pod_and_those_who_leave_lose_theirs(bed, run):
    uids = {pod["metadata"]["labels"]["aiotwin.io/node"]: pod["metadata"]["uid"] for pod in bed.pods(run.id)}
    handle = attach(run.path)
    handle.inject(link={"n4": {"n2": 200}})  # now n3 is nearer
    run.wait_for("n4 moved", lambda: run.standings("n4").count("moved") == 2, 60)
    assert {pod["metadata"]["uid"] for pod in bed.pods(run.id)} == set(uids.values())
    handle.inject(remove=["n5"])
    run.wait_for("n5 gone", lambda: not bed.pods(run.id, "n5"), 60)
    run.finish()
    assert [r["trigger"]["removed"] for r in run.summary()["reconfigurations"]] == [[], ["n5"]]
    assert_every_round_once(run)


def test_applying_the_same_again_changes_nothing(bed, run):
    run.kill()
    state = attach(run.path).state()
    options = ClusterOptions(str(bed.kubeconfig), namespace=NAMESPACE, **IMAGES)
    spec, nodes = training_spec(state.rules.scenario), list(state.infrastructure.nodes)
    runtime = kubernetes_runtime(spec, nodes, run.path, options)
    outcomes = {f"{a.kind} {a.name}": a.outcome for a in runtime._deployment.apply(state.current)}
    runtime.close()
    assert len(outcomes) == 1 + 8 * 3 + 3
    assert set(outcomes.values()) == {"unchanged"}
    done = run_here(
        "cluster", "clean", run.path, "--kubeconfig", bed.kubeconfig, "--namespace", NAMESPACE, folder=run.path.parent
    )
    assert done.returncode == 0, done.stderr
    assert bed.left(run.id) == {}
