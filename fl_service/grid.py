"""Flower's Grid inside one process: aggregators talk to apps by plain calls, in an order that is always the same."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from flwr.app import Context, Error, Message, RecordDict
from flwr.serverapp import Grid

from fl_service.flower_internals import empty_run, speak_as, stamp
from fl_service.rng import derive_seed, seed_everything

App = Callable[[Message, Context], Message]


def node_id(name: str) -> int:
    """Return Flower's integer id of a node, a positive 63-bit number that derives from the name by SHA-256."""
    return (int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") >> 1) or 1


def error_reply(message: Message, reason: str) -> Message:
    """Return the reply that says why a node has no result."""
    return Message(Error(code=0, reason=reason), reply_to=message)


def isolated(content: RecordDict) -> RecordDict:
    """Return a copy that its receiver may take apart, as if it had come over a network (arrays' bytes are shared)."""
    return RecordDict({name: record.copy() for name, record in content.items()})


@dataclass
class Member:
    """A node that can be called: its app, and the Context that is its memory from round to round."""

    name: str
    app: App
    context: Context


class Registry:
    """The nodes of a run. All grids share it, so a node keeps its Context when it moves to another aggregator."""

    def __init__(self, run_id: int) -> None:
        self.run_id = run_id
        self.members: dict[str, Member] = {}

    def put(self, name: str, app: App, node_config: dict[str, Any], run_config: dict[str, Any] | None = None) -> None:
        """Add a node, or change the app and configuration of one that keeps its state."""
        known = self.members.get(name)
        state = known.context.state if known else RecordDict()
        context = Context(self.run_id, node_id(name), node_config, state, run_config or {})
        self.members[name] = Member(name, app, context)

    def keep_only(self, names: Iterable[str]) -> None:
        """Forget the nodes that are gone; their state goes with them."""
        kept = set(names)
        self.members = {name: member for name, member in self.members.items() if name in kept}

    def states(self) -> dict[str, RecordDict]:
        """{node: its Context.state}, by name."""
        return {name: self.members[name].context.state for name in sorted(self.members)}

    def restore(self, states: dict[str, RecordDict]) -> None:
        """Set the states of the nodes that are there."""
        for name, state in states.items():
            if name in self.members:
                self.members[name].context.state = state


def no_app(message: Message, context: Context) -> Message:
    """Stand for the app of a node that is none here: the one that drives the others, or one in another process."""
    raise TypeError(f"node {context.node_id} is not an app in this process")


@dataclass(frozen=True)
class Call:
    """One call into a node's app: everything it needs, so that it can happen in another process."""

    member: Member
    message: Message
    seed: int


def perform(call: Call) -> Message:
    """Call the app after seeding all generators; whatever goes wrong becomes an error reply, never an exception."""
    seed_everything(call.seed)
    try:
        reply = call.member.app(call.message, call.member.context)
    except Exception as error:
        return error_reply(call.message, f"{type(error).__name__}: {error}")
    if not isinstance(reply, Message):
        return error_reply(call.message, f"the app returned {type(reply).__name__}, not a Flower Message")
    return reply


def one_after_another(calls: Sequence[Call]) -> list[Message]:
    """Perform calls in order in this thread."""
    return [perform(call) for call in calls]


def checked_reply(message: Message, reply: Message) -> Message:
    """Return an app's reply, or the error that it is none to the message it was sent."""
    if reply.metadata.src_node_id != message.metadata.dst_node_id:
        return error_reply(message, "the app's reply is not one to the message it was sent (use reply_to=)")
    return reply


class MemberGrid(Grid):
    """A Flower Grid whose members are set for every round by the one who owns membership.

    `owner`: name of the aggregator that the grid is of. `begin_round` says who takes part: exactly these nodes are
    there for a strategy to sample. `send_and_receive` returns replies sorted by node name.
    """

    def __init__(self, owner: str, run_id: int, seed: int) -> None:
        self.owner, self._run_id, self._seed = owner, run_id, seed
        self._run = empty_run(run_id)
        self._names: dict[int, str] = {}
        self._key: tuple[int, int] = (0, 0)
        self._sent = 0

    def begin_round(self, members: Iterable[str], round_number: int, local_round: int) -> None:
        """Set the members and the key of the randomness for one round; seeds the strategy's own sampling too."""
        self._names = {node_id(name): name for name in sorted(members)}
        self._key = (round_number, local_round)
        seed_everything(derive_seed(self._seed, "aggregate", self.owner, *self._key))
        speak_as(self._run_id, node_id(self.owner))

    def name_of(self, node: int) -> str:
        """Return the name of a member by its Flower id."""
        return self._names[node]

    def set_run(self, run: Any) -> None:
        """Set the run that strategies may ask for."""
        self._run = run

    @property
    def run(self) -> Any:
        """The run's description; empty but for its id."""
        return self._run

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        """Create a message to a node."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> list[int]:
        """Ids of this round's members, by name."""
        return list(self._names)

    def _ordered(self, messages: Iterable[Message]) -> list[tuple[str, Message]]:
        """Return messages with their receivers' names ("": no member), by name, each stamped with an id."""
        named = [(self._names.get(message.metadata.dst_node_id, ""), message) for message in messages]
        named.sort(key=lambda pair: pair[0])
        for _, message in named:
            self._sent += 1
            stamp(message, f"{self.owner}-{self._sent}")
        return named

    def _seed_of(self, name: str) -> int:
        return derive_seed(self._seed, "app", name, *self._key)


NO_MEMBER = "this node is not a member of the round"


class InProcessGrid(MemberGrid):
    """The Grid of one aggregator whose members are in this process.

    `execute` performs the calls, in any way that returns the replies in the order of the calls.
    """

    def __init__(
        self,
        owner: str,
        registry: Registry,
        seed: int,
        execute: Callable[[Sequence[Call]], list[Message]] = one_after_another,
    ) -> None:
        super().__init__(owner, registry.run_id, seed)
        self._registry, self._execute = registry, execute
        self._replies: dict[str, Message] = {}

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        """Deliver messages; the replies wait under the returned ids, which are in the order of the nodes' names."""
        ids, calls, replies = [], [], {}
        for name, message in self._ordered(messages):
            ids.append(message.metadata.message_id)
            call = self._call(name, message)
            if call is None:
                replies[ids[-1]] = error_reply(message, NO_MEMBER)
            else:
                calls.append(call)
        for call, reply in zip(calls, self._execute(calls), strict=True):
            replies[call.message.metadata.message_id] = self._received(call, reply)
        self._replies.update(replies)
        return ids

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        """Return the replies to the messages with these ids, in their order."""
        return [self._replies.pop(i) for i in message_ids if i in self._replies]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        """Deliver messages and return the replies sorted by node name (calls always end, so there is no timeout)."""
        return self.pull_messages(self.push_messages(messages))

    def _call(self, name: str, message: Message) -> Call | None:
        member = self._registry.members.get(name)
        if member is None:
            return None
        message.content = isolated(message.content)
        return Call(member, message, self._seed_of(name))

    @staticmethod
    def _received(call: Call, reply: Message) -> Message:
        reply = checked_reply(call.message, reply)
        if reply.has_content():
            reply.content = isolated(reply.content)
        return reply
