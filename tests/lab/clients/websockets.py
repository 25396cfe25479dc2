"""websockets on asyncio and on trio: a connection for each request, which is a message on it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from importlib.util import find_spec
from typing import Any

import anyio.lowlevel

import pvdrace
import pvdrace.integrations.websockets
from lab.clients.base import Client, trusting


class WebSocketSession:
    def __init__(self, connect: Any, **options: Any) -> None:
        self.connect = connect
        self.options = options

    async def get(self, url: str) -> bytes:
        return await self.ask(url, "/" + url.split("/", 3)[3])

    async def put(self, url: str, body: bytes) -> bytes:
        return await self.ask(url, body)

    def set_policy(self, policy: pvdrace.Policy | None) -> None:
        raise NotImplementedError("it pools nothing")

    async def ask(self, url: str, message: str | bytes) -> bytes:
        uri = url.replace("http", "ws", 1)
        options = {name: value for name, value in self.options.items() if name != "ssl" or "wss:" in uri}
        async with self.connect(uri, **options) as websocket:
            await websocket.send(message)
            answer: str | bytes = await websocket.recv()
        return answer if isinstance(answer, bytes) else answer.encode()


class WebSockets:
    blocking = False
    pools = False
    watches = False
    errors: tuple[type[Exception], ...] = (OSError,)
    timeouts: tuple[type[Exception], ...] = (TimeoutError,)
    resumes_tls = True
    proxied = False

    def __init__(self, name: str, backend: str, connect: Any) -> None:
        self.name = name
        self.backends: Sequence[str] = (backend,)
        self.connect = connect

    @contextlib.asynccontextmanager
    async def open(
        self, connector: pvdrace.Connector, ca_file: str, *, policy: pvdrace.Policy | None, timeout: float
    ) -> AsyncIterator[WebSocketSession]:
        yield WebSocketSession(
            self.connect,
            connector=connector,
            policy=policy,
            open_timeout=timeout,
            ssl=trusting(ca_file),
            proxy=None,
            max_size=None,
            compression=None,
        )
        await anyio.lowlevel.checkpoint()


CLIENTS: list[Client] = [
    WebSockets("websockets", "asyncio", pvdrace.integrations.websockets.connect),
]
if find_spec("websockets.trio"):  # since 17
    import pvdrace.integrations.websockets_trio

    CLIENTS.append(WebSockets("websockets", "trio", pvdrace.integrations.websockets_trio.connect))
