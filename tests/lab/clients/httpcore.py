"""Pools of httpcore2 and httpcore over the network backends, pruned before each request as the docs say."""

from __future__ import annotations

import contextlib
import importlib
import ssl
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import pvdrace
from lab.clients.base import Client


class CoreSession:
    def __init__(self, pool: Any, backend: Any, timeout: float) -> None:
        self.pool = pool
        self.backend = backend
        self.extensions = {"timeout": {"connect": timeout, "read": 10.0, "write": 10.0}}

    def get(self, url: str) -> Any:
        return self.ask("GET", url, None)

    def put(self, url: str, body: bytes) -> Any:
        return self.ask("PUT", url, body)

    def set_policy(self, policy: pvdrace.Policy | None) -> None:
        self.backend.policy = policy

    def ask(self, method: str, url: str, body: bytes | None) -> Any:
        self.backend.prune(self.pool)
        return self.pool.request(method, url, content=body, extensions=self.extensions).content


class AsyncCoreSession(CoreSession):
    async def ask(self, method: str, url: str, body: bytes | None) -> Any:
        await self.backend.prune(self.pool)
        return (await self.pool.request(method, url, content=body, extensions=self.extensions)).content


class Core:
    pools = True
    watches = False
    resumes_tls = True
    proxied = False

    def __init__(self, module: str, *, blocking: bool) -> None:
        self.core = importlib.import_module(module)
        self.adapter = importlib.import_module(f"pvdrace.integrations.{module.replace('core', 'x')}")
        self.blocking = blocking
        self.name = f"{module}-blocking" if blocking else module
        self.backends: Sequence[str] = ("asyncio",) if blocking else ("asyncio", "trio")
        self.errors: tuple[type[Exception], ...] = (self.core.ConnectError,)
        self.timeouts: tuple[type[Exception], ...] = (self.core.ConnectTimeout,)

    def open(
        self, connector: Any, ca_file: str, *, policy: pvdrace.Policy | None, timeout: float
    ) -> contextlib.AbstractContextManager[Any] | contextlib.AbstractAsyncContextManager[Any]:
        context = ssl.create_default_context(cafile=ca_file)
        if self.blocking:
            blocking = self.adapter.PvdNetworkBackend(connector, policy=policy)
            return self.opened_blocking(blocking, context, timeout)
        return self.opened(self.adapter.AsyncPvdNetworkBackend(connector, policy=policy), context, timeout)

    @contextlib.asynccontextmanager
    async def opened(
        self, backend: Any, context: ssl.SSLContext, timeout: float
    ) -> AsyncIterator[AsyncCoreSession]:
        async with self.core.AsyncConnectionPool(network_backend=backend, ssl_context=context) as pool:
            yield AsyncCoreSession(pool, backend, timeout)

    @contextlib.contextmanager
    def opened_blocking(self, backend: Any, context: ssl.SSLContext, timeout: float) -> Iterator[CoreSession]:
        with self.core.ConnectionPool(network_backend=backend, ssl_context=context) as pool:
            yield CoreSession(pool, backend, timeout)


CLIENTS: list[Client] = [
    Core("httpcore2", blocking=False),
    Core("httpcore2", blocking=True),
    Core("httpcore", blocking=False),
    Core("httpcore", blocking=True),
]
