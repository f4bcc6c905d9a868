"""A node's app in a process of its own: set up by its parent, called round by round, its memory told of."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from flwr.app import Context, RecordDict

from fl_service.errors import TransportError
from fl_service.flower_internals import delivered, speak_as
from fl_service.grid import App, checked_reply, node_id, perform
from fl_service.grid import Call as AppCall
from fl_service.grid import Member as AppMember
from fl_service.remote_grid import STATE, metadata_from
from fl_service.transport.peer import Call, Reply
from fl_service.transport.wire import Content


class Member:
    """The app of a client or of a local aggregator. `app_for`: makes it, given the run's id and the number of slots."""

    def __init__(self, name: str, app_for: Callable[[int, int], App]) -> None:
        self._name, self._app_for = name, app_for
        self._made_for: tuple[int, int] | None = None
        self._app: App | None = None
        self._context: Context | None = None
        self._told = ""

    def setup(self, call: Call) -> Reply:
        """Take over a node configuration and the node's memory; the task is prepared when it is not yet."""
        header, state = call.header, call.records().get("state", RecordDict())
        run_id, partitions = int(header["run_id"]), int(header["partitions"])
        if self._made_for != (run_id, partitions):
            self._app, self._made_for = self._app_for(run_id, partitions), (run_id, partitions)
        self._context = Context(run_id, node_id(self._name), header["node_config"], state, header["run_config"])
        self._told = Content({"state": state}).digest
        return Reply()

    def execute(self, call: Call) -> Reply:
        """Call the app; the reply carries the node's memory where it is another one than was last told."""
        if self._context is None or self._app is None:
            raise TransportError("it was restarted and is not set up yet")
        message = delivered(call.records()["content"], metadata_from(call.header))
        speak_as(self._context.run_id, self._context.node_id)
        meter = Meter()
        reply = perform(AppCall(AppMember(self._name, self._app, self._context), message, int(call.header["seed"])))
        reply = checked_reply(message, reply)
        header: dict[str, Any] = {"usage": {self._name: meter.read()}}
        records: dict[str, RecordDict] = {}
        digest = Content({"state": self._context.state}).digest
        if digest != self._told:
            records[f"{STATE}{self._name}"], self._told = self._context.state, digest
        if reply.has_error():
            header["failed_app"] = reply.error.reason
        else:
            records["content"] = reply.content
        return Reply(header, records)


class Meter:
    """CPU seconds of this process, and the most memory it held (MB, resident), from now on."""

    def __init__(self) -> None:
        self._began = time.process_time()
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far

    def read(self) -> dict[str, float]:
        """Return what was used since the beginning."""
        return {"cpu_seconds": time.process_time() - self._began, "peak_rss_mb": _peak_mb()}


def _peak_mb() -> float:
    with suppress(OSError, ValueError, IndexError):
        status = Path("/proc/self/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) / 1024
    return 0.0
