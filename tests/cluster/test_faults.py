"""List and watch through a proxy that does everything wrong, in front of a real API server."""

import time

import pytest
from cluster_support import NODES, set_ready, wait_until, write_node

from aiotwin_nb.cluster.applying import apply_one
from aiotwin_nb.cluster.backoff import BackOff
from aiotwin_nb.cluster.source import KubernetesNodeSource
from aiotwin_nb.cluster.watching import ObjectWatch
from aiotwin_nb.errors import AIoTwinError

pytestmark = pytest.mark.k3s
GA = {"fl/type": "global_aggregator"}
CLIENT = {"fl/type": "client", "comm/n1": "20", "data/1": "10"}


@pytest.fixture
def watch(through):
    """{name: labels} as seen through the proxy, the number of times that it was told, and the watch itself."""
    seen, told = {}, []

    def take(objects):
        seen.clear()
        seen.update({name: item["metadata"]["labels"] for name, item in objects.items()})
        told.append(time.monotonic())

    watch = ObjectWatch(through, NODES, take, back_off=BackOff(first=0.05, most=0.2))
    yield watch, seen, told
    watch.close()


def test_what_happens_is_seen_at_once(watch, connection):
    watch, seen, _ = watch
    write_node(connection, "n1", GA)
    watch.start()
    wait_until(lambda: "n1" in seen)
    write_node(connection, "n2", CLIENT)
    assert wait_until(lambda: "n2" in seen) < 1
    connection.request("DELETE", f"{NODES}/n2")
    assert wait_until(lambda: "n2" not in seen) < 1
    assert watch.problem == ""
    assert watch.stale_seconds < 1


def test_a_cut_watch_goes_on_where_it_was_and_misses_nothing(watch, connection, proxy):
    watch, seen, _ = watch
    write_node(connection, "n1", GA)
    proxy.drop_after = 1
    watch.start()
    wait_until(lambda: "n1" in seen)
    for number in range(2, 7):
        write_node(connection, f"n{number}", CLIENT)
    wait_until(lambda: len(seen) == 6)
    assert proxy.watches > 3
    assert proxy.lists == 1  # no second list: every watch began after the last event that was whole


@pytest.mark.parametrize("form", ["status", "event"])
def test_410_leads_to_a_new_list(watch, connection, proxy, form):
    watch, seen, _ = watch
    write_node(connection, "n1", GA)
    proxy.gone = [form]
    watch.start()
    wait_until(lambda: proxy.watches == 1)
    assert proxy.lists == 2
    write_node(connection, "n2", CLIENT)
    wait_until(lambda: "n2" in seen)


def test_many_410_are_not_answered_in_a_hurry(watch, connection, proxy):
    watch, _, _ = watch
    write_node(connection, "n1", GA)
    proxy.gone = ["event"] * 1000
    watch.start()
    time.sleep(1.5)
    assert proxy.lists < 30


def test_duplicates_change_nothing(through, connection, proxy):
    write_node(connection, "n1", GA)
    proxy.twice = True
    changes = []
    source = KubernetesNodeSource(through).start()
    try:
        source.watch(changes.append)
        write_node(connection, "n2", CLIENT)
        wait_until(lambda: len(changes) == 1)
        set_ready(connection, "n2", False)
        wait_until(lambda: len(changes) == 2)
        time.sleep(0.3)
        assert [([n.id for n in c.added], list(c.removed)) for c in changes] == [(["n2"], []), ([], ["n2"])]
    finally:
        source.close()


def test_late_events_arrive_in_order(watch, connection, proxy):
    watch, seen, told = watch
    write_node(connection, "n1", GA)
    proxy.delay = 0.3
    watch.start()
    wait_until(lambda: "n1" in seen)
    began = time.monotonic()
    write_node(connection, "n2", CLIENT)
    connection.request("DELETE", f"{NODES}/n2")
    wait_until(lambda: "n2" in seen)
    wait_until(lambda: "n2" not in seen)
    assert told[-1] - began > 0.6


@pytest.mark.parametrize("status", [429, 500, 503])
def test_refusals_are_waited_out_and_told(watch, connection, proxy, status):
    watch, seen, _ = watch
    write_node(connection, "n1", GA)
    proxy.answers = [status] * 3
    problems = set()
    watch.start()
    wait_until(lambda: problems.add(watch.problem) or "n1" in seen)
    assert f"made up {status} (HTTP {status})" in problems
    assert watch.problem == ""


def test_an_api_server_that_is_away_makes_the_view_stale_and_nothing_worse(watch, connection, proxy):
    watch, seen, _ = watch
    write_node(connection, "n1", GA)
    watch.start()
    wait_until(lambda: proxy.watches == 1)
    proxy.down = True
    proxy.cut()
    write_node(connection, "n2", CLIENT)
    wait_until(lambda: watch.problem != "")
    wait_until(lambda: watch.stale_seconds > 1)
    assert set(seen) == {"n1"}
    proxy.down = False
    wait_until(lambda: "n2" in seen)
    assert watch.problem == ""


@pytest.mark.parametrize("silent", [0, 0.5])
def test_closing_a_watch_takes_no_time(watch, connection, silent):
    watch, seen, _ = watch
    write_node(connection, "n1", GA)
    watch.start()
    wait_until(lambda: "n1" in seen)
    time.sleep(silent)
    began = time.monotonic()
    watch.close()
    assert time.monotonic() - began < 1
    assert not watch._thread.is_alive()


def config_map(connection, **data):
    metadata = {"name": "try", "namespace": connection.namespace}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def test_requests_are_repeated_while_the_server_is_busy(through, connection, proxy):
    proxy.answers = [429, 503, 500]
    began = time.monotonic()
    assert apply_one(through, config_map(connection, a="1")).outcome == "created"
    assert 1 < time.monotonic() - began < 15  # 429 asked for a second
    assert apply_one(connection, config_map(connection, a="1")).outcome == "unchanged"


def test_refusals_that_stay_are_told_in_one_line(through, connection, proxy):
    proxy.answers = [503] * 20
    with pytest.raises(
        AIoTwinError, match=r"^reading ConfigMap try: the cluster proxied refused: made up 503 \(HTTP 503\)$"
    ):
        apply_one(through, config_map(connection, a="1"))
    assert len(proxy.seen) == 4
