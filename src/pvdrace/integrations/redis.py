"""redis-py over provisioning domains: connection pools each of whose connections is won in a race.

::

    pool = AsyncPvdConnectionPool.from_url("rediss://cache.example.com")
    async with redis.asyncio.Redis.from_pool(pool) as client:
        await client.set("key", "value")

`PvdConnectionPool` is the same for `redis.Redis`, by `pvdrace.sync`. TLS is a stage of the race. A pooled
connection whose provisioning domain has gone, is behind a portal or is forbidden by now is not used again.

redis-py documents that a pool has a ``connection_class``; what a connection overrides is not documented:
``_connect``, ``_connection_arguments``. Made for redis-py 5.2 and later.
"""

from __future__ import annotations

import inspect
import os
import socket
from typing import TYPE_CHECKING, Any, ClassVar

import redis
import redis.asyncio
import redis.asyncio.connection
import redis.connection
import redis.exceptions

from .. import sync
from ..calls import check_kind, check_label, check_policy, timed_out
from ..connector import Connector
from ..default import given_or_default
from ..errors import ConnectFailed, report_of
from ..paths import Path
from .asyncio import open_connection

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable

    from ..policy import Policy
    from ..race.report import RaceReport

for _class, _hook in (
    (redis.Connection, "_connect"),
    (redis.asyncio.Connection, "_connect"),
    (redis.asyncio.SSLConnection, "_connection_arguments"),
    (redis.asyncio.connection.RedisSSLContext, "get"),
):
    if not hasattr(_class, _hook):
        raise ImportError(
            f"redis {redis.__version__} has no {_class.__name__}.{_hook}: 5.2 or later is needed"
        )


class _Racing:
    """How the connections of a pool are made."""

    def __init__(self, connector: Any, policy: Policy | None, label: str | None) -> None:
        self.connector = connector
        self.policy = check_policy(policy)
        self.label = check_label(label)

    def options(self, timeout: float | None) -> dict[str, Any]:
        return {"policy": self.policy, "label": self.label, "timeout": timeout}

    def now(self, path: Path | None) -> Path | None:
        """The path, asked about under the policy of now."""
        return path.under(self.policy) if path is not None else None


class _RacedPool:
    """What both pools have in common."""

    _classes: ClassVar[dict[Any, Any]]

    def __init__(
        self,
        connection_class: Any = None,
        *arguments: Any,
        connector: Any = None,
        policy: Policy | None = None,
        label: str | None = None,
        **options: Any,
    ) -> None:
        self._racing = _Racing(self._fitting(connector), policy, label)
        plain, secure = self._classes
        connection_class = secure if options.pop("ssl", False) else connection_class or plain
        if connection_class not in self._classes:
            raise ValueError(f"connection_class={connection_class.__name__} cannot be raced")
        options["racing"] = self._racing
        super().__init__(self._classes[connection_class], *arguments, **options)  # type: ignore[call-arg]

    def _fitting(self, connector: Any) -> Any:
        raise NotImplementedError

    @property
    def policy(self) -> Policy | None:
        """The policy of its connections; after a change, one that it now forbids is not used again."""
        return self._racing.policy

    @policy.setter
    def policy(self, policy: Policy | None) -> None:
        self._racing.policy = check_policy(policy)

    def _idle(self) -> Iterable[Any]:
        return list(getattr(self, "_available_connections", ()))


class _Raced:
    """What a connection of either kind remembers; ``report`` is that of the race that it has won."""

    host: str
    port: int
    socket_connect_timeout: float | None
    socket_keepalive: bool
    socket_keepalive_options: Any

    def __init__(self, *, racing: _Racing, **options: Any) -> None:
        self._racing = racing
        self._path: Path | None = None
        self.report: RaceReport | None = None
        super().__init__(**options)

    def _set_up(self, sock: socket.socket) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.socket_keepalive:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for option, value in (self.socket_keepalive_options or {}).items():
                sock.setsockopt(socket.IPPROTO_TCP, option, value)


# ---------------------------------------------------------------------- asyncio


class _AsyncRaced(_Raced):
    is_connected: bool

    async def connect(self) -> None:
        """As redis-py; first it closes a connection that may not be used any more."""
        await self.close_if_unfit()
        try:
            await super().connect()  # type: ignore[misc]
        except redis.exceptions.RedisError as error:
            _tell(error)
            raise

    async def close_if_unfit(self) -> None:
        path = self._racing.now(self._path)
        if path is None or not self.is_connected:
            return
        connector = given_or_default(self._racing.connector)
        await connector.snapshot()
        if connector.objection(path):
            # Where nobody answers any more, TLS would wait for half a minute to be closed in due form.
            self._writer.transport.abort()  # type: ignore[attr-defined]
            await self.disconnect(nowait=True)  # type: ignore[attr-defined]

    async def _connect(self) -> None:
        arguments = dict(self._connection_arguments())  # type: ignore[attr-defined]
        try:
            reader, writer = await open_connection(
                arguments.pop("host"),
                arguments.pop("port"),
                connector=self._racing.connector,
                **self._racing.options(self.socket_connect_timeout),
                **arguments,
            )
        except ConnectFailed as error:
            if timed_out(error.report):
                raise TimeoutError(str(error)) from error
            raise
        try:
            self._set_up(writer.get_extra_info("socket"))
        except (OSError, TypeError):
            writer.transport.abort()
            raise
        setattr(self, "_reader", reader)  # noqa: B010  (so that mypy looks for them where they are declared)
        setattr(self, "_writer", writer)  # noqa: B010
        self.report = writer.get_extra_info("pvdrace.report")
        assert self.report is not None
        self._path = Path.of(self.report, policy=self._racing.policy, label=self._racing.label)


class AsyncPvdConnection(_AsyncRaced, redis.asyncio.Connection):
    """A `redis.asyncio.Connection` that is won in a race; `AsyncPvdConnectionPool` makes it."""


class AsyncPvdSSLConnection(_AsyncRaced, redis.asyncio.SSLConnection):
    """A `redis.asyncio.SSLConnection` that is won in a race, TLS included."""


class AsyncPvdConnectionPool(_RacedPool, redis.asyncio.ConnectionPool):
    """As `redis.asyncio.ConnectionPool`, also by ``from_url``; ``ssl=True`` is for TLS.

    ``connector``: whose PvDs, caches and policy to use (the default one of the thread if None); ``policy``
    (which may be set anew) and ``label`` as in `pvdrace.Connector.open_connection`.
    ``socket_connect_timeout`` is for the whole race. redis-py's own ``retry`` may race again.

    Errors are redis-py's: `redis.exceptions.ConnectionError`, `redis.exceptions.TimeoutError`, with the
    ``report``. Raises TypeError for a connector that blocks, ValueError for what cannot be raced.
    """

    _classes: ClassVar = {
        redis.asyncio.Connection: AsyncPvdConnection,
        redis.asyncio.SSLConnection: AsyncPvdSSLConnection,
    }

    def _fitting(self, connector: Any) -> Any:
        check_kind(connector, Connector)
        return connector

    async def get_connection(self, *arguments: Any, **options: Any) -> Any:
        """As redis-py; idle connections that may not be used any more are closed first."""
        for connection in self._idle():
            await connection.close_if_unfit()
        return await super().get_connection(*arguments, **options)  # type: ignore[no-untyped-call]


# ---------------------------------------------------------------------- blocking


class _BlockingRaced(_Raced):
    _sock: Any

    def connect(self) -> None:
        """As redis-py; first it closes a connection that may not be used any more."""
        self.close_if_unfit()
        try:
            super().connect()  # type: ignore[misc]
        except redis.exceptions.RedisError as error:
            _tell(error)
            raise

    def close_if_unfit(self) -> None:
        path = self._racing.now(self._path)
        if path is not None and self._sock is not None and self._connector().objection(path):
            self.disconnect()  # type: ignore[attr-defined]

    def _connector(self) -> sync.Connector:
        return self._racing.connector or sync.default_connector()

    def _connect(self) -> socket.socket:
        try:
            connection = self._connector().open_connection(
                self.host,
                self.port,
                tls=self._context() or False,
                **self._racing.options(self.socket_connect_timeout),
            )
        except ConnectFailed as error:
            if timed_out(error.report):
                raise TimeoutError(str(error)) from error
            raise
        try:
            self._set_up(connection.sock)
            connection.sock.settimeout(self.socket_timeout)  # type: ignore[attr-defined]
        except (OSError, TypeError):
            connection.close()
            raise
        self._path, self.report = connection.path, connection.report
        return connection.sock

    def _context(self) -> ssl.SSLContext | None:
        return None


class PvdConnection(_BlockingRaced, redis.Connection):
    """A `redis.Connection` that is won in a race; `PvdConnectionPool` makes it."""


class PvdSSLConnection(_BlockingRaced, redis.SSLConnection):
    """A `redis.SSLConnection` that is won in a race, TLS included."""

    def _context(self) -> ssl.SSLContext:
        """The context that redis-py would make: the one that it makes on asyncio from the same options."""
        kind: Any = redis.asyncio.connection.RedisSSLContext
        names = {
            "min_version": "ssl_min_version",
            "ciphers": "ssl_ciphers",
            "password": "certificate_password",
        }
        names |= {f"{which}_verify_flags": f"ssl_{which}_verify_flags" for which in ("include", "exclude")}
        options = {
            name: getattr(self, names.get(name, name), None)
            for name in inspect.signature(kind).parameters
            if name != "cert_reqs"
        }
        made = kind(**options)
        made.cert_reqs = self.cert_reqs
        if getattr(self, "ca_path", None) and "ca_path" not in options:
            raise ValueError(f"ssl_ca_path cannot be used with redis {redis.__version__}: use ssl_ca_certs")
        context: ssl.SSLContext = made.get()
        return context


class PvdConnectionPool(_RacedPool, redis.ConnectionPool):
    """As `redis.ConnectionPool`, for `redis.Redis`; else as `AsyncPvdConnectionPool`.

    ``connector`` is a `pvdrace.sync.Connector`. OCSP (``ssl_validate_ocsp``) and ``cache_config`` are a
    ValueError.
    """

    _classes: ClassVar = {redis.Connection: PvdConnection, redis.SSLConnection: PvdSSLConnection}

    def __init__(self, *arguments: Any, **options: Any) -> None:
        for name in ("ssl_validate_ocsp", "ssl_validate_ocsp_stapled", "cache", "cache_config"):
            if options.get(name):
                raise ValueError(f"{name}= is not supported where connections are raced")
        super().__init__(*arguments, **options)

    def _fitting(self, connector: Any) -> Any:
        check_kind(connector, sync.Connector)
        return connector

    def get_connection(self, *arguments: Any, **options: Any) -> Any:
        """As redis-py; idle connections that may not be used any more are closed first."""
        if self.pid == os.getpid():  # else they are a parent's, and redis-py is about to forget them
            with self._lock:  # nobody takes one out meanwhile
                for connection in self._idle():
                    connection.close_if_unfit()
        return super().get_connection(*arguments, **options)


# ---------------------------------------------------------------------- errors


def _tell(error: redis.exceptions.RedisError) -> None:
    if (report := report_of(error)) is not None:
        error.report = report  # type: ignore[attr-defined]
