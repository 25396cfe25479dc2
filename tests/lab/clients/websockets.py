"""websockets on asyncio and trio, and blocking by a socket: each request is a message on a new connection."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import AsyncIterator, Iterator, Sequence
from importlib.util import find_spec
from typing import Any
from urllib.parse import urlsplit

import anyio.lowlevel
import websockets.sync.client

import pvdrace
import pvdrace.integrations.websockets
import pvdrace.sync
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


class BlockingSession:
    def __init__(self, connector: pvdrace.sync.Connector, context: ssl.SSLContext, **options: Any) -> None:
        self.connector = connector
        self.context = context
        self.options = options

    def get(self, url: str) -> bytes:
        return self.ask(url, "/" + url.split("/", 3)[3])

    def put(self, url: str, body: bytes) -> bytes:
        return self.ask(url, body)

    def set_policy(self, policy: pvdrace.Policy | None) -> None:
        raise NotImplementedError("it pools nothing")

    def ask(self, url: str, message: str | bytes) -> bytes:
        parts = urlsplit(url)
        tls = parts.scheme == "https"
        host, port = str(parts.hostname), parts.port or (443 if tls else 80)
        raced = self.connector.open_connection(host, port, tls=tls and self.context, **self.options)
        with websockets.sync.client.connect(
            f"ws://{host}:{port}{parts.path}", sock=raced.sock, max_size=None, compression=None
        ) as websocket:
            websocket.send(message)
            answer = websocket.recv()
        return answer if isinstance(answer, bytes) else answer.encode()


class BlockingWebSockets:
    name = "websockets-blocking"
    blocking = True
    backends = ("asyncio",)
    pools = False
    watches = False
    errors: tuple[type[Exception], ...] = (pvdrace.ConnectFailed,)  # the race is not websockets' affair
    timeouts: tuple[type[Exception], ...] = (pvdrace.ConnectFailed,)
    resumes_tls = True
    proxied = False

    @contextlib.contextmanager
    def open(
        self,
        connector: pvdrace.sync.Connector,
        ca_file: str,
        *,
        policy: pvdrace.Policy | None,
        timeout: float,
    ) -> Iterator[BlockingSession]:
        yield BlockingSession(connector, trusting(ca_file), policy=policy, timeout=timeout)


CLIENTS: list[Client] = [
    WebSockets("websockets", "asyncio", pvdrace.integrations.websockets.connect),
    BlockingWebSockets(),
]
if find_spec("websockets.trio"):  # since 17
    import pvdrace.integrations.websockets_trio

    CLIENTS.append(WebSockets("websockets", "trio", pvdrace.integrations.websockets_trio.connect))
