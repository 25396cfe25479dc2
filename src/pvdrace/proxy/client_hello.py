"""A TLS client's first flight: where its ClientHello ends, and what the first bytes of an answer say. Pure.

A ClientHello may be said again on another path: nobody has acted on it, and the handshake that follows binds
both sides to one of them (RFC 8446 s4.1.2, s4.4.3). Only it: what follows in the first flight may be early
data (s2.3), which must not be replayed, and goes to the winner alone.
"""

from __future__ import annotations

import enum

HANDSHAKE, ALERT = 22, 21
CLIENT_HELLO = 1
#: RFC 8446 s5.1: what a record holds at most. A ClientHello may be spread over several.
MAX_RECORD = 1 << 14
#: Bytes of a first flight that are kept to be said again: more than any client says.
MAX_HELLO = 1 << 16


class Hello(enum.Enum):
    """What else the first bytes of a client may be."""

    INCOMPLETE = enum.auto()
    NO_TLS = enum.auto()


class Answer(enum.Enum):
    """What the first bytes of an answer to a ClientHello may be."""

    INCOMPLETE = enum.auto()
    HANDSHAKE = enum.auto()
    ALERT = enum.auto()
    PLAIN = enum.auto()


def hello(data: bytes | bytearray) -> int | Hello:
    """How many bytes the ClientHello at the start of ``data`` has, with its records; or what else it is."""
    at, fragments, wanted = 0, 0, -1
    head = b""  # of the handshake message: type and length (RFC 8446 s4)
    while True:
        record = data[at : at + 5]
        if not _begins_record(record, HANDSHAKE):
            return Hello.NO_TLS
        if len(record) < 5:
            return Hello.INCOMPLETE
        length = int.from_bytes(record[3:5], "big")
        if not 0 < length <= MAX_RECORD:
            return Hello.NO_TLS
        fragment = bytes(data[at + 5 : at + 5 + length])
        head += fragment[: 4 - len(head)] if len(head) < 4 else b""
        if head and head[0] != CLIENT_HELLO:
            return Hello.NO_TLS
        if len(head) == 4:
            wanted = 4 + int.from_bytes(head[1:], "big")
            if wanted > MAX_HELLO:
                return Hello.NO_TLS
        if len(fragment) < length:
            return Hello.INCOMPLETE
        fragments += length
        at += 5 + length
        if wanted >= 0 and fragments >= wanted:
            # Something after it in its own record: no client does, and it is not known what it would be.
            return at if fragments == wanted else Hello.NO_TLS


def answer(data: bytes | bytearray) -> Answer:
    """What answers a ClientHello: a ServerHello comes in a handshake record, a refusal in an alert."""
    if not data:
        return Answer.INCOMPLETE
    if not _begins_record(data[:3], data[0]) or data[0] not in (HANDSHAKE, ALERT):
        return Answer.PLAIN
    if len(data) < 3:
        return Answer.INCOMPLETE
    return Answer.HANDSHAKE if data[0] == HANDSHAKE else Answer.ALERT


def _begins_record(data: bytes | bytearray, kind: int) -> bool:
    """Whether this may be the start of a record: type, and 3 for what all versions have in common (s5.1)."""
    return (
        data[:1] in (b"", bytes((kind,))) and data[1:2] in (b"", b"\x03") and (len(data) < 3 or data[2] <= 4)
    )
