"""A server on the loopback that knows as much of PostgreSQL's protocol as the tests need."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import struct
from collections.abc import AsyncIterator
from typing import Any

SSL_REQUEST = 80877103
INT4 = 23
COLUMN = b"?column?\0" + struct.pack("!ihihih", 0, 0, INT4, 4, -1, 1)


class Postgres:
    """The start of a session, and ``SELECT 1``, whatever was asked; TLS where it has a context."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.context = context

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, OSError, ssl.SSLError):
            await self.talk(reader, writer)
        writer.close()

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        start = await self.packet(reader)
        if start[:4] == struct.pack("!i", SSL_REQUEST):
            writer.write(b"S" if self.context else b"N")
            if self.context:
                await writer.start_tls(self.context)
            start = await self.packet(reader)
        assert start[:4] == struct.pack("!hh", 3, 0)
        writer.write(message(b"R", struct.pack("!i", 0)))
        writer.write(message(b"S", b"server_version\x0017.0\0"))
        writer.write(message(b"S", b"client_encoding\0UTF8\0"))
        writer.write(message(b"K", struct.pack("!ii", 1, 1)))
        writer.write(message(b"Z", b"I"))
        while (kind := await reader.readexactly(1)) != b"X":
            await self.packet(reader)
            writer.write(ANSWERS.get(kind, b""))

    @staticmethod
    async def packet(reader: asyncio.StreamReader) -> bytes:
        (length,) = struct.unpack("!i", await reader.readexactly(4))
        return await reader.readexactly(length - 4)


def message(kind: bytes, content: bytes = b"") -> bytes:
    return kind + struct.pack("!i", len(content) + 4) + content


# What is said to each kind of message: Q is the simple protocol, the others are the extended one.
ANSWERS = {
    b"Q": message(b"C", b"SELECT 1\0") + message(b"Z", b"I"),
    b"P": message(b"1"),
    b"D": message(b"t", struct.pack("!h", 0)) + message(b"T", struct.pack("!h", 1) + COLUMN),
    b"B": message(b"2"),
    b"E": message(b"D", struct.pack("!hii", 1, 4, 1)) + message(b"C", b"SELECT 1\0"),
    b"C": message(b"3"),
    b"S": message(b"Z", b"I"),
}


@contextlib.asynccontextmanager
async def postgres(context: ssl.SSLContext | None = None, **options: Any) -> AsyncIterator[int]:
    async with await asyncio.start_server(Postgres(context), "127.0.0.2", 0, **options) as server:
        yield server.sockets[0].getsockname()[1]
