"""A client that knows nothing of pvdrace, through the proxy of the same loop: httpx2, by HTTP CONNECT.

What else has no hook of its own, gRPC for one, comes the same way. Not by SOCKS: there httpx2 forgets to
close what a proxy refuses.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import AsyncIterator
from typing import Any

import anyio
import httpx2

import pvdrace
from lab.clients.base import Client
from pvdrace.proxy import Listen, Proxy, ProxySettings


class ProxiedSession:
    def __init__(self, client: httpx2.AsyncClient) -> None:
        self.client = client

    async def get(self, url: str) -> bytes:
        return (await self.client.get(url)).raise_for_status().content

    async def put(self, url: str, body: bytes) -> bytes:
        return (await self.client.put(url, content=body)).raise_for_status().content

    def set_policy(self, policy: pvdrace.Policy | None) -> None:
        raise NotImplementedError("the pool is a stranger's")


class Proxied:
    name = "proxy"
    blocking = False
    backends = ("asyncio", "trio")
    pools = False  # ours: the proxy closes what it relays, the client looks after the rest
    watches = False
    # A request for http: is answered by the proxy, a tunnel is refused.
    errors: tuple[type[Exception], ...] = (httpx2.ProxyError, httpx2.HTTPStatusError)
    timeouts: tuple[type[Exception], ...] = ()
    resumes_tls = True
    proxied = True

    @contextlib.asynccontextmanager
    async def open(
        self, config: Any, ca_file: str, *, policy: pvdrace.Policy | None, timeout: float
    ) -> AsyncIterator[ProxiedSession]:
        settings = ProxySettings(listen=(Listen(port=0),), connect_timeout=timeout, drain_timeout=0.2)
        proxy = Proxy(settings, config=config, policy=policy)
        async with anyio.create_task_group() as tasks:
            ((host, port),) = await tasks.start(proxy.run)
            try:
                async with httpx2.AsyncClient(
                    proxy=f"http://{host}:{port}",
                    verify=ssl.create_default_context(cafile=ca_file),
                    limits=httpx2.Limits(max_keepalive_connections=0),
                    timeout=10,
                    trust_env=False,
                ) as client:
                    yield ProxiedSession(client)
            finally:
                proxy.stop()


CLIENTS: list[Client] = [Proxied()]
