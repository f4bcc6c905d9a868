"""Every touch of Flower that is not public API, in one place (held by tests/fl_service/test_flower_contract.py)."""

from __future__ import annotations

import logging

from flwr.app import Message, Metadata, RecordDict
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

# Flower logs several INFO lines a round; its warnings stay visible.
logging.getLogger("flwr").setLevel(logging.WARNING)


def speak_as(run_id: int, node_id: int) -> None:
    """Make this process's new messages come from a node: Flower's `Message()` reads a process-wide identity."""
    TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = run_id, node_id, 0


def stamp(message: Message, message_id: str) -> None:
    """Give a message its id, which Flower leaves to the SuperLink."""
    message.metadata.__dict__["_message_id"] = message_id


def delivered(content: RecordDict, metadata: Metadata) -> Message:
    """Return a message that came from another process: with the metadata that it was sent with."""
    return Message(content, metadata=metadata)  # type: ignore[call-overload,no-any-return]


def empty_run(run_id: int) -> Run:
    """Return the `Run` that a Grid has to show."""
    return Run.create_empty(run_id)
