"""redis-py, asynchronous and blocking: a path is a key, a body the argument of a command of the lab's server.

One client for each service, as a pool of redis-py's has but one.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.parse import urlsplit

import redis
import redis.asyncio
import redis.asyncio.retry
from redis.backoff import NoBackoff
from redis.retry import Retry

import pvdrace
from lab.clients.base import Client
from pvdrace.integrations.redis import (
    AsyncPvdConnectionPool,
    AsyncPvdSSLConnection,
    PvdConnectionPool,
    PvdSSLConnection,
)


def outspoken(context: ssl.SSLContext) -> ssl.SSLContext:
    """With ALPN: without, the lab's server takes who is silent for a moment for somebody else."""
    context.set_alpn_protocols(["http/1.1"])
    return context


class OutspokenAsync(AsyncPvdSSLConnection):
    def _connection_arguments(self) -> Any:
        arguments: Any = super()._connection_arguments()
        return {**arguments, "ssl": outspoken(arguments["ssl"])}


class Outspoken(PvdSSLConnection):
    def _context(self) -> ssl.SSLContext:
        return outspoken(super()._context())


class RedisSession:
    """``pools`` is what `pool` has made, by scheme, host and port."""

    def __init__(self, ca_file: str, policy: pvdrace.Policy | None, **options: Any) -> None:
        self.ca_file = ca_file
        self.policy = policy
        self.options = options
        self.pools: dict[tuple[str, str, int], Any] = {}

    def get(self, url: str) -> Any:
        return self.ask(url, "GET", "/" + url.split("/", 3)[3])

    def put(self, url: str, body: bytes) -> Any:
        return self.ask(url, "SHA256", body)

    def set_policy(self, policy: pvdrace.Policy | None) -> None:
        self.policy = policy
        for pool in self.pools.values():
            pool.policy = policy

    def ask(self, url: str, command: str, argument: str | bytes) -> Any:
        raise NotImplementedError

    def pool(self, url: str, kind: Any, secure: Any) -> Any:
        parts = urlsplit(url)
        tls = parts.scheme == "https"
        key = (parts.scheme, str(parts.hostname), parts.port or (443 if tls else 80))
        if key not in self.pools:
            options = dict(self.options, host=key[1], port=key[2], policy=self.policy)
            if tls:
                options |= {"ssl": True, "ssl_ca_certs": self.ca_file, "ssl_check_hostname": True}
            self.pools[key] = kind(**options)
            if tls:
                self.pools[key].connection_class = secure
        return self.pools[key]


class AsyncRedisSession(RedisSession):
    async def ask(self, url: str, command: str, argument: str | bytes) -> Any:
        pool = self.pool(url, AsyncPvdConnectionPool, OutspokenAsync)
        client: Any = redis.asyncio.Redis(connection_pool=pool)
        return await client.execute_command(command, argument)


class BlockingRedisSession(RedisSession):
    def ask(self, url: str, command: str, argument: str | bytes) -> Any:
        pool = self.pool(url, PvdConnectionPool, Outspoken)
        client: Any = redis.Redis(connection_pool=pool)
        return client.execute_command(command, argument)


class AsyncRedis:
    name = "redis"
    blocking = False
    backends = ("asyncio",)
    pools = True
    watches = False
    errors: tuple[type[Exception], ...] = (redis.exceptions.ConnectionError,)
    timeouts: tuple[type[Exception], ...] = (redis.exceptions.TimeoutError,)
    resumes_tls = True
    proxied = False

    @contextlib.asynccontextmanager
    async def open(
        self, connector: pvdrace.Connector, ca_file: str, *, policy: pvdrace.Policy | None, timeout: float
    ) -> AsyncIterator[AsyncRedisSession]:
        session = AsyncRedisSession(
            ca_file,
            policy,
            connector=connector,
            socket_connect_timeout=timeout,
            protocol=2,
            retry=redis.asyncio.retry.Retry(NoBackoff(), 0),
        )
        try:
            yield session
        finally:
            for pool in session.pools.values():
                await pool.aclose()


class BlockingRedis(AsyncRedis):
    name = "redis-blocking"
    blocking = True

    @contextlib.contextmanager
    def open(  # type: ignore[override]
        self, connector: Any, ca_file: str, *, policy: pvdrace.Policy | None, timeout: float
    ) -> Iterator[BlockingRedisSession]:
        session = BlockingRedisSession(
            ca_file,
            policy,
            connector=connector,
            socket_connect_timeout=timeout,
            protocol=2,
            retry=Retry(NoBackoff(), 0),
        )
        try:
            yield session
        finally:
            for pool in session.pools.values():
                pool.close()


CLIENTS: list[Client] = [AsyncRedis(), BlockingRedis()]
