"""What the adapters for anyio, asyncio, asyncpg and trio give: streams, with just enough HTTP on them."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

import anyio
import anyio.lowlevel

import pvdrace
import pvdrace.integrations.asyncio
import pvdrace.integrations.trio
from lab.clients.base import Client, trusting
from pvdrace.integrations.anyio import PvdConnectable
from pvdrace.integrations.asyncpg import RacingLoop

#: A request's bytes in, the answer's bytes out, over a connection of its own.
Exchange = Callable[[str, int, bool, bytes], Awaitable[bytes]]


class StreamSession:
    """A connection for each request, which the server closes."""

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange

    async def get(self, url: str) -> bytes:
        return await self.ask("GET", url, b"")

    async def put(self, url: str, body: bytes) -> bytes:
        return await self.ask("PUT", url, body)

    def set_policy(self, policy: pvdrace.Policy | None) -> None:
        raise NotImplementedError("it pools nothing")

    async def ask(self, method: str, url: str, body: bytes) -> bytes:
        parts = urlsplit(url)
        secure = parts.scheme == "https"
        head = f"{method} {parts.path or '/'} HTTP/1.1\r\nHost: {parts.hostname}\r\nConnection: close\r\n"
        request = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
        answer = await self.exchange(
            str(parts.hostname), parts.port or (443 if secure else 80), secure, request
        )
        headers, _, content = answer.partition(b"\r\n\r\n")
        length = int(headers.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        assert len(content) == length
        return content


class Streams:
    """What the three have in common."""

    blocking = False
    pools = False
    watches = False
    errors: tuple[type[Exception], ...] = (OSError,)
    timeouts: tuple[type[Exception], ...] = (OSError,)
    resumes_tls = True
    proxied = False

    def __init__(self, name: str, *backends: str) -> None:
        self.name = name
        self.backends = backends

    def exchange(self, context: ssl.SSLContext, **options: Any) -> Exchange:
        raise NotImplementedError

    @contextlib.asynccontextmanager
    async def open(
        self, connector: pvdrace.Connector, ca_file: str, *, policy: pvdrace.Policy | None, timeout: float
    ) -> AsyncIterator[StreamSession]:
        context = trusting(ca_file)
        yield StreamSession(self.exchange(context, connector=connector, policy=policy, timeout=timeout))
        await anyio.lowlevel.checkpoint()


class Anyio(Streams):
    errors = timeouts = (anyio.ConnectionFailed,)

    def exchange(self, context: ssl.SSLContext, **options: Any) -> Exchange:
        async def exchange(host: str, port: int, secure: bool, request: bytes) -> bytes:
            connectable = PvdConnectable(host, port, tls=context if secure else False, **options)
            async with await connectable.connect() as stream:
                await stream.send(request)
                return b"".join([part async for part in stream])

        return exchange


class Asyncio(Streams):
    def exchange(self, context: ssl.SSLContext, **options: Any) -> Exchange:
        async def exchange(host: str, port: int, secure: bool, request: bytes) -> bytes:
            reader, writer = await pvdrace.integrations.asyncio.open_connection(
                host, port, ssl=context if secure else None, **options
            )
            return await asked(reader, writer, request)

        return exchange


class Loop(Streams):
    """The loop that asyncpg is given, with asyncio's own stream in the place of asyncpg's protocol."""

    def exchange(self, context: ssl.SSLContext, **options: Any) -> Exchange:
        async def exchange(host: str, port: int, secure: bool, request: bytes) -> bytes:
            racing: Any = RacingLoop(**options)
            reader = asyncio.StreamReader()
            protocol = asyncio.StreamReaderProtocol(reader)
            transport, _ = await racing.create_connection(
                lambda: protocol, host, port, ssl=context if secure else None
            )
            return await asked(reader, asyncio.StreamWriter(transport, protocol, reader, racing), request)

        return exchange


async def asked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> bytes:
    try:
        writer.write(request)
        await writer.drain()
        return await reader.read()
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        await asyncio.sleep(0)


class Trio(Streams):
    def exchange(self, context: ssl.SSLContext, **options: Any) -> Exchange:
        async def exchange(host: str, port: int, secure: bool, request: bytes) -> bytes:
            stream: Any
            if secure:
                stream = await pvdrace.integrations.trio.open_ssl_over_tcp_stream(
                    host, port, ssl_context=context, https_compatible=True, **options
                )
            else:
                stream = await pvdrace.integrations.trio.open_tcp_stream(host, port, **options)
            async with stream:
                await stream.send_all(request)
                return b"".join([bytes(part) async for part in stream])

        return exchange


CLIENTS: list[Client] = [
    Anyio("anyio", "asyncio", "trio"),
    Asyncio("asyncio streams", "asyncio"),
    Loop("asyncpg loop", "asyncio"),
    Trio("trio", "trio"),
]
