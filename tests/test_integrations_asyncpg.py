"""asyncpg by a loop that races, with a server that knows the beginning of PostgreSQL's protocol."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import asyncpg  # type: ignore[import-untyped]
import pytest
import pytest_asyncio
import trustme

import pvdrace
import pvdrace.sync
from loopback import HOST, BlackHole, Dns, Server, certificate_for, closing, connector, trusting
from postgres import postgres
from pvdrace.integrations.asyncpg import RacingLoop

pytestmark = pytest.mark.asyncio

LOGIN: dict[str, Any] = {"user": "test", "database": "test", "password": "none"}


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def dns() -> Iterator[Dns]:
    server = Dns({(HOST, "AAAA"): [], (HOST, "A"): ["127.0.0.2"]})
    with closing(server):
        yield server


@pytest_asyncio.fixture
async def one(dns: Dns) -> AsyncIterator[pvdrace.Connector]:
    async with connector(dns) as only:
        yield only


@pytest.mark.parametrize("tls", ["none", "SSLRequest", "direct"])
async def test_a_session(one: pvdrace.Connector, authority: trustme.CA, tls: str) -> None:
    context = certificate_for(authority, HOST) if tls != "none" else None
    if context is not None:
        context.set_alpn_protocols(["postgresql"])
    loop = RacingLoop(connector=one, timeout=10)
    options: dict[str, Any] = {"ssl": trusting(authority) if context else False}
    server: dict[str, Any] = {}
    if tls == "direct":
        options["direct_tls"] = True
        server["ssl"] = context
    async with postgres(None if server else context, **server) as port:
        session = await asyncpg.connect(host=HOST, port=port, loop=loop, timeout=10, **LOGIN, **options)
        assert await session.execute("SELECT 1") == "SELECT 1"
        await session.close()
    assert loop.report is not None
    assert loop.report.winner is not None
    assert loop.report.winner.remote == "127.0.0.2"
    assert loop.report.ready == ("tls" if tls == "direct" else "tcp")


async def test_a_pool(one: pvdrace.Connector) -> None:
    async with (
        postgres() as port,
        asyncpg.create_pool(
            host=HOST,
            port=port,
            loop=RacingLoop(connector=one),
            ssl=False,
            min_size=2,
            max_size=2,
            reset=no_reset,
            **LOGIN,
        ) as pool,
    ):
        assert await pool.execute("SELECT 1") == "SELECT 1"
        await pool.expire_connections()
        assert await pool.execute("SELECT 1") == "SELECT 1"


async def no_reset(session: Any) -> None:
    """The server of this file does not know the queries that reset a session."""


async def test_errors_are_os_errors_with_the_report(one: pvdrace.Connector) -> None:
    hole = BlackHole("127.0.0.2", 0)
    port = hole.socks[0].getsockname()[1]
    with closing(hole), pytest.raises(OSError, match="timeout") as raised:
        await asyncpg.connect(
            host=HOST, port=port, loop=RacingLoop(connector=one, timeout=0.1), ssl=False, **LOGIN
        )
    assert pvdrace.report_of(raised.value) is not None
    loop = RacingLoop(connector=one)
    loop.policy = pvdrace.Policy(prohibit=["pvd:a"])
    with pytest.raises(OSError, match="prohibited by pvd:a"):
        await asyncpg.connect(host=HOST, port=port, loop=loop, ssl=False, **LOGIN)


async def test_a_server_that_speaks_first_loses_no_word(
    one: pvdrace.Connector, authority: trustme.CA
) -> None:
    """Its words, and its end, come before the client's protocol does."""

    class Words(asyncio.Protocol):
        def __init__(self) -> None:
            self.told: list[bytes] = []
            self.over = asyncio.get_running_loop().create_future()

        def data_received(self, data: bytes) -> None:
            self.told.append(data)

        def connection_lost(self, error: Exception | None) -> None:
            self.over.set_result(None)

    loop = RacingLoop(connector=one)
    for context in (None, certificate_for(authority, HOST)):
        server = Server("127.0.0.2", word=b"220 mail\r\n", context=context)
        options = {"ssl": trusting(authority)} if context else {}
        with closing(server):
            transport, protocol = await loop.create_connection(Words, HOST, server.port, **options)
            assert isinstance(protocol, Words)
            await asyncio.wait_for(protocol.over, 5)
            transport.abort()
        assert b"".join(protocol.told) == b"220 mail\r\n"


async def test_all_else_is_the_loop_that_runs(one: pvdrace.Connector) -> None:
    loop, own = RacingLoop(connector=one), asyncio.get_running_loop()
    assert loop.time() - own.time() < 60
    assert loop.create_future().get_loop() is own
    assert loop.is_running()
    with pytest.raises(TypeError, match=r"must be a pvdrace\.Connector"):
        RacingLoop(connector=pvdrace.sync.Connector())  # type: ignore[arg-type]
