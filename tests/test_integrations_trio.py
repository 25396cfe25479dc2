"""The drop-in for trio's streams. trio's alone."""

from __future__ import annotations

import gc
import os
import socket
import ssl
from collections.abc import AsyncIterator, Iterator

import pytest
import trio
import trio.testing
import trustme

import pvdrace
from loopback import HOST, BlackHole, Dns, Server, certificate_for, closing, connector, trusting
from pvdrace.integrations.trio import open_ssl_over_tcp_stream, open_tcp_stream, report

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "trio"


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


async def settled(before: int) -> int:
    """How many descriptors are left over, once the servers of this process have closed their ends."""
    with trio.move_on_after(5):
        while len(os.listdir("/proc/self/fd")) > before:
            gc.collect()
            await trio.sleep(0.001)
    return len(os.listdir("/proc/self/fd")) - before


@pytest.mark.parametrize("prohibit", [[], ["pvd:elsewhere"]], ids=["plain", "quiet"])
async def test_a_stream_both_ways(one: pvdrace.Connector, nursery: trio.Nursery, prohibit: list[str]) -> None:
    """With a server of trio's own; half-close, too, and sockets that leave quietly."""

    async def serve(stream: trio.SocketStream) -> None:
        said = b"".join([bytes(part) async for part in stream])
        await stream.send_all(said.upper())
        await stream.aclose()

    listeners = await nursery.start(trio.serve_tcp, serve, 0)
    port = listeners[0].socket.getsockname()[1]
    stream = await open_tcp_stream(
        HOST,
        port,
        connector=one,
        policy=pvdrace.Policy(prohibit=prohibit),
        timeout=10,
        happy_eyeballs_delay=0.1,
    )
    assert type(stream) is trio.SocketStream
    async with stream:
        assert stream.socket.getpeername() == ("127.0.0.2", port)
        await stream.wait_send_all_might_not_block()
        await stream.send_all(b"hello")
        await stream.send_eof()
        assert b"".join([bytes(part) async for part in stream]) == b"HELLO"
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        assert stream.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    told = report(stream)
    assert told.winner is not None
    assert (told.winner.pvd, told.ready) == ("a", "tcp")


@pytest.fixture
async def nursery(anyio_backend: str) -> AsyncIterator[trio.Nursery]:
    async with trio.open_nursery() as opened:
        yield opened
        opened.cancel_scope.cancel()


async def test_a_stream_is_one_by_trios_own_measure(one: pvdrace.Connector) -> None:
    """`trio.testing.check_half_closeable_stream` tries whatever a stream promises."""
    listener = (await trio.open_tcp_listeners(0, host="127.0.0.2"))[0]
    port = listener.socket.getsockname()[1]

    async def pair() -> tuple[trio.SocketStream, trio.SocketStream]:
        stream = await open_tcp_stream(HOST, port, connector=one)
        return stream, await listener.accept()

    async with listener:
        await trio.testing.check_half_closeable_stream(pair, None)


async def test_tls_is_a_stage_of_the_race(dns: Dns, authority: trustme.CA) -> None:
    intercepted = Dns({(HOST, "AAAA"): [], (HOST, "A"): ["127.0.0.3"]})
    right = Server("127.0.0.2", context=certificate_for(authority, HOST))
    wrong = Server("127.0.0.3", right.port, context=certificate_for(trustme.CA(), HOST))
    with closing(intercepted, right, wrong):
        async with connector(intercepted, dns) as two:
            stream = await open_ssl_over_tcp_stream(
                HOST, right.port, ssl_context=trusting(authority), connector=two, timeout=10
            )
            async with stream:
                assert await stream.receive_some() == b"hello\n"
    told = report(stream)
    assert told.winner is not None
    assert (told.winner.pvd, told.ready) == ("b", "tls")
    assert "wrong certificate" in str(told)


async def test_a_server_that_is_silent_at_tls_loses(dns: Dns, authority: trustme.CA) -> None:
    dns.answers[HOST, "A"] = ["127.0.0.3", "127.0.0.2"]
    right = Server("127.0.0.2", context=certificate_for(authority, HOST))
    mute = Server("127.0.0.3", right.port, mute=True)
    pacing = pvdrace.Pacing(connection_attempt_delay=0.01, minimum_connection_attempt_delay=0.01)
    with closing(right, mute):
        async with connector(dns, pacing=pacing) as only:
            stream = await open_ssl_over_tcp_stream(
                HOST, right.port, ssl_context=trusting(authority), connector=only, https_compatible=True
            )
            assert await stream.receive_some() == b"hello\n"
            await stream.aclose()


@pytest.mark.parametrize("quiet", [False, True])
async def test_nothing_is_left_behind(dns: Dns, authority: trustme.CA, quiet: bool) -> None:
    """Won and closed, a wrong certificate, cancelled at TLS; with sockets that leave quietly, too."""
    policy = pvdrace.Policy(prohibit=["pvd:elsewhere"]) if quiet else None
    right = Server("127.0.0.2", context=certificate_for(authority, HOST))
    mute = Server("127.0.0.2", mute=True)

    async def try_all() -> None:
        async with connector(dns) as own:
            for port, context in (
                (right.port, trusting(authority)),
                (right.port, ssl.create_default_context()),
                (mute.port, trusting(authority)),
            ):
                with trio.move_on_after(0.2):
                    try:
                        stream = await open_ssl_over_tcp_stream(
                            HOST, port, ssl_context=context, connector=own, policy=policy
                        )
                        await trio.aclose_forcefully(stream)
                    except pvdrace.ConnectFailed as error:
                        assert "wrong certificate" in str(error)
            plain = await open_tcp_stream(HOST, right.port, connector=own, policy=policy)
            assert plain.socket.getpeername() == ("127.0.0.2", right.port)
            assert (plain.socket.family, plain.socket.type) == (socket.AF_INET, socket.SOCK_STREAM)
            await plain.aclose()
        while mute.kept:
            mute.kept.pop().close()

    with closing(right, mute):
        await try_all()  # and whatever is made at the first time
        before = len(os.listdir("/proc/self/fd"))
        await try_all()
        assert await settled(before) <= 0


async def test_errors(one: pvdrace.Connector) -> None:
    hole = BlackHole("127.0.0.2", 0)
    port = hole.socks[0].getsockname()[1]
    with closing(hole), pytest.raises(OSError, match="timeout") as raised:
        await open_tcp_stream(HOST, port, connector=one, timeout=0.05)
    assert pvdrace.report_of(raised.value) is not None
    with pytest.raises(OSError, match="prohibited by pvd:a") as raised:
        await open_ssl_over_tcp_stream(HOST, 1, connector=one, policy=pvdrace.Policy(prohibit=["pvd:a"]))
    assert isinstance(raised.value, pvdrace.PolicyProhibited)
    with pytest.raises(ValueError, match="local_address= cannot be raced"):
        await open_tcp_stream(HOST, 443, connector=one, local_address="127.0.0.1")  # type: ignore[arg-type]


async def test_a_reset_at_tls_is_told(one: pvdrace.Connector) -> None:
    plain = Server("127.0.0.2", word=b"SSH-2.0-none\r\n")
    with closing(plain), pytest.raises(pvdrace.ConnectFailed, match="TLS failed: wrong version number"):
        await open_ssl_over_tcp_stream(
            HOST, plain.port, connector=one, ssl_context=ssl.create_default_context()
        )
