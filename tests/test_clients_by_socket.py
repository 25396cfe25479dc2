"""What docs/clients.md says of clients that take a socket, a tunnel or a proxy: with real servers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any, ClassVar

import aiosmtplib
import anyio.to_thread
import asyncssh
import grpc  # type: ignore[import-untyped]
import grpc.aio  # type: ignore[import-untyped]
import paramiko  # type: ignore[import-untyped]
import pytest
import pytest_asyncio
import trustme
import websockets.asyncio.server
import websockets.sync.client
from aiosmtpd import smtp as smtpd

import pvdrace
import pvdrace.sync
from loopback import HOST, Dns, certificate_for, closing, connector, pvds, trusting
from pvdrace.integrations.asyncpg import RacingLoop
from pvdrace.proxy import Listen, Proxy, ProxySettings

pytestmark = pytest.mark.asyncio


@pytest.fixture
def dns() -> Iterator[Dns]:
    server = Dns({(HOST, "AAAA"): [], (HOST, "A"): ["127.0.0.2"]})
    with closing(server):
        yield server


@pytest_asyncio.fixture
async def one(dns: Dns) -> AsyncIterator[pvdrace.Connector]:
    async with connector(dns) as only:
        yield only


@pytest.fixture
def blocking(dns: Dns) -> Iterator[pvdrace.sync.Connector]:
    with pvdrace.sync.Connector(pvds(dns)) as only:
        yield only


class Anybody(asyncssh.SSHServer):
    connections: ClassVar[list[asyncssh.SSHServerConnection]] = []

    def connection_made(self, connection: asyncssh.SSHServerConnection) -> None:
        self.connections.append(connection)

    def begin_auth(self, username: str) -> bool:
        return False


@pytest_asyncio.fixture
async def ssh_port() -> AsyncIterator[int]:
    key = asyncssh.generate_private_key("ssh-ed25519")

    async def talk(process: asyncssh.SSHServerProcess[str]) -> None:
        process.stdout.write(f"did {process.command}")
        process.exit(0)

    async with asyncssh.listen(
        "127.0.0.2", 0, server_factory=Anybody, server_host_keys=[key], process_factory=talk
    ) as server:
        yield server.get_port()
        for connection in Anybody.connections:
            connection.abort()
            await connection.wait_closed()
        Anybody.connections.clear()


@pytest.mark.parametrize("how", ["sock", "tunnel"])
async def test_asyncssh(one: pvdrace.Connector, ssh_port: int, how: str) -> None:
    options: dict[str, Any] = {"known_hosts": None, "config": None, "username": "test"}
    if how == "sock":
        options["sock"], _ = await one.connect(HOST, ssh_port, timeout=10)
    else:
        options["tunnel"] = RacingLoop(connector=one)
    async with asyncssh.connect(HOST, ssh_port, **options) as session:
        assert (await session.run("true")).stdout == "did true"
        assert session.get_extra_info("peername") == ("127.0.0.2", ssh_port)


async def test_asyncssh_says_why_a_tunnel_came_to_nothing(one: pvdrace.Connector) -> None:
    with pytest.raises(OSError, match="refused") as raised:
        await asyncssh.connect(HOST, 1, tunnel=RacingLoop(connector=one), known_hosts=None, config=None)
    assert pvdrace.report_of(raised.value) is not None


class Nobody(paramiko.auth_strategy.AuthStrategy):  # type: ignore[misc]
    """No secret at all."""

    def __init__(self) -> None:
        super().__init__(ssh_config=None)

    def get_sources(self) -> Iterator[Any]:
        yield paramiko.auth_strategy.NoneAuth("test")


async def test_paramiko(blocking: pvdrace.sync.Connector, ssh_port: int) -> None:
    def run() -> bytes:
        sock, _ = blocking.connect(HOST, ssh_port, timeout=10)
        with paramiko.SSHClient() as ssh:
            ssh.set_missing_host_key_policy(paramiko.AutoAddPolicy())
            ssh.connect(
                HOST,
                sock=sock,
                username="test",
                auth_strategy=Nobody(),
                timeout=10,
            )
            _, output, _ = ssh.exec_command("true")
            return bytes(output.read())

    assert await anyio.to_thread.run_sync(run) == b"did true"


@pytest.mark.parametrize("tls", ["none", "STARTTLS", "implicit"])
async def test_aiosmtplib(one: pvdrace.Connector, tls: str) -> None:
    authority = trustme.CA()
    received: list[bytes] = []

    class Handler:
        async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
            received.append(envelope.content)
            return "250 OK"

    context = certificate_for(authority, HOST) if tls != "none" else None
    server = await asyncio.get_running_loop().create_server(
        lambda: smtpd.SMTP(Handler(), tls_context=context if tls == "STARTTLS" else None),
        "127.0.0.2",
        0,
        ssl=context if tls == "implicit" else None,
    )
    async with server:
        sock, _ = await one.connect(HOST, server.sockets[0].getsockname()[1], timeout=10)
        async with aiosmtplib.SMTP(
            hostname=HOST,
            sock=sock,
            use_tls=tls == "implicit",
            start_tls=tls == "STARTTLS",
            tls_context=trusting(authority) if context else None,
        ) as smtp:
            await smtp.sendmail("a@example.test", ["b@example.test"], b"Subject: hello\r\n\r\nhello\r\n")
    assert b"hello" in received[0]


async def test_websockets_blocking(blocking: pvdrace.sync.Connector) -> None:
    async def echo(connection: websockets.asyncio.server.ServerConnection) -> None:
        async for message in connection:
            await connection.send(message)

    async with websockets.asyncio.server.serve(echo, "127.0.0.2", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]

        def talk() -> Any:
            raced = blocking.open_connection(HOST, port, timeout=10)
            with websockets.sync.client.connect(f"ws://{HOST}:{port}/", sock=raced.sock) as websocket:
                websocket.send("hello")
                return websocket.recv()

        assert await anyio.to_thread.run_sync(talk) == "hello"


async def test_grpc_through_the_proxy(dns: Dns) -> None:
    """The channel gives the proxy the name; the proxy looks it up in the PvD, and races."""

    async def echo(request: bytes, context: Any) -> bytes:
        return request.upper()

    server = grpc.aio.server()
    handler = grpc.unary_unary_rpc_method_handler(echo)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Echo", {"Say": handler}),))
    port = server.add_insecure_port("127.0.0.2:0")
    await server.start()
    reports: list[pvdrace.RaceReport] = []
    settings = ProxySettings(listen=(Listen(port=0),), allow_local=True, drain_timeout=0.2)
    proxy = Proxy(settings, config=pvds(dns), hooks=[reports.append])
    async with anyio.create_task_group() as tasks:
        await tasks.start(proxy.run)
        url = f"http://127.0.0.1:{proxy.addresses[0][1]}"
        try:
            async with grpc.aio.insecure_channel(
                f"{HOST}:{port}", options=[("grpc.http_proxy", url)]
            ) as channel:
                say = channel.unary_unary("/test.Echo/Say")
                assert await say(b"hello", timeout=10) == b"HELLO"
        finally:
            await server.stop(0)
            proxy.stop()
    assert reports[0].endpoint.host == HOST
    assert reports[0].winner is not None
    assert reports[0].winner.pvd == "a"
