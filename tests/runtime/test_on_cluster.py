"""What a run on a cluster decides by itself: places, news of members, what clients used. No cluster is needed."""

from decimal import Decimal

import pytest

from aiotwin_nb.cluster.placement import Placement
from aiotwin_nb.orchestration.events import MemberChanged, RoundFinished, decode, encode
from aiotwin_nb.orchestration.ports import ClientResult, RoundResult
from aiotwin_nb.runtime.kubernetes import with_usage
from aiotwin_nb.runtime.members import News, Silence
from fl_service.events import BACK, JOINED, LATE, LOST, USAGE, MemberEvent


class Machines:
    """A cluster's nodes, as a test says."""

    def __init__(self, *names):
        self.usable = self.alive = list(names)


def dealt(machines, *nodes):
    return Placement.dealt(nodes, lambda: machines.usable, lambda: machines.alive)


def test_nodes_are_dealt_out_in_turn():
    placement = dealt(Machines("a", "b"), "n1", "n2", "n3")
    assert [placement.of(node) for node in ("n1", "n2", "n3")] == ["a", "b", "a"]


def test_a_service_stays_where_it_is_for_as_long_as_its_place_lives():
    machines = Machines("a", "b")
    placement = dealt(machines, "n1", "n2")
    assert placement.of("n2", "a") == "a"
    machines.usable = ["b"]  # a is cordoned
    assert placement.of("n2", "a") == "a"
    machines.alive = ["b"]  # a is gone
    assert placement.of("n2", "a") == "b"
    assert placement.of("n1") == "b"


def test_who_joins_later_gets_a_place_among_those_that_can_take_it():
    machines = Machines("a", "b", "c")
    placement = dealt(machines, "n1")
    assert placement.of("n99") in machines.usable
    machines.usable = ["c"]
    assert placement.of("n99") == "c"


def test_without_a_usable_node_the_scheduler_chooses():
    assert Placement().of("n1") is None
    assert dealt(Machines(), "n1").of("n1") is None


def test_an_actual_node_has_no_other_place():
    placement = Placement(lambda: {"n1": "a"}, lambda: ["b"], lambda: ["b"], fixed=True)
    assert placement.of("n1") == "a"
    assert placement.of("n1", "a") == "a"
    assert placement.of("n2") is None


class Recorder:
    """Stands for the orchestrator and the bridge: remembers what it is told."""

    def __init__(self):
        self.told = []

    def note(self, note):
        self.told.append((note.node, note.standing))

    def lost(self, node):
        self.told.append(("remove", node))

    def back(self, node):
        self.told.append(("add", node))


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (LATE, [("n4", "late")]),
        (LOST, [("n4", "lost"), ("remove", "n4")]),
        (BACK, [("n4", "back"), ("add", "n4")]),
        (JOINED, [("n4", "joined"), ("add", "n4")]),
        (USAGE, []),
    ],
)
def test_only_a_loss_and_a_return_are_reasons_to_reconfigure(kind, expected):
    recorder = Recorder()
    News(recorder, recorder)(MemberEvent(kind, "n4", 5.0))
    assert recorder.told == expected


def test_what_is_on_record_already_is_not_told_again():
    recorder = Recorder()
    news = News(recorder, recorder, since=5.0)
    news(MemberEvent(LOST, "n4", 5.0))
    assert recorder.told == []
    news(MemberEvent(LATE, "n4", 5.1))
    assert recorder.told == [("n4", "late")]


def test_simulated_nodes_are_not_the_clusters():
    assert not Silence().infrastructure().nodes


def result(client, local_round):
    return ClientResult(client, "n2", local_round, 120, 0.5, 0.1, 0.2)


def test_what_a_client_used_stands_at_its_last_local_round():
    used = {"n4": {"cpu_seconds": 1.5, "peak_rss_mb": 280.0}}
    first, last, other = with_usage([result("n4", 1), result("n4", 2), result("n5", 1)], used)
    assert (first.cpu_seconds, first.peak_rss_mb) == (None, None)
    assert (last.cpu_seconds, last.peak_rss_mb) == (1.5, 280.0)
    assert other.cpu_seconds is None


def test_journals_from_before_this_was_measured_are_still_read():
    name, data = encode(RoundFinished(RoundResult(1, 50.0, 1.0, 0.2, (result("n4", 1),)), cost=Decimal(10)))
    for client in data["result"]["clients"]:
        del client["cpu_seconds"], client["peak_rss_mb"]
    assert decode(name, data).result.clients == (result("n4", 1),)


def test_a_members_news_is_a_note_in_the_journal():
    note = MemberChanged("n4", "late", "its connection broke", 12.5)
    assert decode(*encode(note)) == note
