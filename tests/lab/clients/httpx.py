"""httpx2 and httpx, asynchronous and blocking: four clients by the same code, and HTTP/2 beside HTTP/1.1."""

from __future__ import annotations

import contextlib
import importlib
import ssl
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import pvdrace
from lab.clients.base import Client


class AsyncSession:
    def __init__(self, client: Any, transport: Any) -> None:
        self.client = client
        self.transport = transport

    async def get(self, url: str) -> bytes:
        return bytes((await self.client.get(url)).content)

    async def put(self, url: str, body: bytes) -> bytes:
        return bytes((await self.client.put(url, content=body)).content)

    def set_policy(self, policy: pvdrace.Policy | None) -> None:
        self.transport.policy = policy


class BlockingSession:
    def __init__(self, client: Any, transport: Any) -> None:
        self.client = client
        self.transport = transport

    def get(self, url: str) -> bytes:
        return bytes(self.client.get(url).content)

    def put(self, url: str, body: bytes) -> bytes:
        return bytes(self.client.put(url, content=body).content)

    def set_policy(self, policy: pvdrace.Policy | None) -> None:
        self.transport.policy = policy


class Http:
    pools = True
    resumes_tls = True
    proxied = False

    def __init__(self, module: str, *, blocking: bool) -> None:
        self.module = importlib.import_module(module)
        self.adapter = importlib.import_module(f"pvdrace.integrations.{module}")
        self.blocking = blocking
        self.watches = not blocking
        self.name = f"{module}-blocking" if blocking else module
        self.backends: Sequence[str] = ("asyncio",) if blocking else ("asyncio", "trio")
        self.errors: tuple[type[Exception], ...] = (self.module.ConnectError,)
        self.timeouts: tuple[type[Exception], ...] = (self.module.ConnectTimeout,)

    def open(
        self, connector: Any, ca_file: str, *, policy: pvdrace.Policy | None, timeout: float
    ) -> contextlib.AbstractContextManager[Any] | contextlib.AbstractAsyncContextManager[Any]:
        options = {
            "connector": connector,
            "policy": policy,
            "verify": ssl.create_default_context(cafile=ca_file),
        }
        timeouts = self.module.Timeout(10.0, connect=timeout)
        if self.blocking:
            return self.opened_blocking(self.adapter.PvdTransport(**options), timeouts)
        return self.opened(self.adapter.AsyncPvdTransport(**options), timeouts)

    @contextlib.asynccontextmanager
    async def opened(self, transport: Any, timeouts: Any) -> AsyncIterator[AsyncSession]:
        async with self.module.AsyncClient(transport=transport, timeout=timeouts) as client:
            yield AsyncSession(client, transport)

    @contextlib.contextmanager
    def opened_blocking(self, transport: Any, timeouts: Any) -> Iterator[BlockingSession]:
        with self.module.Client(transport=transport, timeout=timeouts) as client:
            yield BlockingSession(client, transport)


CLIENTS: list[Client] = [
    Http("httpx2", blocking=False),
    Http("httpx2", blocking=True),
    Http("httpx", blocking=False),
    Http("httpx", blocking=True),
]
