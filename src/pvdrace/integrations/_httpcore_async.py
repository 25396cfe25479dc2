"""The asynchronous adapters for httpx2 and httpx: network backend, network stream, transport."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import ssl
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, ClassVar

import anyio
from anyio.abc import SocketAttribute
from anyio.streams.tls import TLSAttribute, TLSStream

from ..connector import Connector
from ..default import default_connector
from ._httpcore import (
    LOST,
    Setting,
    Tracing,
    check_options,
    check_source,
    check_transport_options,
    connect_error,
    explain,
    is_readable,
    retire,
    take_pool,
    to_retire,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
    from types import TracebackType
    from typing import Self

    from anyio.abc import ByteStream

    from ..connection import Connection
    from ..paths import Path
    from ..policy import Policy
    from ..provisional import Provisional
    from ..race.report import RaceReport
    from ._httpcore import SocketOption, Words

    class _Transport:
        """What the transports of both clients have."""

        def __init__(self, **options: Any) -> None: ...
        async def handle_async_request(self, request: Any) -> Any: ...
        async def __aenter__(self) -> Any: ...
        async def __aexit__(self, *error: Any) -> None: ...
        async def aclose(self) -> None: ...
else:
    _Transport = object

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
        if connector is not None and not isinstance(connector, Connector):
            raise TypeError(f"connector must be a pvdrace.Connector (asynchronous), not {connector!r}")
        self._connector = connector

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
        options = check_options(socket_options)
        source = check_source(local_address)
        connector = self.connector
        try:
            provisional = await connector.begin(
                host, port, policy=self.policy, label=self.label, timeout=timeout, source=source
            )
        except LOST as error:
            raise connect_error(self._words, error) from error
        return self._stream_class(self, connector, host, options, provisional)

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


class AsyncStream:
    """A network stream of the core: a race that is not over until the stream is first used."""

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

        ``pvdrace.report``: the `RaceReport`, when the race is over. ``is_readable`` is also true of a
        connection that may not be used any more: that is how the pool is made to throw it away.
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
                return is_readable(sock) or self.objection() is not None
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


class AsyncTracing(Tracing):
    """A trace extension's function for asynchronous requests, with the races among what it is told.

    The core forgets a stream that it has just been given if the function is cancelled then: closed here.
    """

    async def __call__(self, name: str, info: dict[str, Any]) -> None:
        """As the core calls it."""
        try:
            for event, details in self._news(info):
                await self._trace(event, details)
            await self._trace(name, info)
        except BaseException:
            stream = info.get("return_value")
            if isinstance(stream, AsyncStream):
                with anyio.CancelScope(shield=True):
                    await stream.aclose()
            raise


class AsyncTransport(_Transport):
    """The client's own transport over connections that are won in races.

    ``connector``: whose PvDs, caches and policy to use (this thread's default one if None); it is not closed
    with the transport. ``policy`` and ``label`` as in `Connector.open_connection`; ``policy`` may be set
    later. All else is the client's own, and has the client's meaning. ``connect`` of the client's timeouts is
    for the whole race, TLS included. What is raised is the client's own, with the report of the race as
    ``.report``.

    Used as a context manager, as a client does that is one, it also closes idle connections at once when
    their PvD goes or is a portal; otherwise before the next request.

    Raises ValueError for ``socket_options`` that choose a path and a ``local_address`` that is none.
    """

    _words: ClassVar[Words]
    _backend_class: ClassVar[type[AsyncBackend]]

    def __init__(
        self,
        *,
        connector: Connector | None = None,
        policy: Policy | None = None,
        label: str | None = None,
        **options: Any,
    ) -> None:
        backend = self._backend_class(connector, policy=policy, label=label)
        check_transport_options(options)
        super().__init__(**options)
        self._racing_pool = take_pool(self, self._words)
        self._racing_pool._network_backend = self._racing = backend
        self._watch: Background | None = None

    @property
    def policy(self) -> Policy | None:
        """The policy of requests from now on; a pooled connection that it forbids is not used again."""
        return self._racing.policy

    @policy.setter
    def policy(self, policy: Policy | None) -> None:
        self._racing.policy = policy

    async def handle_async_request(self, request: Any) -> Any:
        """As the client's own."""
        await self._racing.prune(self._racing_pool)
        extensions = request.extensions
        if extensions.get("trace") is not None:
            request.extensions = {**extensions, "trace": AsyncTracing(extensions["trace"])}
        try:
            return await super().handle_async_request(request)
        except self._words.client.TransportError as error:
            explain(error)
            raise
        finally:
            request.extensions = extensions

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        if self._watch is None:
            self._watch = Background(self._follow)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        try:
            await self._stop()
        finally:
            await super().__aexit__(kind, error, trace)

    async def aclose(self) -> None:
        """Close all connections."""
        try:
            await self._stop()
        finally:
            await super().aclose()

    async def _follow(self) -> None:
        connector = self._racing.connector
        async with aclosing(connector.watch()) as changes:
            async for _ in changes:
                await self._racing.prune(self._racing_pool)

    async def _stop(self) -> None:
        watch, self._watch = self._watch, None
        if watch is not None:
            await watch.stop()


class Background:
    """Work that goes on until it is stopped, in a task of its own, on asyncio and trio.

    No task group: a client may be entered in one task and left in another, as test fixtures and lifespans do.
    """

    def __init__(self, work: Callable[[], Awaitable[None]]) -> None:
        self._work = work
        self._scope = anyio.CancelScope()
        self._done = anyio.Event()
        if _on_asyncio():
            self._task = asyncio.get_running_loop().create_task(self._run())
        else:
            import trio

            context = contextvars.copy_context()
            trio.lowlevel.spawn_system_task(self._run, name="pvdrace", context=context)

    async def stop(self) -> None:
        """Cancel it and wait for its end."""
        self._scope.cancel()
        with anyio.CancelScope(shield=True):
            await self._done.wait()

    async def _run(self) -> None:
        try:
            with self._scope:
                await self._work()
        except Exception:
            log.exception("nobody watches the provisioning domains for this transport any more")
        finally:
            self._done.set()


def _on_asyncio() -> bool:
    try:
        return asyncio.current_task() is not None
    except RuntimeError:
        return False
