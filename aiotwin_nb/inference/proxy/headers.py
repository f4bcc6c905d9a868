"""The heads of messages that pass through (RFC 9110, section 7.6; RFC 9112): bytes in, bytes out.

Framing (Content-Length, Transfer-Encoding, Connection) is always written anew: what a sender says of it holds for its
own connection only, and copying it is how requests are smuggled.
"""

from __future__ import annotations

from collections.abc import Iterable

RawHeaders = Iterable[tuple[bytes, bytes]]

HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
_REWRITTEN = HOP_BY_HOP | {b"content-length"}
_REWRITTEN_IN_REQUESTS = _REWRITTEN | {
    b"expect",
    b"host",
    b"x-forwarded-for",
    b"x-forwarded-host",
    b"x-forwarded-proto",
}
CHUNKED = b"Transfer-Encoding: chunked\r\n"


def length_field(length: int) -> bytes:
    """Return the header field that frames a body of this many bytes."""
    return b"Content-Length: %d\r\n" % length


def request_head(
    method: str, target: bytes, fields: RawHeaders, authority: bytes, remote: bytes, via: bytes, framing: bytes
) -> bytes:
    """Return the head of a request on its way to an instance.

    Args:
        method: of the request
        target: path and query, as they were received
        fields: as they were received
        authority: host and port of the instance
        remote: the client's address
        via: this proxy's name
        framing: the header field that frames the body, empty when there is none
    """
    kept, dropped = _end_to_end(fields, _REWRITTEN_IN_REQUESTS)
    forwarded = [value for name, value in dropped if name == b"x-forwarded-for"]
    host = next((value for name, value in dropped if name == b"host"), b"")
    return b"".join(
        (
            b"%b %b HTTP/1.1\r\nHost: %b\r\n" % (method.encode("ascii"), target, authority),
            *kept,
            b"X-Forwarded-For: %b\r\nX-Forwarded-Host: %b\r\nX-Forwarded-Proto: http\r\nVia: 1.1 %b\r\n"
            % (b", ".join((*forwarded, remote)), host, via),
            framing,
            b"\r\n",
        )
    )


def response_head(
    status: int, reason: str, fields: RawHeaders, via: bytes, framing: bytes, connection: bytes = b""
) -> bytes:
    """Return the head of an answer on its way to the client.

    Args:
        status: of the instance's answer
        reason: of the instance's answer
        fields: of the instance's answer, as they were received
        via: this proxy's name
        framing: the header field that frames the body, empty when the connection's end or the status does
        connection: what to say of the client's connection, `close` or `keep-alive`, or nothing
    """
    kept, _ = _end_to_end(fields, _REWRITTEN)
    return b"".join(
        (
            b"HTTP/1.1 %d %b\r\n" % (status, reason.encode("utf-8", "surrogateescape")),
            *kept,
            b"Via: 1.1 %b\r\n" % via,
            framing,
            b"Connection: %b\r\n\r\n" % connection if connection else b"\r\n",
        )
    )


def declared_length(fields: RawHeaders) -> int | None:
    """Return the body's length that a message's fields declare; None when they declare none or it is chunked."""
    length = None
    for name, value in fields:
        lower = name.lower()
        if lower == b"transfer-encoding":
            return None
        if lower == b"content-length" and value.isdigit():
            length = int(value)
    return length


def named(value: str | None, via: bytes) -> bool:
    """Return whether a Via field names this proxy: the request has come round in a loop."""
    return value is not None and any(part.split()[1:2] == [via.decode()] for part in value.split(","))


def _end_to_end(fields: RawHeaders, rewritten: frozenset[bytes]) -> tuple[list[bytes], list[tuple[bytes, bytes]]]:
    """Return the lines to copy, and the fields (names in lower case) that are not copied."""
    kept: list[tuple[bytes, bytes]] = []
    dropped: list[tuple[bytes, bytes]] = []
    for name, value in fields:
        lower = name.lower()
        if lower in rewritten:
            dropped.append((lower, value))
        else:
            kept.append((lower, b"%b: %b\r\n" % (name, value)))
    of_the_hop = {
        token.strip().lower() for name, value in dropped if name == b"connection" for token in value.split(b",")
    }
    return [line for name, line in kept if name not in of_the_hop], dropped
