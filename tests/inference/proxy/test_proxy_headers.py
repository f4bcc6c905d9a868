"""What the heads of messages look like on the other side."""

import pytest

from aiotwin_nb.inference.proxy.headers import (
    CHUNKED,
    declared_length,
    length_field,
    named,
    request_head,
    response_head,
)


def request_lines(*fields, framing=b"", remote=b"9.9.9.9"):
    head = request_head("GET", b"/a?b", fields, b"10.0.0.2:80", remote, b"aiotwin-n1", framing)
    assert head.endswith(b"\r\n\r\n")
    return head[:-4].split(b"\r\n")


def test_a_request_keeps_its_own_fields_in_order_and_spelling_and_says_where_it_came_from():
    fields = [(b"Host", b"svc.example"), (b"X-One", b"1"), (b"x-two", b"\xe9"), (b"X-One", b"2")]
    assert request_lines(*fields) == [
        b"GET /a?b HTTP/1.1",
        b"Host: 10.0.0.2:80",
        b"X-One: 1",
        b"x-two: \xe9",
        b"X-One: 2",
        b"X-Forwarded-For: 9.9.9.9",
        b"X-Forwarded-Host: svc.example",
        b"X-Forwarded-Proto: http",
        b"Via: 1.1 aiotwin-n1",
    ]


@pytest.mark.parametrize(
    "name",
    [b"Keep-Alive", b"TE", b"Trailer", b"Upgrade", b"Proxy-Connection", b"Proxy-Authorization", b"X-Of-This-Hop"],
)
def test_fields_of_one_connection_stay_on_it(name):
    fields = [
        (name, b"x"),
        (b"Connection", b"close, X-of-this-hop"),
        (b"Transfer-Encoding", b"chunked"),
        (b"Stays", b"y"),
    ]
    lines = request_lines(*fields)
    assert b"Stays: y" in lines
    assert not [line for line in lines if line.lower().startswith((name.lower(), b"connection", b"transfer-encoding"))]


def test_a_connection_field_cannot_take_away_what_frames_or_names_a_request():
    lines = request_lines(
        (b"Host", b"svc"), (b"Content-Length", b"4"), (b"Connection", b"content-length, host, x-forwarded-for"),
        framing=length_field(4),
    )  # fmt: skip
    assert b"Content-Length: 4" in lines
    assert b"Host: 10.0.0.2:80" in lines
    assert b"X-Forwarded-For: 9.9.9.9" in lines


def test_the_way_here_is_kept_and_what_a_client_claims_of_the_last_hop_is_not():
    lines = request_lines(
        (b"Host", b"svc"), (b"X-Forwarded-For", b"1.1.1.1"), (b"X-Forwarded-Proto", b"https"), (b"Via", b"1.0 other")
    )
    assert b"X-Forwarded-For: 1.1.1.1, 9.9.9.9" in lines
    assert b"X-Forwarded-Proto: http" in lines
    assert lines.index(b"Via: 1.0 other") < lines.index(b"Via: 1.1 aiotwin-n1")


def test_an_answer_keeps_status_reason_and_repeated_fields():
    fields = [
        (b"Set-Cookie", b"a=1"),
        (b"Set-Cookie", b"b=2"),
        (b"Keep-Alive", b"timeout=5"),
        (b"Content-Length", b"2"),
    ]
    head = response_head(418, "I'm a teapot", fields, b"aiotwin", CHUNKED, b"close")
    assert head.split(b"\r\n") == [
        b"HTTP/1.1 418 I'm a teapot",
        b"Set-Cookie: a=1",
        b"Set-Cookie: b=2",
        b"Via: 1.1 aiotwin",
        b"Transfer-Encoding: chunked",
        b"Connection: close",
        b"",
        b"",
    ]


def test_the_declared_length_is_that_of_a_body_that_is_not_chunked():
    assert declared_length([(b"content-LENGTH", b"12")]) == 12
    assert declared_length([(b"Content-Length", b"12"), (b"Transfer-Encoding", b"chunked")]) is None
    assert declared_length([]) is None


def test_a_loop_is_seen_by_the_own_name_only():
    assert named("1.1 other, 1.1 aiotwin-n1", b"aiotwin-n1")
    assert not named("1.1 aiotwin-n2 (aiotwin-n1)", b"aiotwin-n1")
    assert not named(None, b"aiotwin-n1")
