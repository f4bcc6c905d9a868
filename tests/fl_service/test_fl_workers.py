import os
import signal
import time

import pytest
from fl_support import CLIENTS, NODES, TWO_TIERS, assert_same, model, spec, steady
from flwr.app import ConfigRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from fl_service.grid import InProcessGrid, Registry, node_id
from fl_service.pipeline import Pipeline
from fl_service.workers import WorkerPool


def run(workers: int, rounds: int = 2):
    pipeline = Pipeline(spec(), workers)
    try:
        reports = [pipeline.start(list(CLIENTS.values()), NODES, TWO_TIERS)]
        reports += [pipeline.run_round(n) for n in range(1, rounds + 1)]
        return [steady(report) for report in reports], model(pipeline)
    finally:
        pipeline.close()


def test_in_process_and_one_and_two_workers_are_bit_equal():
    reports, trained = run(0)
    for workers in (1, 2):
        others, same = run(workers)
        assert others == reports
        assert_same(trained, same)


def odd_app():
    """Return an app that counts in its state, and dies where it is told to (made in the worker)."""
    app = ClientApp()

    @app.train()
    def train(message, context):
        if message.content.config_records["config"]["die"] == context.node_config["name"]:
            os.kill(os.getpid(), signal.SIGKILL)
        count = int(context.state.config_records["seen"]["n"]) if "seen" in context.state else 0
        context.state["seen"] = ConfigRecord({"n": count + 1})
        return Message(RecordDict({"m": MetricRecord({"count": count + 1, "pid": os.getpid()})}), reply_to=message)

    return app


def unmade_app():
    raise RuntimeError("no data here")


@pytest.fixture
def ask():
    pools = []

    def start(make_app, workers=2):
        pools.append(WorkerPool(workers, make_app))
        registry = Registry(1)
        for name in ("a", "b", "c"):
            registry.put(name, None, {"name": name})
        grid = InProcessGrid("ga", registry, 1, pools[-1].execute)

        def send(die=""):
            grid.begin_round(["a", "b", "c"], 1, 1)
            content = RecordDict({"config": ConfigRecord({"die": die})})
            return grid.send_and_receive([Message(content, node_id(n), "train") for n in ("a", "b", "c")])

        return send, pools[-1]

    yield start
    for pool in pools:
        pool.close()
        assert pool.pids == []


def counts(replies):
    return [r.content.metric_records["m"]["count"] if r.has_content() else None for r in replies]


def test_a_killed_worker_is_an_error_of_its_client_and_state_is_kept(ask):
    send, pool = ask(odd_app)
    assert counts(send()) == [1, 1, 1]
    replies = send(die="b")
    assert counts(replies) == [2, None, 2]
    assert "worker process" in replies[1].error.reason
    assert counts(send()) == [3, 2, 3]
    assert len(pool.pids) == 2


def test_a_worker_killed_between_rounds_costs_nothing(ask):
    send, pool = ask(odd_app)
    send()
    os.kill(pool.pids[0], signal.SIGKILL)
    time.sleep(0.2)
    assert counts(send()) == [2, 2, 2]


def test_an_app_that_cannot_be_made_is_told(ask):
    send, _ = ask(unmade_app, workers=1)
    assert {r.error.reason for r in send()} == {"RuntimeError: no data here"}


def test_processes_end_with_the_run():
    pipeline = Pipeline(spec(), 1)
    pipeline.start(list(CLIENTS.values()), NODES, TWO_TIERS)
    (pid,) = pipeline.worker_pids
    pipeline.close()
    pipeline.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
