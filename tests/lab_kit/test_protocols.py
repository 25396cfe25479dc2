"""What the public server speaks besides HTTP, byte by byte: WebSockets and Redis."""

from __future__ import annotations

import hashlib
import socket
from typing import TYPE_CHECKING, Any

import pytest

from pvdrace.lab.content import Content, content, pattern, whole
from pvdrace.lab.resp import reply
from pvdrace.lab.websocket import accepted, frame_head, masked

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pvdrace.lab import Lab

KEY = b"\x37\xfa\x21\x3d"
TEXT, BINARY, CONTINUATION, CLOSE, PING = 0x1, 0x2, 0x0, 0x8, 0x9


@pytest.fixture
def talk(lab: Lab) -> Iterator[tuple[socket.socket, Any]]:
    """A connection to the HTTP port, and what comes from it."""
    with (
        lab.enter(),
        socket.create_connection((lab.address4, 80), timeout=5) as sock,
        sock.makefile("rb") as received,
    ):
        yield sock, received


def frame(opcode: int, payload: bytes, *, final: bool = True) -> bytes:
    """A client's: the server's head, with a mask."""
    head = bytearray(frame_head(opcode, len(payload)))
    head[0] &= 0xFF if final else 0x7F
    head[1] |= 0x80
    return bytes(head) + KEY + masked(payload, KEY)


def test_the_examples_of_rfc_6455() -> None:
    """Of s1.3 and s5.7."""
    assert b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in accepted(
        "dGhlIHNhbXBsZSBub25jZQ==", "eth"
    )
    assert frame(TEXT, b"Hello").hex() == "818537fa213d7f9f4d5158"
    assert frame_head(BINARY, 256).hex() == "827e0100"
    assert frame_head(BINARY, 65536).hex() == "827f0000000000010000"


def test_messages_in_pieces_pings_and_closing(talk: tuple[socket.socket, Any]) -> None:
    sock, received = talk
    sock.sendall(b"GET / HTTP/1.1\r\nUpgrade: WebSocket\r\nSec-WebSocket-Key: a\r\n\r\n")
    assert received.readline() == b"HTTP/1.1 101 Switching Protocols\r\n"
    while received.readline() != b"\r\n":
        pass
    sock.sendall(frame(TEXT, b"/pat", final=False) + frame(PING, b"here?"))
    assert received.read(7) == b"\x8a\x05here?"
    sock.sendall(frame(CONTINUATION, b"tern/70000"))
    assert received.read(70010) == b"\x82\x7f" + (70000).to_bytes(8, "big") + pattern(70000)
    sock.sendall(frame(TEXT, b"/") + frame(BINARY, b"body"))
    assert received.read(6) == b"\x82\x04eth\n"
    assert received.read(66) == b"\x81\x40" + hashlib.sha256(b"body").hexdigest().encode()
    sock.sendall(frame(CLOSE, b"\x03\xe8"))
    assert received.read() == b"\x88\x02\x03\xe8"


def test_a_frame_without_a_mask_ends_a_websocket(talk: tuple[socket.socket, Any]) -> None:
    sock, received = talk
    sock.sendall(b"GET / HTTP/1.1\r\nUpgrade: websocket\r\nSec-WebSocket-Key: a\r\n\r\n" + b"\x81\x01/")
    assert received.read().endswith(b"\r\n\r\n")


def test_commands_of_redis_one_after_the_other(talk: tuple[socket.socket, Any]) -> None:
    sock, received = talk
    sock.sendall(b"*1\r\n$4\r\nPING\r\n*2\r\n$3\r\nget\r\n$1\r\n/\r\n*2\r\n$6\r\nSHA256\r\n$4\r\na\r\nb\r\n")
    sock.sendall(b"*2\r\n$5\r\nHELLO\r\n$1\r\n3\r\n")
    digest = hashlib.sha256(b"a\r\nb").hexdigest().encode()
    expected = b"+PONG\r\n$4\r\neth\n\r\n$64\r\n" + digest + b"\r\n-ERR unknown command\r\n"
    assert received.read(len(expected)) == expected
    sock.sendall(b"*1\r\nnonsense\r\n")
    assert received.read() == b""


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        ([b"ECHO", b""], whole(b"")),
        ([b"GET", b"/bytes/3"], Content(3, bytes(65521))),
        ([b"GET"], b"-ERR unknown command\r\n"),
        ([], b"-ERR unknown command\r\n"),
    ],
)
def test_replies_to_commands(words: list[bytes], answer: bytes | Content) -> None:
    assert reply(words, "eth") == answer


def test_content_comes_in_pieces() -> None:
    what = content("/pattern/200000", "eth")
    assert b"".join(what.pieces()) == pattern(200000)
    assert len(list(what.pieces())) == 4
    assert list(whole(b"").pieces()) == []
