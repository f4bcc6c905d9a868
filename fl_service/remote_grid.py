"""Flower's Grid over a hub: the members are other processes, everything else is as in one process."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from flwr.app import Message, Metadata, RecordDict

from fl_service.errors import FLServiceError
from fl_service.grid import NO_MEMBER, MemberGrid, error_reply
from fl_service.transport.hub import Hub
from fl_service.transport.peer import answer
from fl_service.transport.wire import Content, Frame

APP = "app"
STATE = "state/"
_METADATA = ("run_id", "message_id", "src_node_id", "dst_node_id", "group_id", "created_at", "ttl", "message_type")


@dataclass
class Collected:
    """What came with the replies of a round beside the replies.

    `states`: {node: its Context.state} where it changed. `usage`: {client: {cpu_seconds, peak_rss_mb}}. `heard`: nodes
    that replied. `failed`: nodes whose last call came to nothing, so that nobody knows what they remember.
    """

    states: dict[str, RecordDict] = field(default_factory=dict)
    usage: dict[str, dict[str, float]] = field(default_factory=dict)
    heard: set[str] = field(default_factory=set)
    failed: set[str] = field(default_factory=set)

    def to_header(self) -> dict[str, Any]:
        """Return all but the states for a frame's header."""
        return {"usage": self.usage, "heard": sorted(self.heard), "failed": sorted(self.failed)}

    def to_records(self) -> dict[str, RecordDict]:
        """Return the states for a frame's records."""
        return {f"{STATE}{name}": state for name, state in self.states.items()}

    def add(self, header: Mapping[str, Any], records: Mapping[str, RecordDict], may_tell_of: set[str]) -> None:
        """Take in what came with a reply, as far as its sender may speak for the nodes in question."""
        for label, record in records.items():
            if label.startswith(STATE) and label[len(STATE) :] in may_tell_of:
                self.states[label[len(STATE) :]] = record
        for name, used in header.get("usage", {}).items():
            if name in may_tell_of:
                known = self.usage.setdefault(name, {"cpu_seconds": 0.0, "peak_rss_mb": 0.0})
                known["cpu_seconds"] += float(used["cpu_seconds"])
                known["peak_rss_mb"] = max(known["peak_rss_mb"], float(used["peak_rss_mb"]))
        failed, heard = set(header.get("failed", ())) & may_tell_of, set(header.get("heard", ())) & may_tell_of
        self.heard |= heard
        self.failed = (self.failed - heard) | failed


class RemoteGrid(MemberGrid):
    """The Grid of an aggregator whose members are its hub's children.

    `seconds`: how long one call may take at most. `speaks_for`: {member: the nodes that it may tell of}.
    """

    def __init__(
        self,
        owner: str,
        run_id: int,
        seed: int,
        hub: Hub,
        *,
        seconds: float,
        max_message_mb: int,
        speaks_for: Callable[[str], set[str]] = lambda name: {name},
    ) -> None:
        super().__init__(owner, run_id, seed)
        self._hub, self._limit, self._speaks_for = hub, max_message_mb, speaks_for
        self.seconds, self._given_up = seconds, False
        self.collected = Collected()
        self._waiting: dict[str, tuple[str, Message, Future[Frame], float]] = {}

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        """Send messages to the members; what they answer waits under the returned ids, in the order of their names."""
        ids = []
        contents: dict[int, Content] = {}  # strategies send the same records to all: encoded once
        deadline = time.monotonic() + self.seconds
        for name, message in self._ordered(messages):
            content = contents.setdefault(id(message.content), Content({"content": message.content}))
            metadata = {key: getattr(message.metadata, key) for key in _METADATA}
            header = {"metadata": metadata, "seed": self._seed_of(name), "round": list(self._key)}
            future = self._refusal(name) or self._hub.call(name, APP, header, content)
            ids.append(message.metadata.message_id)
            self._waiting[ids[-1]] = (name, message, future, deadline)
        return ids

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        """Return the replies that have come to the messages with these ids, in their order."""
        there = [i for i in message_ids if i in self._waiting and self._waiting[i][2].done()]
        return [self._reply(*self._waiting.pop(i)) for i in there]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        """Send messages and return the replies sorted by node name; nobody waits for a member that is late."""
        return [self._reply(*self._waiting.pop(i)) for i in self.push_messages(messages)]

    def give_up(self, reason: str) -> None:
        """Wait for nobody any more and ask nobody any more, until `begin_collecting`."""
        self._given_up = True
        self._hub.give_up(APP, reason)

    def begin_collecting(self) -> None:
        """Begin what is one round for the aggregator above."""
        self.collected, self._given_up = Collected(), False

    def _refusal(self, name: str) -> Future[Frame] | None:
        """Return the failed call to a node that is not to be asked; None for the others."""
        if name and not self._given_up:
            return None
        refused: Future[Frame] = Future()
        refused.set_exception(FLServiceError("the round was given up" if name else NO_MEMBER))
        return refused

    def _reply(self, name: str, message: Message, future: Future[Frame], deadline: float) -> Message:
        try:
            frame = answer(future, max(0.0, deadline - time.monotonic()), f"round {self._key[0]}")
            records = frame.records(self._limit)
        except FLServiceError as error:
            self.collected.failed.add(name)
            return error_reply(message, str(error))
        told = {"heard": [name], **frame.header}
        self.collected.add(told, records, self._speaks_for(name))
        if "failed_app" in frame.header or "content" not in records:
            return error_reply(message, str(frame.header.get("failed_app", "its reply has no content")))
        return Message(records["content"], reply_to=message)


def metadata_from(header: Mapping[str, Any]) -> Metadata:
    """Return the metadata of a message that arrived."""
    return Metadata(reply_to_message_id="", **{key: header["metadata"][key] for key in _METADATA})
