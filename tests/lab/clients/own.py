"""pvdrace itself, with just enough HTTP on its stream: the measure for the others."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import anyio.lowlevel
from anyio.streams.buffered import BufferedByteReceiveStream

import pvdrace
from lab.clients.base import Client, trusting


class OwnSession:
    """A connection for each request."""

    def __init__(
        self,
        connector: pvdrace.Connector,
        context: ssl.SSLContext,
        policy: pvdrace.Policy | None,
        timeout: float,
    ) -> None:
        self.connector = connector
        self.context = context
        self.policy = policy
        self.timeout = timeout

    async def get(self, url: str) -> bytes:
        return await self.ask("GET", url, b"")

    async def put(self, url: str, body: bytes) -> bytes:
        return await self.ask("PUT", url, body)

    def set_policy(self, policy: pvdrace.Policy | None) -> None:
        self.policy = policy

    async def ask(self, method: str, url: str, body: bytes) -> bytes:
        parts = urlsplit(url)
        secure = parts.scheme == "https"
        connection = await self.connector.open_connection(
            str(parts.hostname),
            parts.port or (443 if secure else 80),
            tls=self.context if secure else False,
            policy=self.policy,
            timeout=self.timeout,
        )
        async with connection:
            head = f"{method} {parts.path or '/'} HTTP/1.1\r\nHost: {parts.hostname}\r\nConnection: close\r\n"
            await connection.send(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            received = BufferedByteReceiveStream(connection)
            headers = (await received.receive_until(b"\r\n\r\n", 65536)).decode("latin-1").lower()
            length = int(headers.partition("content-length:")[2].partition("\r\n")[0])
            return await received.receive_exactly(length)


class Own:
    name = "pvdrace"
    blocking = False
    backends = ("asyncio", "trio")
    pools = False
    watches = False
    errors: tuple[type[Exception], ...] = (pvdrace.PvdRaceError,)
    timeouts: tuple[type[Exception], ...] = (pvdrace.ConnectFailed,)
    resumes_tls = True
    proxied = False

    @contextlib.asynccontextmanager
    async def open(
        self, connector: pvdrace.Connector, ca_file: str, *, policy: pvdrace.Policy | None, timeout: float
    ) -> AsyncIterator[OwnSession]:
        yield OwnSession(connector, trusting(ca_file), policy, timeout)
        await anyio.lowlevel.checkpoint()


CLIENTS: list[Client] = [Own()]
