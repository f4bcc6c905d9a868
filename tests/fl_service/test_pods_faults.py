"""Real processes, killed, frozen, moved and fed rubbish. They are plain ones, so that they start fast."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from pods import CLIENTS, NODES, PLAN, Events, nodes, plain_cluster, spec, until

from fl_service import checkpoint
from fl_service.errors import FLServiceError
from fl_service.records import to_arrays
from fl_service.spec import ClientNode, Plan

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]


class Run:
    """A started run that all tests of this file share, one after another; each leaves it whole."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.round, self.plan, self.nodes = folder, 0, PLAN, list(NODES)
        self.cluster = plain_cluster(folder, training=spec(aggregation_local=("FedAvgM", {"server_momentum": 0.5})))
        self.events = Events()
        self.pipeline = self.cluster.pipeline(on_event=self.events)
        self.pipeline.start(nodes(), NODES, PLAN)
        self.pipeline.save(folder / "checkpoint")

    def go(self, rounds=1):
        for _ in range(rounds):
            self.round += 1
            report = self.pipeline.run_round(self.round)
            self.pipeline.save(self.folder / "checkpoint")
        return report

    def states(self):
        """{client: how often it was called}, as the last checkpoint has it."""
        states = checkpoint.load(self.folder / "checkpoint").states
        return {c: int(states[c].config_records["calls"]["count"]) for c in CLIENTS if "calls" in states[c]}

    def apply(self, plan, *more):
        names = [*CLIENTS, *more]
        self.pipeline.apply([ClientNode(n) for n in names], [*NODES, *more], plan)
        self.plan = plan

    def mode(self, node, words=""):
        file = self.folder / f"{node}.mode"
        file.write_text(words) if words else file.unlink(missing_ok=True)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    os.environ["PLAIN_FOLDER"] = str(folder)
    run = Run(folder)
    yield run
    run.cluster.close()
    del os.environ["PLAIN_FOLDER"]


def test_rounds_run_and_tell_what_they_cost(run):
    report = run.go(2)
    assert dict(report.problems) == {}
    assert sorted({c.client for c in report.clients}) == CLIENTS
    assert report.evaluation.accuracy > 0
    assert set(run.states().values()) == {4}  # two rounds of two local rounds: the clients' memory is in the checkpoint
    until(lambda: len(run.events.of("c1", "usage")) == 2)
    used = [event for _, event in run.events.all if event.kind == "usage"]
    assert all(e.detail["cpu_seconds"] > 0 and 20 < e.detail["peak_rss_mb"] < 350 for e in used)
    assert {e.detail["round"] for e in used} == {1, 2}
    assert all(run.cluster.ready(n) for n in [*NODES, "@evaluator"])


def test_aggregators_never_load_torch(run):
    for name in ("ga", "la1", "la2"):
        maps = Path(f"/proc/{run.cluster.pid(name)}/maps").read_text()
        assert "grpc" in maps
        assert "torch" not in maps


@pytest.mark.parametrize(
    ("mode", "words"),
    [("nan", "not finite"), ("shape", "other names or shapes"), ("fail", "ValueError: I do not want to")],
)
def test_bad_updates_are_left_out_and_their_sender_is_named(run, mode, words):
    run.mode("c2", mode)
    report = run.go()
    run.mode("c2")
    assert list(report.problems) == ["c2"]
    assert words in report.problems["c2"]
    assert sorted({c.client for c in report.clients}) == ["c1", "c3", "c4", "c5"]
    assert not run.go().problems


def test_a_frozen_client_is_late_not_lost_and_the_round_goes_on(run):
    before = run.states()["c3"]
    run.cluster.kill("c3", signal.SIGSTOP)
    began = time.monotonic()
    report = run.go()
    assert "no heartbeat for 4 s" in report.problems["c3"]
    until(lambda: run.events.standings("c3")[-1] == "late")
    shown = next(at for at, e in reversed(run.events.all) if e.node == "c3" and e.kind == "late") - began
    assert shown < 5.0
    run.cluster.kill("c3", signal.SIGCONT)
    until(lambda: run.events.standings("c3")[-1] == "back", 5)
    assert not run.go().problems
    assert "lost" not in run.events.of("c3")
    assert run.states()["c3"] == before + 2  # what it did for the round that went on without it does not count


def test_a_killed_client_is_noticed_at_once_and_gets_its_memory_back(run):
    before = run.states()
    began = time.monotonic()
    run.cluster.kill("c1")
    until(lambda: run.events.standings("c1")[-1] == "late", 1.0, "the notice")
    assert time.monotonic() - began < 1.0
    run.cluster.restart("c1")
    report = run.go()
    assert not report.problems, report.problems  # a round that begins waits for it to come again
    assert run.states()["c1"] == before["c1"] + 2
    assert "lost" not in run.events.of("c1")


def test_a_client_killed_in_a_round_costs_no_more_than_its_part_of_it(run):
    run.mode("c1", "sleep 1")
    threading.Timer(0.5, run.cluster.kill, ["c1"]).start()
    report = run.go()
    run.mode("c1")
    assert list(report.problems) == ["c1"]
    run.cluster.restart("c1")
    assert not run.go().problems


def test_a_move_leaves_the_process_and_its_memory(run):
    before, pid = run.states()["c3"], run.cluster.pid("c3")
    moved = replace(PLAN, clusters=(("la1", ("c1", "c2")), ("la2", ("c3", "c4", "c5"))))
    began = time.monotonic()
    run.apply(moved)
    assert time.monotonic() - began < 2.0
    report = run.go()
    assert not report.problems
    assert {c.aggregator for c in report.clients if c.client == "c3"} == {"la2"}
    assert (run.states()["c3"], run.cluster.pid("c3")) == (before + 2, pid)
    assert run.events.of("c3", "moved") == ["moved"]
    run.apply(PLAN)
    assert not run.go().problems


def test_a_client_stays_when_its_new_parent_is_out_of_reach(run):
    run.cluster.kill("la2", signal.SIGSTOP)
    moved = replace(PLAN, clusters=(("la1", ("c1", "c2")), ("la2", ("c3", "c4", "c5"))))
    run.apply(moved)
    report = run.go()
    assert run.events.of("c3", "moved", "stayed")[-1] == "stayed"
    assert {"c1", "c2"} == {c.client for c in report.clients}
    run.cluster.kill("la2", signal.SIGCONT)
    until(lambda: run.events.standings("la2")[-1] == "back", 8)
    report = run.go()  # tried again
    assert not report.problems
    assert run.events.of("c3", "moved", "stayed")[-1] == "moved"
    run.apply(PLAN)


def test_a_killed_local_aggregator_is_replaced_and_its_clients_find_it(run):
    run.mode("c4", "sleep 1")
    threading.Timer(0.6, run.cluster.kill, ["la2"]).start()
    began = run.round
    done = threading.Event()

    def restart():
        run.cluster.restart("la2")
        done.set()

    threading.Timer(0.8, restart).start()
    report = run.go()
    run.mode("c4")
    assert set(report.problems) <= {"la2", "c4", "c5"}
    assert "la2" in report.problems
    done.wait(10)
    report = run.go()
    assert not report.problems, report.problems
    assert run.round == began + 2
    assert "lost" not in run.events.of("la2")


def test_a_killed_global_aggregator_goes_on_from_the_checkpoint(run):
    model = to_arrays(checkpoint.load(run.folder / "checkpoint").model)
    run.cluster.kill("ga")
    threading.Thread(target=run.cluster.restart, args=("ga",)).start()
    report = run.go()
    assert not report.problems, report.problems
    assert run.events.of("ga", "restored")
    assert set(run.states().values()) != {2}  # their memory came from the checkpoint, too
    after = to_arrays(checkpoint.load(run.folder / "checkpoint").model)
    assert all((after[key] > model[key]).all() for key in model)


def test_a_killed_evaluator_is_waited_for(run):
    run.cluster.kill("@evaluator")
    threading.Thread(target=run.cluster.restart, args=("@evaluator",)).start()
    assert run.go().evaluation.accuracy > 0


def cut_short(run):
    """Have another orchestrator ask for the next round and die while it runs."""
    first = run.cluster.pipeline()
    first.restore(run.folder / "checkpoint", nodes(), NODES, PLAN)
    problems = []

    def ask():
        try:
            first.run_round(run.round + 1)
        except FLServiceError as error:
            problems.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    time.sleep(0.4)
    first.close()
    asking.join(10)
    assert len(problems) == 1


def test_the_orchestrator_may_go_and_come_back_while_a_round_runs(run):
    for client in CLIENTS:
        run.mode(client, "sleep 0.5")
    calls = run.states()["c1"]
    cut_short(run)
    again = run.cluster.pipeline()
    again.restore(run.folder / "checkpoint", nodes(), NODES, PLAN)
    report = again.run_round(run.round + 1)
    again.save(run.folder / "checkpoint")
    assert report.round == run.round + 1
    assert not report.problems
    for client in CLIENTS:
        run.mode(client)
    assert run.states()["c1"] == calls + 2  # not run twice
    again.close()
    run.round += 1
    run.pipeline = run.cluster.pipeline(on_event=run.events)
    run.pipeline.restore(run.folder / "checkpoint", nodes(), NODES, PLAN)
    assert not run.go().problems


def test_another_plan_after_coming_back_gives_the_round_under_way_up(run):
    other = replace(PLAN, clusters=(("la1", ("c1", "c2", "c3", "c4", "c5")),))
    for client in CLIENTS:
        run.mode(client, "sleep 1")
    calls = run.states()["c1"]
    cut_short(run)
    for client in CLIENTS:
        run.mode(client)
    run.pipeline = run.cluster.pipeline(on_event=run.events)
    run.pipeline.restore(run.folder / "checkpoint", nodes(), NODES, PLAN)
    run.apply(other)
    report = run.go()
    assert not report.problems, report.problems
    assert run.states()["c1"] == calls + 2
    run.apply(PLAN)


def test_joining_leaving_and_lost_for_good(run):
    run.cluster.add_client("c6", "la1")
    more = replace(PLAN, clusters=(("la1", ("c1", "c2", "c3")), ("la2", ("c4", "c5", "c6"))))
    run.apply(more, "c6")  # it joined la1 at first: it is moved
    report = run.go()
    assert not report.problems
    assert "c6" in {c.client for c in report.clients}
    run.cluster.kill("c6")
    began = time.monotonic()
    until(lambda: "lost" in run.events.of("c6"), 8)
    assert time.monotonic() - began > 4
    run.apply(PLAN)
    assert not run.go().problems
    run.cluster.restart("c6")
    until(lambda: run.events.standings("c6")[-1] == "back", 8)  # told although it is in no plan: so it gets into one
    run.apply(more, "c6")
    assert not run.go().problems
    run.apply(PLAN)
    run.cluster.kill("c6")


def test_lost_when_somebody_knows(run):
    before = len(run.events.standings("c5"))
    run.pipeline.tell_lost("c5", "its node is gone")
    until(lambda: "lost" in run.events.standings("c5")[before:], 1)
    until(lambda: run.events.standings("c5")[-1] == "back", 5)  # it was not true, as its process shows
    assert not run.go().problems


def test_flat_and_back(run):
    flat = Plan("ga", (("ga", tuple(CLIENTS)),), epochs=1, local_rounds=1)
    run.apply(flat)
    report = run.go()
    assert not report.problems
    assert {c.aggregator for c in report.clients} == {"ga"}
    run.apply(PLAN)
    assert not run.go().problems


def test_terminated_processes_end_well(run):
    for name in ("c2", "la1"):
        run.cluster.kill(name, signal.SIGTERM)
        assert run.cluster.wait(name, 5) == 0
        assert not run.cluster.ready(name)
        run.cluster.restart(name)
    assert not run.go().problems


def test_a_model_of_100_mb_passes_and_too_long_an_update_is_named(run, tmp_path):
    """Its own cluster, whose aggregators take 110 MB at most; the run of the other tests goes on beside it."""
    plan = Plan("ga", (("la1", ("c1", "c2")),), epochs=1, local_rounds=1)
    with plain_cluster(tmp_path / "big", plan, spec(parameters=25_000_000), max_message_mb=110) as cluster:
        pipeline = cluster.pipeline()
        assert pipeline.start(nodes("c1", "c2"), ["ga", "la1", "c1", "c2"], plan).round == 0
        assert pipeline.model_bytes == 100_000_000
        run.mode("c2", "oversize")
        report = pipeline.run_round(1)
        run.mode("c2")
    assert "c2" in report.problems
    assert "112.0 MB is longer than the allowed 110 MB" in report.problems["c2"]
    assert report.evaluation.accuracy > 0


def test_processes_end_with_the_one_that_started_them(tmp_path):
    script = (
        "import os, signal, sys; sys.path.insert(0, sys.argv[1]); from pathlib import Path; import pods\n"
        "plan = pods.Plan('ga', (), 1, 1)\n"
        "cluster = pods.plain_cluster(Path(sys.argv[2]), plan)\n"
        "print(cluster.pid('ga'), cluster.pid('@evaluator'), flush=True)\n"
        "pods.until(lambda: cluster.ready('@evaluator'), 60)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    command = [sys.executable, "-c", script, str(Path(__file__).parent), str(tmp_path)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, timeout=100)
    assert done.returncode == -signal.SIGKILL
    pids = [int(word) for word in done.stdout.split()]
    assert len(pids) == 2
    until(lambda: not any(map(alive, pids)), 10, "their end")


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
