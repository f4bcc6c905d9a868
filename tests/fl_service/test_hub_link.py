"""Hub and link over real gRPC and TLS in one process; seconds are shortened."""

from __future__ import annotations

import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, field

import grpc
import numpy as np
import pytest
from flwr.app import RecordDict

from fl_service.certificates import Authority, dns_name
from fl_service.errors import FLServiceError, RestartedError, TransportError
from fl_service.records import to_arrays, to_record
from fl_service.roles.config import address_from
from fl_service.roles.local_aggregator import move
from fl_service.transport.hub import Hub
from fl_service.transport.link import Address, Link
from fl_service.transport.liveness import Timings
from fl_service.transport.peer import Operation, Reply, answer
from fl_service.transport.stream import METHOD, OPTIONS
from fl_service.transport.wire import Content

FAST = Timings(beat=0.1, late=0.5, lost_broken=1.0, lost_silent=2.0, move=0.7, refuge=0.3)
AUTHORITY = Authority("test")


def until(holds, seconds=5.0):
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not come to be"
        time.sleep(0.01)


@dataclass
class World:
    """Makes hubs and links and closes them afterwards."""

    made: list = field(default_factory=list)
    told: list = field(default_factory=list)
    lane: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(4))

    def hub(self, name="ga", timings=FAST, **options) -> Hub:
        credentials = options.pop("credentials", None) or AUTHORITY.issue(name)
        hub = Hub(name, credentials, options.pop("listen", "127.0.0.1:0"), timings, notify=self.told.extend, **options)
        self.made.append(hub)
        return hub

    def link(self, hub_at, name="n5", operations=None, **options) -> Link:
        operations = {op: Operation(self.lane, perform) for op, perform in (operations or {}).items()}
        credentials = options.pop("credentials", None) or AUTHORITY.issue(name)
        link = Link(name, credentials, hub_at, options.pop("timings", FAST), operations=operations, **options)
        if "move" not in operations:
            operations["move"] = Operation(
                self.lane, lambda call: link.move(address_from(call.header["parent"], "parent")) or Reply()
            )
        self.made.append(link)
        return link.start()

    def standings(self, name="n5"):
        return [t.standing for t in self.told if t.member == name]


@pytest.fixture
def world():
    world = World()
    yield world
    for made in reversed(world.made):
        made.close()


def at(hub: Hub) -> Address:
    return Address(hub.name, f"127.0.0.1:{hub.port}")


def joined(hub: Hub, name="n5"):
    until(lambda: hub.standing(name) == "here")


def echo(call):
    return Reply({"word": call.header["word"]}, call.records())


def test_a_call_goes_there_and_comes_back(world):
    hub = world.hub()
    world.link(at(hub), operations={"echo": echo})
    joined(hub)
    model = {"w": np.random.default_rng(1).random((300, 1000))}  # more than one chunk
    content = Content({"content": RecordDict({"arrays": to_record(model)})})
    frame = answer(hub.call("n5", "echo", {"word": "hello"}, content), 5, "echo")
    assert frame.header["word"] == "hello"
    assert (to_arrays(frame.records()["content"].array_records["arrays"])["w"] == model["w"]).all()


def test_errors_keep_their_kind_and_words(world):
    from fl_service.errors import TaskError

    def refuse(call):
        raise TaskError("nodes[n5].data: no")

    def break_down(call):
        return 1 / 0

    hub = world.hub()
    world.link(at(hub), operations={"refuse": refuse, "break": break_down})
    joined(hub)
    with pytest.raises(TaskError, match=r"nodes\[n5\]"):
        answer(hub.call("n5", "refuse"), 5, "x")
    with pytest.raises(TransportError, match="ZeroDivisionError"):
        answer(hub.call("n5", "break"), 5, "x")
    with pytest.raises(TransportError, match="'steal' is nothing that ga may ask for"):
        answer(hub.call("n5", "steal"), 5, "x")


def test_nobody_waits_for_one_who_is_not_there(world):
    with pytest.raises(TransportError, match="n7 was not asked: it is not connected"):
        answer(world.hub().call("n7", "echo"), 5, "x")


def test_an_answer_that_does_not_come_says_what_was_waited_for(world):
    hub = world.hub()
    world.link(at(hub), operations={"slow": lambda call: time.sleep(0.5) or Reply()})
    joined(hub)
    with pytest.raises(TransportError, match=r"round 3: no answer for 0\.1 s"):
        answer(hub.call("n5", "slow"), 0.1, "round 3")


# --- who is who ------------------------------------------------------------------------------------------------------


def refused(world, hub, words, **options):
    link = world.link(at(hub), **options)
    until(lambda: link.problem)
    time.sleep(0.3)
    assert hub.view() == {}
    assert any(word in link.problem for word in words), link.problem


def test_another_runs_certificate_is_refused(world):
    refused(
        world,
        world.hub(),
        ["CERTIFICATE_VERIFY_FAILED", "handshake", "certificate"],
        credentials=Authority("b").issue("n5"),
    )


def test_an_own_certificate_by_another_authority_is_refused_by_the_parent(world):
    from dataclasses import replace

    stranger = replace(Authority("b").issue("n5"), ca=AUTHORITY.certificate)  # it trusts us, we do not trust it
    refused(world, world.hub(), ["UNAVAILABLE", "CERTIFICATE"], credentials=stranger)


def test_an_expired_certificate_is_refused(world):
    refused(world, world.hub(), ["UNAVAILABLE", "CERTIFICATE"], credentials=AUTHORITY.issue("n5", days=-1))


def test_an_expired_parent_is_refused(world):
    hub = world.hub(credentials=AUTHORITY.issue("ga", days=-1))
    refused(world, hub, ["CERTIFICATE_VERIFY_FAILED", "certificate"])


def test_one_nodes_certificate_cannot_speak_as_another(world):
    hub = world.hub()
    link = world.link(at(hub), name="n6", credentials=AUTHORITY.issue("n5"))
    until(lambda: link.problem)
    assert "not the name in its certificate" in link.problem
    assert hub.view() == {}


def test_a_parent_with_another_name_is_not_joined(world):
    hub = world.hub("n2")
    refused(world, Hubbed(hub, "n3"), ["Hostname", "hostname", "Peer name", "not in peer certificate"])


class Hubbed:
    """A hub under another name than its own."""

    def __init__(self, hub, name):
        self.view, self.port, self.name = hub.view, hub.port, name


def test_plaintext_is_refused(world):
    hub = world.hub()
    with grpc.insecure_channel(f"127.0.0.1:{hub.port}") as channel, pytest.raises(grpc.RpcError):
        list(channel.stream_stream(METHOD)(iter([b"B"]), timeout=2))
    assert hub.view() == {}


def test_without_a_certificate_nobody_is_heard(world):
    hub = world.hub()
    secure = grpc.ssl_channel_credentials(AUTHORITY.certificate)
    options = [*OPTIONS, ("grpc.ssl_target_name_override", dns_name("ga"))]
    with grpc.secure_channel(f"127.0.0.1:{hub.port}", secure, options) as channel, pytest.raises(grpc.RpcError):
        list(channel.stream_stream(METHOD)(iter([b"B"]), timeout=2))


def test_rubbish_ends_the_stream_of_its_sender_alone(world):
    hub = world.hub()
    world.link(at(hub), operations={"echo": echo})
    joined(hub)
    c = AUTHORITY.issue("n6")
    secure = grpc.ssl_channel_credentials(c.ca, c.key, c.certificate)
    options = [*OPTIONS, ("grpc.ssl_target_name_override", dns_name("ga"))]
    with grpc.secure_channel(f"127.0.0.1:{hub.port}", secure, options) as channel, pytest.raises(grpc.RpcError) as told:
        list(channel.stream_stream(METHOD)(iter([b"Crubbish"]), timeout=2))
    assert "out of place" in told.value.details()
    assert answer(hub.call("n5", "echo", {"word": "still"}), 5, "x").header["word"] == "still"


# --- broken streams --------------------------------------------------------------------------------------------------


class Relay:
    """A TCP relay that can be cut, to break a connection without either end knowing beforehand."""

    def __init__(self, port):
        self._target, self._sockets = port, []
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port, self.open = self._server.getsockname()[1], True
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                ours, _ = self._server.accept()
            except OSError:
                return
            if not self.open:
                ours.close()
                continue
            theirs = socket.create_connection(("127.0.0.1", self._target))
            self._sockets += [ours, theirs]
            for a, b in ((ours, theirs), (theirs, ours)):
                threading.Thread(target=self._pump, args=(a, b), daemon=True).start()

    def _pump(self, a, b):
        try:
            while data := a.recv(65536):
                b.sendall(data)
        except OSError:
            pass
        self._shut(a, b)

    def _shut(self, *sockets):
        for one in sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def cut(self):
        sockets, self._sockets = self._sockets, []
        self._shut(*sockets)

    def close(self):
        self.open = False
        self._server.close()
        self.cut()


def test_a_call_outlives_a_broken_stream_and_is_executed_once(world):
    hub, executed = world.hub(timings=Timings(beat=0.1, late=3)), []
    relay = Relay(hub.port)
    world.made.append(relay)

    def count(call):
        executed.append(call.header["word"])
        time.sleep(0.4)
        return Reply({"n": len(executed)})

    world.link(Address("ga", f"127.0.0.1:{relay.port}"), operations={"count": count})
    joined(hub)
    under_way = hub.call("n5", "count", {"word": "a"})
    until(lambda: executed)
    relay.open = False
    relay.cut()
    until(lambda: hub.standing("n5") == "away")
    sent_meanwhile = hub.call("n5", "count", {"word": "b"})
    relay.open = True
    assert answer(under_way, 5, "a").header["n"] >= 1
    answer(sent_meanwhile, 5, "b")
    assert sorted(executed) == ["a", "b"]


def test_calls_to_a_process_that_was_replaced_fail_at_once(world):
    hub = world.hub(timings=Timings(beat=0.1, late=30))
    first = world.link(at(hub), operations={"slow": lambda call: time.sleep(1) or Reply()})
    joined(hub)
    under_way = hub.call("n5", "slow")
    world.link(at(hub), operations={"slow": lambda call: Reply()})  # the same name, another life
    with pytest.raises(RestartedError, match="n5 was restarted"):
        answer(under_way, 5, "x")
    until(first.replaced.is_set)
    answer(hub.call("n5", "slow"), 5, "x")


def test_silent_is_late_then_back_and_its_late_answer_is_dropped(world, monkeypatch):
    hub, gate = world.hub(), threading.Event()
    link = world.link(
        at(hub), operations={"wait": lambda call: gate.wait(5) and Reply({"round": call.header["round"]})}
    )
    joined(hub)
    stream = link._current.stream
    monkeypatch.setattr(stream, "beat", lambda: None)  # frozen: no heartbeat, but the connection stands
    first = hub.call("n5", "wait", {"round": 1})
    with pytest.raises(TransportError, match=r"did not reply: no heartbeat for 0\.5 s"):
        answer(first, 3, "x")
    assert world.standings() == ["here", "late"]
    monkeypatch.undo()
    until(lambda: hub.standing("n5") == "here")
    second = hub.call("n5", "wait", {"round": 2})
    gate.set()
    assert answer(second, 5, "x").header["round"] == 2
    assert world.standings() == ["here", "late", "here"]


def test_a_broken_connection_is_noticed_at_once_and_lost_later(world):
    hub = world.hub()
    relay = Relay(hub.port)
    world.made.append(relay)
    world.link(Address("ga", f"127.0.0.1:{relay.port}"))
    joined(hub)
    began = time.monotonic()
    relay.close()
    until(lambda: hub.standing("n5") == "away", 0.4)
    until(lambda: hub.standing("n5") == "lost")
    assert 0.9 < time.monotonic() - began < 2.5
    assert world.standings() == ["here", "away", "late", "lost"]


# --- moving ----------------------------------------------------------------------------------------------------------


def test_a_child_moves_by_a_message_and_its_process_stays(world):
    old, new = world.hub("la1"), world.hub("la2")
    link = world.link(at(old), operations={"echo": echo})
    joined(old)
    began = time.monotonic()
    move(old, "n5", at(new), 5)
    until(lambda: new.standing("n5") == "here")
    assert time.monotonic() - began < 2
    assert old.standing("n5") is None
    assert link.parent == at(new)
    assert answer(new.call("n5", "echo", {"word": "here"}), 5, "x").header["word"] == "here"
    move(new, "n5", at(old), 5)
    joined(old)
    assert answer(old.call("n5", "echo", {"word": "home"}), 5, "x").header["word"] == "home"
    time.sleep(0.3)
    assert "away" not in world.standings()
    assert "lost" not in world.standings()


@pytest.mark.parametrize("dead", ["nothing listens", "it listens but says nothing", "another name"])
def test_a_child_stays_when_the_new_parent_is_out_of_reach(world, dead):
    old = world.hub("la1")
    link = world.link(at(old), operations={"echo": echo})
    joined(old)
    silent = socket.create_server(("127.0.0.1", 0))
    target = Address("la2", f"127.0.0.1:{silent.getsockname()[1]}")
    if dead == "nothing listens":
        silent.close()
    if dead == "another name":
        target = Address("la2", at(world.hub("la3")).at)
    with pytest.raises(TransportError):
        move(old, "n5", target, 5)
    assert link.parent == at(old)
    assert answer(old.call("n5", "echo", {"word": "still"}), 5, "x").header["word"] == "still"
    silent.close()


def test_a_child_whose_parent_is_gone_turns_to_its_refuge(world):
    parent, root = world.hub("la1"), world.hub("ga")
    world.link(at(parent), refuge=at(root))
    joined(parent)
    parent.close()
    until(lambda: root.standing("n5") == "here")
    again = world.hub("la2")
    move(root, "n5", at(again), 5)
    joined(again)


# --- limits ----------------------------------------------------------------------------------------------------------


def test_a_message_that_is_too_long_is_refused_and_its_sender_is_heard_further(world):
    hub = world.hub(max_message_mb=1)
    long = {"content": RecordDict({"a": to_record({"w": np.zeros(2_000_000, np.float32)})})}
    world.link(at(hub), operations={"long": lambda call: Reply({}, long), "echo": echo})
    joined(hub)
    frame = answer(hub.call("n5", "long"), 5, "x")
    with pytest.raises(FLServiceError, match=r"8\.0 MB is longer than the allowed 1 MB"):
        frame.records(1)
    assert answer(hub.call("n5", "echo", {"word": "on"}), 5, "x").header["word"] == "on"


def test_a_receiver_that_takes_nothing_costs_no_memory(world):
    """Flow control: what is not taken is not even cut into chunks."""
    hub = world.hub()
    taken = threading.Event()
    world.link(at(hub), operations={"take": lambda call: taken.set() or Reply()})
    joined(hub)
    stream = hub._peers["n5"].stream
    blob = Content({"c": RecordDict({"a": to_record({"w": np.zeros(5_000_000, np.float32)})})})
    for _ in range(20):
        hub.call("n5", "take", {}, blob)
    shared = {id(part) for parts in stream._frames for part in parts if len(part) > 1000}
    assert len(shared) <= 1
    until(taken.is_set)


def test_addresses_survive_json():
    address = Address("la1", "10.0.0.1:9000")
    assert address_from(asdict(address), "parent") == address
