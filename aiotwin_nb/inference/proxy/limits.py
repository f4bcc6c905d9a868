"""What bounds a proxy: every queue, buffer and wait has a limit here."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one proxy. Times are seconds, sizes bytes.

    Attributes:
        in_flight: requests at a time through the proxy; one more is answered 503
        in_flight_per_instance: requests at a time at one instance
        connections: open client connections; one more is answered 503 and closed
        clients: clients per service whose quality of service is remembered; the one not seen for longest is forgotten
        line: longest request line, and longest header field
        header_fields: most header fields of a message
        head_size: longest head of a request
        replay: longest body that is kept to be sent again
        connect: to open a connection to an instance
        receive_head: from the first byte of a request's head to its end
        answer: from the end of a request to the end of its answer's head
        idle: without a byte of a body that is being received or sent
        keep_alive: an open client connection without a request
        pooled: an open connection to an instance without a request
        probe: for a probe's answer
        probe_every: between two probes of an instance that takes requests
        probe_again: between two probes of one that does not
        drain: for requests in flight when the proxy is told to end
    """

    in_flight: int = 1024
    in_flight_per_instance: int = 256
    connections: int = 20_000
    clients: int = 4096
    line: int = 8190
    header_fields: int = 128
    head_size: int = 65_536
    replay: int = 262_144
    connect: float = 1.0
    receive_head: float = 10.0
    answer: float = 30.0
    idle: float = 30.0
    keep_alive: float = 75.0
    pooled: float = 15.0
    probe: float = 1.0
    probe_every: float = 1.0
    probe_again: float = 0.25
    drain: float = 30.0
