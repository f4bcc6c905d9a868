"""An embedded continuum: real processes and sockets, disturbed on purpose."""

import asyncio
import sys
import threading
import time
from pathlib import Path
from subprocess import PIPE, Popen

import pytest
from site_support import children, is_alive, site_spec

import aiotwin_nb
from aiotwin_nb.errors import InvalidInput, RunFailed
from aiotwin_nb.inference.monitoring.events import Injected, Replaced
from aiotwin_nb.inference.monitoring.recorder import read_record
from aiotwin_nb.inference.site import Sample, Site, load_site, site_names
from aiotwin_nb.scenario import lab_path


@pytest.fixture(scope="module")
def site():
    """A site that tests disturb and leave as it was."""
    with Site(site_spec()) as site:
        yield site


def qos(site):
    return site.snapshot()["qos"]


def site_threads():
    return {thread for thread in threading.enumerate() if thread.name.startswith("site ")}


def of(site, kind, i):
    return next(each for each in site.snapshot()[kind] if each["id"] == i)


def test_everybody_is_served_and_the_map_shows_by_whom(site):
    site.wait_for(lambda: {e["instance"] for e in site.snapshot()["edges"]} == {"a-1", "b-1"})
    seen = site.snapshot()
    assert seen["clients"][0]["door"] == "a"
    assert {(n["id"], n["replicas"], n["up"]) for n in seen["nodes"]} == {("a", 1, True), ("b", 1, True)}
    assert seen["links"] == [{"a": "a", "b": "b", "rtt_ms": 4.0}]
    assert sum(e["requests"] for e in seen["edges"]) > 0
    site.wait_for(lambda: any("inference/accuracy" in row for row in site.rows()))
    assert {row["inference/accuracy"] for row in site.rows() if "inference/accuracy" in row} == {100.0}


def test_a_slow_link_is_felt_and_ends(site):
    site.slow_link("a", "b", 500)
    site.wait_for(lambda: (of(site, "instances", "b-1")["p95_ms"] or 0) > 500)
    site.wait_for(lambda: (qos(site) or 1) < 1)
    site.slow_link("b", "a", 4)
    site.wait_for(lambda: qos(site) == 1)
    assert site.snapshot()["links"] == [{"a": "b", "b": "a", "rtt_ms": 4.0}]


def test_an_overload_slows_a_node_down(site):
    site.overload("b", 100)
    site.wait_for(lambda: (of(site, "instances", "b-1")["p95_ms"] or 0) > 150)
    assert of(site, "nodes", "b")["load"] == 0.99
    site.restore("b")
    site.wait_for(lambda: 0 < (of(site, "instances", "b-1")["p95_ms"] or 0) < 150)


def test_a_burst_comes_and_goes(site):
    before = of(site, "clients", "cameras")["rate"]
    site.burst("cameras", 3, seconds=0.3)
    assert of(site, "clients", "cameras")["rate"] == 3 * before
    site.wait_for(lambda: of(site, "clients", "cameras")["rate"] == before)


def test_other_samples_are_another_accuracy(site):
    site.use_stream(lambda draw: Sample([1.0], 2))
    site.wait_for(lambda: site.rows()[-1].get("inference/accuracy") == 0.0)
    site.use_stream(lambda draw: Sample([1.0], 1))
    site.wait_for(lambda: site.rows()[-1].get("inference/accuracy") == 100.0)


def test_another_policy_takes_over_without_a_failure(site):
    first = len(site.rows())
    site.use_policy("round_robin")
    site.wait_windows(3)
    assert sum(row.get("inference/failed", 0) for row in site.rows()[first:]) == 0
    assert list(site.series().columns) == ["round_robin"]
    with pytest.raises(InvalidInput, match="unknown balancing policy 'best'"):
        site.use_policy("best")


def test_replicas_are_placed_without_a_failure(site):
    first = len(site.rows())
    site.place({"a": 2})
    site.wait_windows(2)
    assert site.replicas() == {"a": 2}
    assert {i["node"] for i in site.snapshot()["instances"]} == {"a"}
    site.place({"a": 1, "b": 1})
    assert site.replicas() == {"a": 1, "b": 1}
    site.wait_windows(2)
    assert sum(row.get("inference/failed", 0) for row in site.rows()[first:]) == 0


@pytest.mark.parametrize(
    ("what", "message"),
    [
        (lambda s: s.kill("c"), "there is no node 'c'; known are a, b"),
        (lambda s: s.overload("a", 0.5), "from 1"),
        (lambda s: s.restore("bb"), "Did you mean 'b'"),
        (lambda s: s.slow_link("a", "a", 3), "needs two nodes"),
        (lambda s: s.burst("camera"), "Did you mean 'cameras'"),
        (lambda s: s.place({"a": -1}), "cannot run -1"),
        (lambda s: s.new_node("a"), "there already"),
        (lambda s: s.new_node("c", slot=3), "slot: unknown field"),
        (lambda s: s.roll_out("x"), "synthetic service has no model"),
        (lambda s: s.start(), "runs already"),
    ],
)
def test_nonsense_is_refused(site, what, message):
    with pytest.raises(InvalidInput, match=message):
        what(site)


@pytest.mark.slow
def test_a_site_heals_itself_and_leaves_nothing_behind(tmp_path):
    """Killed instance and node, a node that joins: the bound holds again each time; nothing runs after the end."""
    before, threads = children(), site_threads()
    adapt = {"dwell_s": 1, "patience": 3, "dead_band": 0.5}
    spec = site_spec(placement=None, adapt=adapt, clients=[{"id": "cameras", "node": "a", "rate": 30}])
    with Site(spec, out=tmp_path / "record", tracking="off") as site:
        (home,) = site.replicas()
        victim = site.snapshot()["instances"][0]["id"]
        site.kill(victim)
        site.wait_for(lambda: victim not in {i["id"] for i in site.snapshot()["instances"]})
        site.wait_for(lambda: sum(site.replicas().values()) >= 1 and qos(site) == 1)
        other = "b" if home == "a" else "a"
        site.kill(home)
        site.wait_for(lambda: set(site.replicas()) == {other} and qos(site) == 1)
        assert of(site, "clients", "cameras")["door"] == ("b" if home == "a" else "a")
        site.new_node("c", rtt_ms={"a": 1, "b": 1}, slots=1, price=0.1)
        site.wait_for(lambda: set(site.replicas()) == {"c"} and qos(site) == 1)
        site.restore(home)
        site.wait_for(lambda: of(site, "nodes", home)["up"] and of(site, "clients", "cameras")["door"] == "a")
        assert children() - before
        assert site.problems == []
    assert children() == before
    assert site_threads() <= threads  # the other tests' site may be running beside
    events = [entry.event for entry in read_record(tmp_path / "record")]
    assert [e.what for e in events if isinstance(e, Injected)] == ["kill", "kill", "new_node", "restore"]
    causes = [e.cause for e in events if isinstance(e, Replaced)]
    assert causes[0] == "first"
    assert causes.count("lost") >= 2
    assert causes[-1] == "cost"


@pytest.mark.slow
def test_a_service_that_cannot_start_is_told_and_nothing_is_left(tmp_path):
    before = children()
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "scenario.yaml").write_text(Path(lab_path("improvement")).read_text())
    site = Site(site_spec(service={"run": str(tmp_path)}, placement={"a": 1}, clients=[])).start()
    try:
        assert "did not start" in site.problems[0]
        assert "no checkpoint" in site.problems[0]
    finally:
        site.close()
    site.close()
    assert children() == before
    with pytest.raises(InvalidInput, match="does not run"):
        site.snapshot()


def test_services_end_with_the_process_that_started_them(tmp_path):
    """Also when it is killed and cannot say so."""
    program = tmp_path / "starts.py"
    program.write_text(
        f"import sys; sys.path[:0] = {[str(Path(__file__).parent), str(Path(aiotwin_nb.__file__).parents[1])]}\n"
        "from site_support import children, site_spec\n"
        "from aiotwin_nb.inference.site import Site\n"
        "site = Site(site_spec()).start()\n"
        "print(*children(), flush=True)\n"
        "site.wait_windows(1000, 1000)\n"
    )
    with Popen([sys.executable, str(program)], stdout=PIPE, text=True) as parent:
        services = [int(pid) for pid in parent.stdout.readline().split()]
        parent.kill()
    assert len(services) == 2
    until = time.monotonic() + 30
    while any(is_alive(pid) for pid in services):
        assert time.monotonic() < until
        time.sleep(0.02)


def test_a_good_policy_avoids_a_slow_link():
    """With the link to one of two instances too slow, nearly all requests keep their bound after a while."""
    with Site(site_spec(policy="qos_bandit")) as site:
        site.wait_for(lambda: qos(site) is not None)
        site.slow_link("a", "b", 600)
        site.wait_for(lambda: min(r.get("inference/qos_share", 1) for r in site.rows()) < 1)
        site.wait_for(lambda: len(site.rows()) > 8 and min(_last(site, "inference/qos_share", 4)) >= 0.9)


def test_nodes_join_and_leave_where_placements_are_made_by_hand():
    with Site(site_spec(placement={"a": 1})) as site:
        site.new_node("c", rtt_ms={"a": 2}, slots=1)
        site.place({"c": 1})
        site.wait_for(lambda: {i["node"] for i in site.snapshot()["instances"]} == {"c"} and qos(site) == 1)
        assert site.snapshot()["missed"] == []
        site.kill("c")
        site.wait_for(lambda: qos(site) == 0)
        assert [m["group"] for m in site.snapshot()["missed"]] == ["cameras"]
        with pytest.raises(InvalidInput, match="while it is down"):
            site.place({"c": 1})
        site.restore("c")
        site.wait_for(lambda: site.replicas() == {"c": 1} and qos(site) == 1)


def _last(site, name, count):
    return [row.get(name, 0.0) for row in site.rows()[-count:]]


def test_what_a_site_needs_must_be_there(tmp_path):
    with pytest.raises(InvalidInput, match="none"):
        Site(site_spec(service={"run": str(tmp_path / "none")}))
    with pytest.raises(InvalidInput, match="synthetic service learns nothing"):
        Site(site_spec(retrain={"below": 80, "scenario": "improvement"}))


@pytest.mark.parametrize("name", site_names())
def test_shipped_sites_are_right(name):
    assert load_site(name).name == name


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: x\nnodes: [{id: a}]\nwindows: 3\n", r"site.yaml:3: windows: unknown field.*Did you mean 'window_s'"),
        ("name: x\nnodes: []\n", "nodes"),
        ("name: x\nnodes: [{id: a}, {id: a}]\n", "node 'a' is there twice"),
        ("name: x\nnodes: [{id: a}]\nclients: [{id: c, node: b}]\n", "there is no node 'b'; known are a"),
        ("name: x\npolicy: best\nnodes: [{id: a}]\n", "unknown balancing policy"),
        ("name: x\nnodes: [{id: a, speed: fast}]\n", r"nodes\[0\].speed: is 'fast'"),
        ("", "is empty"),
    ],
)
def test_wrong_files_are_refused(tmp_path, text, message):
    path = tmp_path / "site.yaml"
    path.write_text(text)
    with pytest.raises(InvalidInput, match=message):
        Site(path)


def test_no_such_site():
    with pytest.raises(InvalidInput, match="Did you mean 'two-sides'"):
        Site("two-side")


def test_a_failed_start_of_the_thread_leaves_nothing(monkeypatch):
    async def broken(self):
        raise RunFailed("no")

    monkeypatch.setattr("aiotwin_nb.inference.site.embedded.Continuum.start", broken)
    site = Site(site_spec())
    with pytest.raises(RunFailed):
        site.start()
    assert not site.running


def test_it_can_be_closed_where_another_event_loop_runs():
    """As in a notebook's cell."""

    before = children()

    async def cell():
        site = Site(site_spec()).start()
        site.close()
        return site.running

    assert asyncio.run(cell()) is False
    assert children() <= before
