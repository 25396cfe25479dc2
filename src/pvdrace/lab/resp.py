"""As much of Redis (RESP 2) as its clients need of the public server: ``PING``, ``ECHO value``, ``GET path``
with the bytes that are there, and the lab's own ``SHA256 value`` with the digest in hexadecimal."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from .content import Content, content, whole

if TYPE_CHECKING:
    import asyncio

MARK = b"*"  # what a command begins with, and no line of another protocol here


async def serve_command(
    head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, name: str
) -> None:
    """Read the rest of a command, ``head`` is its first line, and answer it. ValueError if it is none."""
    words = []
    for _ in range(int(head.removeprefix(MARK))):
        length = int((await reader.readline()).removeprefix(b"$"))
        words.append(await reader.readexactly(length))
        await reader.readexactly(2)
    answer = reply(words, name)
    if isinstance(answer, bytes):
        writer.write(answer)
        return
    writer.write(b"$%d\r\n" % answer.length)
    for piece in answer.pieces():
        writer.write(piece)
        await writer.drain()
    writer.write(b"\r\n")


def reply(words: list[bytes], name: str) -> bytes | Content:
    """The answer as it goes out, or what a bulk string has in it; an error for whatever is not known."""
    match [words[0].upper() if words else b"", *words[1:]]:
        case [b"PING"]:
            return b"+PONG\r\n"
        case [b"ECHO", value]:
            return whole(value)
        case [b"GET", path]:
            return content(path.decode(), name)
        case [b"SHA256", value]:
            return whole(hashlib.sha256(value).hexdigest().encode())
    return b"-ERR unknown command\r\n"
