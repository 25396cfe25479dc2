"""redis-py's pools where it matters: several links, a portal in front.

The lab's server speaks no Redis: here connections are made, and what is said on them is another test's.
"""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
import redis
import redis.asyncio
import redis.asyncio.retry
from redis.backoff import NoBackoff
from redis.retry import Retry

import pvdrace
import pvdrace.sync
from lab.racing import configuration, opened, policy, sent
from pvdrace.integrations.redis import AsyncPvdConnectionPool, PvdConnectionPool
from pvdrace.lab import Lab

pytestmark = [pytest.mark.anyio, pytest.mark.lab, pytest.mark.parametrize("kind", ["asyncio", "blocking"])]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def once(connection: Any) -> None:
    """In the place of redis-py's first words to a server."""
    connection._parser.on_connect(connection)


async def winner(lab: Lab, kind: str, port: int, **options: Any) -> str:
    """The PvD of a connection that the pool has made."""
    options = {"host": lab.name, "port": port, "redis_connect_func": once, **options}
    if port == 443:
        options |= {"ssl": True, "ssl_ca_certs": lab.ca_file}
    connection: Any
    if kind == "asyncio":
        options["retry"] = redis.asyncio.retry.Retry(NoBackoff(), 0)
        async with opened(lab) as connector, AsyncPvdConnectionPool(connector=connector, **options) as pool:
            connection = await pool.get_connection()
    else:
        options["retry"] = Retry(NoBackoff(), 0)
        with (
            pvdrace.sync.Connector(configuration(lab)) as own,
            contextlib.closing(PvdConnectionPool(connector=own, **options)) as blocking,
        ):
            connection = blocking.get_connection()
    return str(connection.report.winner.pvd)


async def test_a_dead_default_link_is_survived(t2: Lab, kind: str) -> None:
    t2["wA"].blackhole()
    for port in (80, 443):
        assert await winner(t2, kind, port) == "wB"


@pytest.mark.parametrize("fault", ["portal", "stall"])
async def test_what_goes_wrong_at_tls_does_not_win(t2: Lab, kind: str, fault: str) -> None:
    getattr(t2["wA"], fault)()
    assert await winner(t2, kind, 443) == "wB"


async def test_require_sends_nothing_elsewhere(t2: Lab, kind: str) -> None:
    for port in (80, 443):
        assert await winner(t2, kind, port, policy=policy(require="pvd:wB")) == "wB"
    assert sent(t2["wA"]) == []


async def test_require_fails_closed(t2: Lab, kind: str) -> None:
    t2["wB"].blackhole()
    with pytest.raises(redis.exceptions.TimeoutError) as raised:
        await winner(t2, kind, 443, policy=policy(require="pvd:wB"), socket_connect_timeout=0.6)
    assert raised.value.report is pvdrace.report_of(raised.value)  # type: ignore[attr-defined]
    assert sent(t2["wA"]) == []
