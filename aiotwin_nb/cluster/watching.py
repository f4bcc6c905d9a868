"""List, then watch: objects of a cluster as they come, go and change, without polling.

The API server closes watches after a while, forgets old versions (410) and may be away for a minute; the watch goes on
where it was, or lists again, with growing pauses.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any

from aiotwin_nb.cluster.backoff import BackOff
from aiotwin_nb.cluster.connection import Connection, refusal

Object = Mapping[str, Any]
GONE = 410
WATCH_SECONDS = 300  # the server closes a watch after this time; a new one continues where it was
SILENCE_SECONDS = 100  # bookmarks come every minute: after longer silence it is dead, whatever TCP thinks


class Expired(Exception):
    """The server no longer knows the version that was asked for (410): list again."""


class ObjectWatch:
    """Calls `tell` with {name: object} after the list and after every change, from a thread of its own.

    `path`: a collection of the API, such as /api/v1/nodes; `selectors`: labelSelector and the like.
    `fresh`: when the server last said something (monotonic seconds); `problem`: why nothing new comes, if so.
    """

    def __init__(
        self,
        connection: Connection,
        path: str,
        tell: Callable[[Mapping[str, Object]], None],
        *,
        selectors: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.monotonic,
        back_off: BackOff | None = None,
    ) -> None:
        self._connection = connection
        self._path = path
        self._selectors = dict(selectors or {})
        self._tell = tell
        self._clock = clock
        self._back_off = back_off or BackOff()
        self._stop = threading.Event()
        self._objects: dict[str, Object] = {}
        self._response: Any = None
        self.fresh = clock()
        self.problem = ""
        self._thread = threading.Thread(target=self._follow, name="watch", daemon=True)

    def start(self) -> ObjectWatch:
        """Begin."""
        self._thread.start()
        return self

    def close(self) -> None:
        """End the watch; safe to call twice."""
        self._stop.set()
        if (response := self._response) is not None:
            with suppress(Exception):  # it may have ended by itself at this very moment
                response.shutdown()  # wakes the thread that waits for the next line; closing alone would not
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(timeout=2)

    @property
    def stale_seconds(self) -> float:
        """Seconds since the server last said something."""
        return self._clock() - self.fresh

    def _follow(self) -> None:
        version = ""
        while not self._stop.is_set():
            began = self._clock()
            try:
                version = version or self._list()
                for newer in self._watch(version):
                    version = newer
                    self._heard()
                    self._back_off.reset()
                self._heard()  # closed in good order after its time
                if self._clock() - began < 1.0:  # or at once: then not in a hurry
                    self._stop.wait(self._back_off.pause())
            except Expired:
                version = ""
                self._stop.wait(self._back_off.pause())
            except Exception as error:  # whatever the library or the network raises: say so, wait, try again
                if self._stop.is_set():
                    return
                if getattr(error, "status", None) == GONE:
                    version = ""
                self.problem = _in_words(error)
                self._stop.wait(self._back_off.pause())

    def _heard(self) -> None:
        self.fresh, self.problem = self._clock(), ""

    def _list(self) -> str:
        body = self._connection.request("GET", self._path, self._selectors, tries=1)
        self._objects = {item["metadata"]["name"]: item for item in body["items"]}
        self._heard()
        self._tell(dict(self._objects))
        return str(body["metadata"]["resourceVersion"])

    def _watch(self, version: str) -> Iterator[str]:
        """Yield the version after every event of one watch."""
        query = {
            **self._selectors,
            "watch": "true",
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(WATCH_SECONDS),
        }
        self._response = self._connection.stream(self._path, query, SILENCE_SECONDS)
        try:
            if self._stop.is_set():  # closed while it was being opened
                return
            self._heard()  # it answers again, although nothing may have happened
            for line in _lines(self._response):
                if self._stop.is_set():
                    return
                event = json.loads(line)
                self._take(event)
                yield str(event["object"]["metadata"]["resourceVersion"])
        finally:
            self._response.release_conn()
            self._response = None

    def _take(self, event: Object) -> None:
        kind, item = event["type"], event["object"]
        if kind == "ERROR":
            if item.get("code") == GONE:
                raise Expired
            raise RuntimeError(f"the watch ended with: {item.get('message')}")
        if kind == "BOOKMARK":
            return
        name = item["metadata"]["name"]
        if kind == "DELETED":
            self._objects.pop(name, None)
        else:
            self._objects[name] = item
        self._tell(dict(self._objects))


def _in_words(error: Exception) -> str:
    """One line for people."""
    if getattr(error, "status", None) is not None:
        return refusal(error)
    return (f"{type(error).__name__}: {error}".splitlines() or [""])[0]


def _lines(response: Any) -> Iterator[bytes]:
    rest = b""
    for chunk in response.stream(amt=None, decode_content=False):
        *lines, rest = (rest + chunk).split(b"\n")
        yield from (line for line in lines if line.strip())
