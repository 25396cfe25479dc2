"""websockets, on asyncio and on trio: every connection is won in a race."""

from __future__ import annotations

import contextlib
import importlib
import ssl
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import anyio
import pytest
import trustme
import websockets.asyncio.client
import websockets.exceptions
import websockets.sync.server
from websockets.version import version

import pvdrace
import pvdrace.integrations.websockets
from loopback import HOST, BlackHole, Dns, Server, certificate_for, closing, connector, trusting
from proxies import http_proxy, saying

pytestmark = pytest.mark.anyio

MODULES: dict[str, Any] = {"asyncio": pvdrace.integrations.websockets}
with contextlib.suppress(ModuleNotFoundError):  # websockets has it since 17
    MODULES["trio"] = importlib.import_module("pvdrace.integrations.websockets_trio")


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def dns() -> Iterator[Dns]:
    server = Dns({(HOST, "AAAA"): [], (HOST, "A"): ["127.0.0.2"]})
    with closing(server):
        yield server


@pytest.fixture
async def one(dns: Dns, anyio_backend: str) -> AsyncIterator[pvdrace.Connector]:
    async with connector(dns) as only:
        yield only


@pytest.fixture
def connect(anyio_backend: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    for name in ("http_proxy", "https_proxy", "ws_proxy", "wss_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    if anyio_backend not in MODULES:
        pytest.skip(f"websockets {version} has nothing for {anyio_backend}")
    return MODULES[anyio_backend].connect


@contextlib.contextmanager
def echo(context: ssl.SSLContext | None = None, address: str = "127.0.0.2", port: int = 0) -> Iterator[int]:
    """A server of websockets' own in a thread; ``bye`` makes it hang up."""

    def serve(connection: websockets.sync.server.ServerConnection) -> None:
        for message in connection:
            if message == "bye":
                return
            connection.send(message)

    with websockets.sync.server.serve(serve, address, port, ssl=context) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.socket.getsockname()[1]
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("scheme", ["ws", "wss"])
async def test_messages_both_ways_and_the_report(
    connect: Any, one: pvdrace.Connector, authority: trustme.CA, scheme: str
) -> None:
    secure = scheme == "wss"
    with echo(certificate_for(authority, HOST) if secure else None) as port:
        options = {"ssl": trusting(authority)} if secure else {}
        async with connect(f"{scheme}://{HOST}:{port}/", connector=one, **options) as websocket:
            await websocket.send("hello")
            assert await websocket.recv() == "hello"
            assert websocket.remote_address == ("127.0.0.2", port)
            assert websocket.report.winner.pvd == "a"
            assert websocket.report.ready == ("tls" if secure else "tcp")


async def test_tls_is_a_stage_of_the_race(connect: Any, dns: Dns, authority: trustme.CA) -> None:
    intercepted = Dns({(HOST, "AAAA"): [], (HOST, "A"): ["127.0.0.3"]})
    with echo(certificate_for(authority, HOST)) as port:
        wrong = Server("127.0.0.3", port, context=certificate_for(trustme.CA(), HOST))
        with closing(intercepted, wrong):
            async with connector(intercepted, dns) as two:
                uri = f"wss://{HOST}:{port}/"
                async with connect(uri, ssl=trusting(authority), connector=two) as websocket:
                    assert websocket.report.winner.pvd == "b"
                    assert "wrong certificate" in str(websocket.report)


async def test_each_connection_that_is_made_anew_is_a_race_with_the_policy_of_then(
    connect: Any, dns: Dns
) -> None:
    other = Dns(dns.answers)
    winners = []
    with echo() as port, closing(other):
        async with connector(dns, other) as two:
            loop = connect(f"ws://{HOST}:{port}/", connector=two, policy=pvdrace.Policy(require=["pvd:a"]))
            async with contextlib.aclosing(aiter(loop)) as anew:
                async for websocket in anew:
                    winners.append(websocket.report.winner.pvd)
                    if len(winners) == 2:
                        break
                    loop.policy = pvdrace.Policy(require=["pvd:b"])
                    await websocket.send("bye")
                    with contextlib.suppress(websockets.exceptions.ConnectionClosed):
                        await websocket.recv()
    assert winners == ["a", "b"]


async def test_the_opening_timeout_is_for_the_whole_race(connect: Any, one: pvdrace.Connector) -> None:
    hole = BlackHole("127.0.0.2", 0)
    port = hole.socks[0].getsockname()[1]
    with closing(hole), pytest.raises(TimeoutError, match="timed out during opening handshake") as raised:
        async with connect(f"ws://{HOST}:{port}/", connector=one, open_timeout=1.5):
            pass
    report = pvdrace.report_of(raised.value)
    assert report is not None
    assert report is raised.value.report  # type: ignore[attr-defined]
    assert report.attempts[0].remote == "127.0.0.2"
    assert report.elapsed < 1.5


async def test_errors_are_those_of_websockets(connect: Any, one: pvdrace.Connector) -> None:
    """OSError for no connection, whatever the reason; its own for a server that is none of websockets'."""
    policy = pvdrace.Policy(prohibit=["pvd:a"])
    for name, options in (("refused", {}), ("prohibited by pvd:a", {"policy": policy})):
        with pytest.raises(OSError, match=name) as raised:
            async with connect(f"ws://{HOST}:1/", connector=one, **options):
                pass
        assert raised.value.report is pvdrace.report_of(raised.value)  # type: ignore[attr-defined]
        assert raised.value.report is not None  # type: ignore[attr-defined]
    with saying("ws", b"220 mail\r\n") as server, pytest.raises(websockets.exceptions.InvalidMessage):
        async with connect(server.url, connector=one):
            pass


async def test_what_cannot_be_raced_is_refused(connect: Any, one: pvdrace.Connector) -> None:
    with pytest.raises(ValueError, match="unix= cannot be raced"):
        connect("ws://www.example.com/", unix=True, path="/run/x")
    with pytest.raises(ValueError, match="cannot be raced"):
        connect("ws://www.example.com/", sock=object(), stream=object())
    with pytest.raises(ValueError, match="the socks5h proxy"):
        async with connect(f"ws://{HOST}/", connector=one, proxy="socks5h://127.0.0.1:1080"):
            pass


@pytest.mark.parametrize("scheme", ["ws", "wss"])
async def test_to_an_http_proxy_it_is_the_proxy_that_is_raced_to(
    connect: Any,
    one: pvdrace.Connector,
    authority: trustme.CA,
    monkeypatch: pytest.MonkeyPatch,
    scheme: str,
) -> None:
    context = certificate_for(authority, HOST) if scheme == "wss" else None
    with echo(context, "127.0.0.1") as port, http_proxy(port) as proxy:
        monkeypatch.setenv("https_proxy", proxy.url)
        options = {"ssl": trusting(authority)} if context else {}
        async with connect(f"{scheme}://{HOST}:{port}/", connector=one, **options) as websocket:
            await websocket.send("hello")
            assert await websocket.recv() == "hello"
            assert websocket.report.endpoint.host == "127.0.0.1"
    assert proxy.asked == [f"CONNECT {HOST}:{port} HTTP/1.1".encode()]


async def test_cancelled_it_leaves_no_connection(connect: Any, one: pvdrace.Connector) -> None:
    mute = Server("127.0.0.2", mute=True)

    async def hold(url: str) -> None:
        async with connect(url, connector=one):
            raise AssertionError("nobody has answered")

    with closing(mute):
        for scheme in ("ws", "wss"):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(hold, f"{scheme}://{HOST}:{mute.port}/")
                for _ in range(3000):  # until it waits for an answer that never comes
                    if mute.kept:
                        break
                    await anyio.sleep(0.01)
                tasks.cancel_scope.cancel()
            peer = mute.kept.pop()
            peer.settimeout(5)
            with contextlib.suppress(ConnectionResetError):
                while peer.recv(65536):
                    pass
            peer.close()
