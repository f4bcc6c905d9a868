"""One gRPC stream, seen from either end: a bounded queue of frames to send, and the frames that arrive."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from threading import Condition

from fl_service.errors import TransportError
from fl_service.transport.wire import BEAT, Assembler, Frame, chunks

METHOD = "/fl_service.Tree/Join"
OPTIONS = [
    # Chunks are small; what is longer than this is no message of ours.
    ("grpc.max_send_message_length", 2 << 20),
    ("grpc.max_receive_message_length", 2 << 20),
    # Heartbeats of our own tell who is there; HTTP/2 pings are let pass and break nothing.
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.http2.min_ping_interval_without_data_ms", 1000),
    ("grpc.so_reuseport", 0),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
    ("grpc.enable_retries", 0),
]

# Frames that may wait. They share their arrays with other receivers' and are few: more is a peer that does not listen.
_QUEUED = 1024


class Stream:
    """The frames of one stream. gRPC pulls its chunks, one at a time and no faster than the other end takes them."""

    def __init__(self, limit_bytes: int) -> None:
        self.heard = time.monotonic()
        self._assembler = Assembler(limit_bytes)
        self._frames: deque[Sequence[bytes]] = deque()
        self._current: Iterator[bytes] | None = None
        self._beat = self._last = self.closed = False
        self._changed = Condition()

    def put(self, parts: Sequence[bytes]) -> None:
        """Queue a frame; raises TransportError when the stream is closed or too many wait already."""
        with self._changed:
            if self.closed or self._last or len(self._frames) >= _QUEUED:
                raise TransportError(
                    "the connection is closed" if self.closed or self._last else f"{_QUEUED} messages wait"
                )
            self._frames.append(parts)
            self._changed.notify_all()

    def beat(self) -> None:
        """Have a heartbeat sent, before whatever else waits."""
        with self._changed:
            self._beat = True
            self._changed.notify_all()

    def close(self) -> None:
        """End the stream from this side; what waits is dropped."""
        with self._changed:
            self.closed = True
            self._frames.clear()
            self._changed.notify_all()

    def end(self) -> None:
        """End the stream from this side after what waits has been sent."""
        with self._changed:
            self._last = True
            self._changed.notify_all()

    def take(self, chunk: bytes) -> Frame | None:
        """Take in a chunk that arrived: any chunk is a sign of life."""
        self.heard = time.monotonic()
        return None if chunk == BEAT else self._assembler.take(chunk)

    def __iter__(self) -> Iterator[bytes]:
        """Yield chunks until the stream is closed: gRPC's side of the queue."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self.closed or self._beat or self._current or self._frames or self._last)
                if self.closed or (self._last and not self._frames and self._current is None):
                    self.closed = True
                    return
                if self._beat:
                    self._beat = False
                    chunk: bytes | None = BEAT
                else:
                    chunk = self._next()
            if chunk is not None:
                yield chunk

    def _next(self) -> bytes | None:
        if self._current is None:
            self._current = chunks(self._frames.popleft())
        chunk = next(self._current, None)
        if chunk is None:
            self._current = None
        return chunk
