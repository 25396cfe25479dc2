"""The asynchronous network backend of httpcore2 and httpcore, and its streams."""

from __future__ import annotations

import logging
import socket
import ssl
import weakref
from typing import TYPE_CHECKING, Any, ClassVar

import anyio
from anyio.abc import SocketAttribute
from anyio.streams.tls import TLSAttribute, TLSStream

from ..calls import check_kind
from ..connector import Connector
from ..default import default_connector
from ._httpcore import (
    LOST,
    Setting,
    check_source,
    connect_error,
    is_readable,
    retire,
    stream_of,
    to_retire,
)
from ._options import check_options

if TYPE_CHECKING:
    from collections.abc import Iterable

    from anyio.abc import ByteStream

    from ..connection import Connection
    from ..paths import Path
    from ..policy import Policy
    from ..provisional import Provisional
    from ..race.report import RaceReport
    from ._httpcore import SocketOption, Words


log = logging.getLogger("pvdrace")

_BROKEN = (anyio.BrokenResourceError, anyio.ClosedResourceError, ssl.SSLError, OSError)


class AsyncBackend(Setting):
    """A network backend of the core that races, for ``AsyncConnectionPool(network_backend=...)``.

    ``connector``: whose PvDs, caches and policy to use (this thread's default one if None); it is not closed
    here. ``policy`` and ``label`` as in `Connector.open_connection`; ``policy`` may be set later.
    """

    _words: ClassVar[Words]
    _stream_class: ClassVar[type[AsyncStream]]

    def __init__(
        self, connector: Connector | None = None, *, policy: Policy | None = None, label: str | None = None
    ) -> None:
        super().__init__(policy, label)
        check_kind(connector, Connector)
        self._connector = connector
        self._fresh: weakref.WeakSet[AsyncStream] = weakref.WeakSet()

    @property
    def connector(self) -> Connector:
        """Whose PvDs are used."""
        return self._connector or default_connector()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[SocketOption] | None = None,
    ) -> Any:
        """Race to the first transport handshake; what is done with the stream first decides what follows.

        ``start_tls``: TLS is a stage of the race, so a path that fails at TLS loses, and the race goes on. To
        read or to write: the handshake has won. ``timeout`` (seconds) is for the whole race.
        ``local_address``: of which PvD's network to come. ``socket_options`` are set when the race is won.

        Raises the core's ``ConnectError`` or ``ConnectTimeout``, with ``.report``; ValueError for options
        that a race cannot have.
        """
        options = list(socket_options or ())
        check_options(options)
        source = check_source(local_address) or self.source
        connector = self.connector
        try:
            provisional = await connector.begin(
                host, port, policy=self.policy, label=self.label, timeout=timeout, source=source
            )
        except LOST as error:
            raise connect_error(self._words, error) from error
        stream = self._stream_class(self, connector, host, options, provisional)
        self._fresh.add(stream)
        return stream

    async def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[SocketOption] | None = None
    ) -> Any:
        """As the core's own backend."""
        ordinary = self._words.core.AnyIOBackend()
        return await ordinary.connect_unix_socket(path, timeout=timeout, socket_options=socket_options)

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await anyio.sleep(seconds)

    async def prune(self, pool: Any) -> None:
        """Let go of a pool's connections that may not be used any more: of a PvD that has gone, is a portal
        now, or that the policy as it is now forbids. Those that are idle are closed now, others when their
        last request is done. A transport does this before each request.
        """
        if not pool.connections:
            return
        try:
            await self.connector.snapshot()
        except OSError:
            log.exception("no new look at the provisioning domains: the last one has to do")
        for connection in list(to_retire(pool)):
            retire(connection)
            if connection.is_idle():
                with anyio.CancelScope(shield=True):
                    await connection.aclose()

    async def tidy(self, pool: Any) -> None:
        """Close what a request of this task has connected and, cancelled or failed, will never use.

        The core keeps a connection for good whose request was cancelled before its first byte; those of
        HTTP/2 are idle then, and good for the next request.
        """
        task = anyio.get_current_task().id
        for stream in [stream for stream in self._fresh if stream.task == task]:
            self._fresh.discard(stream)
            if (tls := stream.get_extra_info("ssl_object")) and tls.selected_alpn_protocol() == "h2":
                continue
            owner = next((c for c in pool.connections if stream_of(c) is stream), stream)
            with anyio.CancelScope(shield=True):
                await owner.aclose()


class AsyncStream:
    """A network stream of the core: a race that is not over until the stream is first used.

    ``task`` is the one that has asked for it.
    """

    def __init__(
        self,
        backend: AsyncBackend,
        connector: Connector,
        host: str,
        options: list[SocketOption],
        provisional: Provisional,
    ) -> None:
        self._backend = backend
        self._connector = connector
        self._host = host
        self._options = options
        self.task = anyio.get_current_task().id
        self._provisional: Provisional | None = provisional
        self._stream: ByteStream | None = None  # to read and to write
        self._outermost: ByteStream | None = None  # to close
        self._path: Path | None = None
        self._report: RaceReport | None = None

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """At most ``max_bytes`` bytes; none at the end."""
        stream = self._stream or await self._settle()
        core = self._backend._words.core
        try:
            with anyio.fail_after(timeout):
                return await stream.receive(max_bytes)
        except anyio.EndOfStream:
            return b""
        except TimeoutError as error:
            raise core.ReadTimeout(str(error)) from error
        except _BROKEN as error:
            raise core.ReadError(str(error)) from error

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send all the bytes."""
        if not buffer:
            return
        self._backend._fresh.discard(self)
        stream = self._stream or await self._settle()
        core = self._backend._words.core
        try:
            with anyio.fail_after(timeout):
                await stream.send(buffer)
        except TimeoutError as error:
            raise core.WriteTimeout(str(error)) from error
        except (*_BROKEN, anyio.EndOfStream) as error:
            raise core.WriteError(str(error)) from error

    async def aclose(self) -> None:
        """Close it, or give the race up."""
        if self._provisional is not None:
            await self._provisional.aclose()
        elif self._outermost is not None:
            await self._outermost.aclose()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> Any:
        """TLS: a stage of the race, or inside of what was used already (through a proxy) on this stream."""
        if self._provisional is not None:
            provisional, self._provisional = self._provisional, None
            name = None if server_hostname == self._host else server_hostname
            try:
                await self._won(await provisional.secure(ssl_context, name))
            except LOST as error:
                raise connect_error(self._backend._words, error) from error
        else:
            self._stream = self._outermost = await self._wrap(ssl_context, server_hostname, timeout)
        return self

    def get_extra_info(self, info: str) -> Any:
        """``ssl_object``, ``client_addr``, ``server_addr``, ``socket`` and ``is_readable`` as of the core.

        ``pvdrace.report``: the `RaceReport`, when the race is over. In a pool that nobody prunes,
        ``is_readable`` is also true of a connection that may not be used any more: so the pool closes it.
        """
        if info == "pvdrace.report":
            return self._report
        stream = self._stream
        if stream is None:
            return None
        match info:
            case "ssl_object":
                return stream.extra(TLSAttribute.ssl_object, None)
            case "client_addr":
                return stream.extra(SocketAttribute.local_address, None)
            case "server_addr":
                return stream.extra(SocketAttribute.remote_address, None)
            case "socket":
                return stream.extra(SocketAttribute.raw_socket, None)
            case "is_readable":
                sock = stream.extra(SocketAttribute.raw_socket, None)
                return is_readable(sock) or (not self._backend.pruned and self.objection() is not None)
        return None

    def objection(self) -> str | None:
        """Why it may not be used again, by the last snapshot; None if it may."""
        if self._path is None:
            return None
        try:
            return self._connector.objection(self._path.under(self._backend.policy))
        except RuntimeError:
            return "its connector was closed"

    async def _settle(self) -> ByteStream:
        provisional, self._provisional = self._provisional, None
        if provisional is None:
            raise self._backend._words.core.ReadError("the race for this connection was lost or given up")
        try:
            return await self._won(await provisional.settle())
        except LOST as error:
            raise connect_error(self._backend._words, error) from error

    async def _won(self, connection: Connection) -> ByteStream:
        sock = connection.extra(SocketAttribute.raw_socket)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # as the core's own backends
            for option in self._options:
                sock.setsockopt(*option)
        except BaseException:
            with anyio.CancelScope(shield=True):
                await connection.aclose()
            raise
        self._report, self._path = connection.report, connection.path
        self._outermost = connection
        self._stream = connection.stream
        return connection.stream

    async def _wrap(
        self, context: ssl.SSLContext, server_hostname: str | None, timeout: float | None
    ) -> ByteStream:
        core, stream = self._backend._words.core, self._outermost
        if stream is None:
            raise core.ConnectError("the race for this connection was lost or given up")
        try:
            with anyio.fail_after(timeout):
                return await TLSStream.wrap(
                    stream,
                    server_side=False,
                    hostname=server_hostname,
                    ssl_context=context,
                    standard_compatible=False,
                )
        except BaseException as error:
            with anyio.CancelScope(shield=True):
                await anyio.aclose_forcefully(stream)
            if isinstance(error, TimeoutError):
                raise core.ConnectTimeout(str(error)) from error
            if isinstance(error, (*_BROKEN, anyio.EndOfStream)):
                raise core.ConnectError(str(error)) from error
            raise
