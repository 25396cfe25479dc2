"""`pvdrace.probes.messages`: one HTTP exchange, and what hostile servers make of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pvdrace.config.probe_settings import Target
from pvdrace.probes.messages import MAX_RESPONSE, Failure, Outcome, Request, Response, ResponseReader


def read(*pieces: bytes, end: bool = True) -> Outcome | None:
    reader = ResponseReader()
    for piece in pieces:
        reader.feed(piece)
    return reader.feed(b"") if end else reader.outcome


def test_a_request_in_bytes() -> None:
    request = Request(Target.parse("http://example.com:8080/a?b=c"), "application/captive+json")
    lines = request.encode().decode().split("\r\n")
    assert lines[:2] == ["GET /a?b=c HTTP/1.1", "Host: example.com:8080"]
    assert "Accept: application/captive+json" in lines
    assert "Connection: close" in lines
    assert lines[-2:] == ["", ""]
    assert not any(line.lower().startswith(("cookie", "if-")) for line in lines)


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        ([b"HTTP/1.1 204 No Content\r\n\r\n"], Response(204, {})),
        ([b"HTTP/1.1 204 No Content\r\nContent-Length: 3\r\n\r\n"], Response(204, {"content-length": "3"})),
        ([b"HTTP/1.0 200 OK\r\n\r\n", b"he", b"llo"], Response(200, {}, b"hello")),
        (
            [b"HTTP/1.1 200 OK\r\nContent-LENGTH: 5 \r\n\r\nhello, more"],
            Response(200, {"content-length": "5"}, b"hello"),
        ),
        (
            [b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello"],
            Response(200, {"content-length": "9"}, b"hello", whole=False),
        ),
        ([b"HTTP/1.1 200 OK\r\nA: 1\r\na: 2\r\nnonsense\r\n\r\n"], Response(200, {"a": "1"})),
        (
            [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n"],
            Response(200, {"transfer-encoding": "chunked"}, b"hello"),
        ),
        (
            [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhel"],
            Response(200, {"transfer-encoding": "chunked"}, b"hel", whole=False),
        ),
        (
            [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhel"],
            Response(200, {"transfer-encoding": "chunked"}, b"", whole=False),
        ),
        ([b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 204 No\r\n\r\n"], Response(204, {})),
        ([b"HTTP/1.1 200\r\n\r\n"], Response(200, {})),
        ([], Failure("protocol", "closed without an answer")),
        ([b"HTTP/1.1 200 OK\r\n"], Failure("protocol", "no HTTP: 'HTTP/1.1 200 OK'")),
        ([b"SSH-2.0-x\r\n\r\n"], Failure("protocol", "no HTTP: 'SSH-2.0-x'")),
        ([b"HTTP/2 200\r\n\r\n"], Failure("protocol", "no HTTP: 'HTTP/2 200'")),
        ([b"HTTP/1.1 2x0\r\n\r\n"], Failure("protocol", "no HTTP: 'HTTP/1.1 2x0'")),
    ],
)
def test_what_is_read(pieces: list[bytes], expected: Outcome) -> None:
    assert read(*pieces) == expected


def test_it_ends_as_soon_as_nothing_more_is_wanted() -> None:
    """A server that keeps the connection open does not keep the probe waiting."""
    assert read(b"HTTP/1.1 204 No Content\r\n\r\n", end=False) == Response(204, {})
    assert read(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n", end=False) is None
    assert read(b"220 mail.example ESMTP\r\n", end=False) == Failure(
        "protocol", "no HTTP: '220 mail.example ESMTP'"
    )


def test_a_response_is_bounded() -> None:
    reader = ResponseReader()
    for _ in range(MAX_RESPONSE // 1000 + 2):
        if reader.feed(b"HTTP/1.1 200 OK\r\n\r\n" if not reader._seen else b"x" * 1000):
            break
    assert isinstance(reader.outcome, Response)
    assert not reader.outcome.whole
    assert len(reader.outcome.body) < MAX_RESPONSE
    endless = ResponseReader()
    endless.feed(b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * MAX_RESPONSE)
    assert isinstance(endless.outcome, Failure)


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=40),
            st.sampled_from(
                [
                    b"HTTP/1.1 200 OK\r\n",
                    b"HTTP/1.1 100 C\r\n\r\n",
                    b"\r\n",
                    b"Content-Length: 5\r\n",
                    b"Transfer-Encoding: chunked\r\n",
                    b"5\r\nhello\r\n",
                    b"0\r\n\r\n",
                ]
            ),
        ),
        max_size=8,
    )
)
def test_whatever_comes_there_is_an_outcome_in_the_end(pieces: list[bytes]) -> None:
    whole = read(b"".join(pieces))
    assert isinstance(whole, Response | Failure)
    early = read(*[piece for piece in pieces if piece])
    assert isinstance(early, Response | Failure)
    assert type(early) is type(whole)


def test_a_length_that_no_integer_of_python_may_have() -> None:
    """Python raises ValueError for more than 4300 digits: a portal that says so is a portal all the same."""
    head = b"HTTP/1.1 200 OK\r\nContent-Length: " + 5000 * b"9" + b"\r\n\r\n"
    outcome = read(head, b"<html>log in</html>")
    assert isinstance(outcome, Response)
    assert (outcome.status, outcome.body, outcome.length) == (200, b"<html>log in</html>", None)
