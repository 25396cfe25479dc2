"""redis-py's pools, on asyncio and blocking, with a server that knows a few commands."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anyio.to_thread
import pytest
import redis
import redis.asyncio
import trustme

import pvdrace
import pvdrace.sync
from loopback import HOST, BlackHole, Dns, Server, certificate_for, closing, pvds
from pvdrace.integrations.redis import AsyncPvdConnectionPool, PvdConnectionPool
from resp import Redis, serving

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def dns() -> Iterator[Dns]:
    server = Dns({(HOST, "AAAA"): [], (HOST, "A"): ["127.0.0.2"]})
    with closing(server):
        yield server


class Client:
    """Either kind, in one shape."""

    def __init__(self, kind: str, config: Any) -> None:
        self.kind = kind
        self.config = config

    @contextlib.asynccontextmanager
    async def pool(self, url: str | None = None, **options: Any) -> Any:
        options = {"protocol": 2, "host": HOST, **options}
        make: Any
        if self.kind == "asyncio":
            async with pvdrace.Connector(self.config) as connector:
                make = AsyncPvdConnectionPool
                pool = (
                    make.from_url(url, connector=connector, **options)
                    if url
                    else make(connector=connector, **options)
                )
                yield pool
                await pool.disconnect()
        else:
            with pvdrace.sync.Connector(self.config) as own:
                make = PvdConnectionPool
                pool = make.from_url(url, connector=own, **options) if url else make(connector=own, **options)
                yield pool
                pool.disconnect()

    async def do(self, pool: Any, *words: str) -> Any:
        if self.kind == "asyncio":
            own: Any = redis.asyncio.Redis(connection_pool=pool)
            return await own.execute_command(*words)
        run: Any = redis.Redis(connection_pool=pool).execute_command
        return await anyio.to_thread.run_sync(lambda: run(*words))


@pytest.fixture(params=["asyncio", "blocking"])
def client(request: pytest.FixtureRequest, dns: Dns) -> Client:
    return Client(request.param, pvds(dns))


async def test_commands_over_a_connection_that_is_kept(client: Client) -> None:
    with serving(Redis("127.0.0.2")) as server:
        async with client.pool(port=server.server_address[1]) as pool:
            assert await client.do(pool, "SET", "key", "value")
            assert await client.do(pool, "GET", "key") == b"value"
        assert len(server.peers) == 1


async def test_a_url_and_tls_as_a_stage_of_the_race(
    client: Client, dns: Dns, authority: trustme.CA, tmp_path: Any
) -> None:
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    intercepted = Dns({(HOST, "AAAA"): [], (HOST, "A"): ["127.0.0.3"]})
    client.config = pvds(intercepted, dns)
    with serving(Redis("127.0.0.2", 0, certificate_for(authority, HOST))) as server:
        port = server.server_address[1]
        wrong = Server("127.0.0.3", port, context=certificate_for(trustme.CA(), HOST))
        with closing(intercepted, wrong):
            async with client.pool(f"rediss://{HOST}:{port}/", ssl_ca_certs=str(tmp_path / "ca.pem")) as pool:
                assert await client.do(pool, "PING")
            async with client.pool(port=port, ssl=True) as pool:
                with pytest.raises(redis.exceptions.ConnectionError, match="wrong certificate"):
                    await client.do(pool, "PING")


async def test_a_connection_that_policy_now_forbids_is_closed(client: Client, dns: Dns) -> None:
    other = Dns(dns.answers)
    client.config = pvds(dns, other)
    with serving(Redis("127.0.0.2")) as server, closing(other):
        async with client.pool(port=server.server_address[1], policy=pvdrace.Policy(avoid=["pvd:b"])) as pool:
            assert await client.do(pool, "PING")
            pool.policy = pvdrace.Policy(prohibit=["pvd:a"])
            assert await client.do(pool, "PING")
            assert len(server.peers) == 2
            assert await client.do(pool, "PING")
            assert len(server.peers) == 2, "the second one may stay"
            pool.policy = pvdrace.Policy(prohibit=["pvd:a", "pvd:b"])
            with pytest.raises(redis.exceptions.ConnectionError, match="prohibited by pvd:a") as raised:
                await client.do(pool, "PING")
            assert raised.value.report is pvdrace.report_of(raised.value)  # type: ignore[attr-defined]


def test_no_thread_takes_a_connection_while_those_that_idle_are_looked_at(dns: Dns) -> None:
    """Else it could be closed in its hands."""
    with serving(Redis("127.0.0.2")) as server, pvdrace.sync.Connector(pvds(dns)) as connector:
        pool: Any = PvdConnectionPool(
            host=HOST, port=server.server_address[1], connector=connector, protocol=2
        )
        with contextlib.closing(pool), ThreadPoolExecutor(1) as other:
            # Before 5.3 it has to be told for which command.
            told = ["PING"] if redis.__version__ < "5.3" else []
            pool.release(pool.get_connection(*told))
            (idle,) = pool._available_connections
            free: list[bool] = []

            def taken() -> bool:
                got: bool = pool._lock.acquire(False)
                if got:
                    pool._lock.release()
                return got

            def look() -> None:
                free.append(other.submit(taken).result())

            idle.close_if_unfit = look
            assert pool.get_connection(*told) is idle
    assert not free[0]  # it is asked again on its way out, and belongs to this thread by then


async def test_time_is_for_the_whole_race(client: Client) -> None:
    hole = BlackHole("127.0.0.2", 0)
    port = hole.socks[0].getsockname()[1]
    with closing(hole):
        async with client.pool(port=port, socket_connect_timeout=0.1) as pool:
            with pytest.raises(redis.exceptions.TimeoutError) as raised:
                await client.do(pool, "PING")
    report = pvdrace.report_of(raised.value)
    assert report is not None
    assert report.attempts[0].remote == "127.0.0.2"


def test_what_cannot_be_raced_is_refused() -> None:
    with pytest.raises(ValueError, match="UnixDomainSocketConnection cannot be raced"):
        AsyncPvdConnectionPool(redis.asyncio.UnixDomainSocketConnection)
    with pytest.raises(ValueError, match="ssl_validate_ocsp= is not supported"):
        PvdConnectionPool(ssl=True, ssl_validate_ocsp=True)
    with pytest.raises(TypeError, match=r"must be a pvdrace\.Connector"):
        AsyncPvdConnectionPool(connector=pvdrace.sync.Connector())
    with pytest.raises(TypeError, match=r"must be a pvdrace\.sync\.Connector"):
        PvdConnectionPool(connector=pvdrace.Connector())
