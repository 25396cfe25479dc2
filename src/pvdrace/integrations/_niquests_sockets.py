"""The sockets that niquests gets: a paused race is in them, which goes on at TLS, and is over without it."""

from __future__ import annotations

import asyncio
import errno
import inspect
import socket
import ssl
from functools import wraps
from typing import TYPE_CHECKING, Any, Protocol

from niquests.packages.urllib3.contrib.ssa import AsyncSocket, SSLAsyncSocket
from niquests.packages.urllib3.exceptions import ConnectTimeoutError
from niquests.packages.urllib3.util import ssl_

from ..errors import PvdRaceError
from ..paths import Path
from ..sync.errors import as_os_error
from ..sync.leaving import LeavingTls
from ..sync.paused import PausedSocket
from .asyncio import adopt

if TYPE_CHECKING:
    from .. import sync
    from ..model import Candidate
    from ..policy import Policy
    from ..provisional import Provisional
    from ..race.report import RaceReport

    Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Setting(Protocol):
    """What a socket needs of the resolver that made it."""

    label: str | None

    @property
    def policy(self) -> Policy | None:
        """That of the resolver, as it is now."""

    def note(self, report: RaceReport) -> None:
        """A race was won."""


class Watch:
    """Whether a connection may be used again: niquests asks for the error that is pending on its socket."""

    def __init__(self, setting: Setting, connector: Any, race: Any) -> None:
        self._setting = setting
        self._connector = connector
        self._race = race
        self._path: Path | None = None

    def won(self) -> None:
        """The race is over; this is its winner."""
        report = self._race.report
        self._path = Path.of(report, label=self._setting.label)
        self._setting.note(report)

    def error(self, option: tuple[Any, ...]) -> int:
        """The error to be reported for a socket option."""
        if self._path is None or option != (socket.SOL_SOCKET, socket.SO_ERROR):
            return 0
        return errno.ENETDOWN if self.objection(self._path.under(self._setting.policy)) else 0

    def objection(self, path: Path) -> str | None:
        """What stands against it."""
        found: str | None = self._connector.objection(path)
        return found


class AsyncWatch(Watch):
    def objection(self, path: Path) -> str | None:
        if self._connector.stale():
            return "something has changed, and nobody has looked yet"
        return super().objection(path)


class RacedSocket(PausedSocket):
    """The blocking socket that niquests gets."""

    def __init__(self, race: sync.Provisional, timeout: float | None, watch: Watch) -> None:
        self.watch = watch
        super().__init__(race, timeout)

    def settle(self) -> None:
        """See `pvdrace.sync.paused.PausedSocket.settle`."""
        paused = self.paused
        super().settle()
        if paused:
            self.watch.won()

    def secure(self, context: ssl.SSLContext, server_hostname: str | None, **options: Any) -> ssl.SSLSocket:
        """See `pvdrace.sync.paused.PausedSocket.secure`."""
        try:
            secure = super().secure(context, server_hostname, **options)
        except TimeoutError as error:
            raise ConnectTimeoutError(str(error)) from error
        self.watch.won()
        if type(secure) in (ssl.SSLSocket, LeavingTls):
            secure.__class__ = RacedTls
            secure.watch = self.watch  # type: ignore[attr-defined]
        return secure

    def getsockopt(self, *option: Any) -> Any:
        """See `socket.socket.getsockopt`."""
        return self.watch.error(option) or super().getsockopt(*option)


class RacedTls(LeavingTls):
    """The same inside TLS."""

    watch: Watch

    def getsockopt(self, *option: Any) -> Any:
        """See `socket.socket.getsockopt`."""
        return self.watch.error(option) or super().getsockopt(*option)


class _Raced:
    """What an asynchronous socket of niquests has in addition: a race, until it is known what follows."""

    _race: Provisional | None
    _watch: Watch
    _settling: asyncio.Lock
    _options: list[tuple[Any, ...]]
    _closing: asyncio.Task[None] | None

    async def _settle(self: Any) -> None:
        """The transport handshake was all that was wanted."""
        async with self._settling:
            race, self._race = self._race, None
            if race is not None:
                await self._finish(race, "tcp", {})

    async def _finish(self: Any, race: Provisional, ready: str, tls: dict[str, Any]) -> None:
        failures: list[ssl.SSLError] = []

        async def stage(sock: socket.socket, candidate: Candidate) -> Streams:
            try:
                return await _streams(sock, tls)
            except ssl.SSLError as error:
                failures.append(error)
                raise

        try:
            (reader, writer), _ = await race.finish(stage, discard=_discard, ready=ready)
        except PvdRaceError as error:
            error.__cause__ = failures[-1] if failures else None  # what `as_os_error` looks at
            failed = as_os_error(error)
            if isinstance(failed, TimeoutError):
                raise ConnectTimeoutError(str(error)) from error
            raise failed from error
        placeholder, self._sock = self._sock, writer.get_extra_info("socket")
        placeholder.close()
        self.family = self._sock.family
        self._reader, self._writer = reader, writer
        self._addr = writer.get_extra_info("peername")
        self._connect_called = True
        self._established.set()
        self._watch.won()
        for option in self._options:
            self._sock.setsockopt(*option)

    async def wrap_socket(
        self: Any,
        ctx: Any,
        *,
        server_hostname: str | None = None,
        ssl_handshake_timeout: float | None = None,
    ) -> SSLAsyncSocket:
        """Make TLS of it: as a stage of the race, where that is still going on."""
        race: Provisional | None = None
        if isinstance(ctx, ssl.SSLContext):
            race, self._race = self._race, None
        if race is None:
            await self._settle()
            await super().wrap_socket(  # type: ignore[misc]
                ctx, server_hostname=server_hostname, ssl_handshake_timeout=ssl_handshake_timeout
            )
        else:
            await self._finish(race, "tls", {"ssl": ctx, "server_hostname": server_hostname})
            self._tls_ctx = ctx
        self.__class__ = RacedAsyncTls
        return self

    async def sendall(self: Any, data: Any) -> None:
        await self._settle()
        await super().sendall(data)  # type: ignore[misc]

    async def recv(self: Any, size: int = -1) -> Any:
        await self._settle()
        return await super().recv(size)  # type: ignore[misc]

    async def wait_for_readiness(self: Any) -> None:
        await self._settle()
        await super().wait_for_readiness()  # type: ignore[misc]

    async def until_data_available(self: Any, *arguments: Any) -> None:
        await self._settle()
        await super().until_data_available(*arguments)  # type: ignore[misc]

    def setsockopt(self: Any, *option: Any) -> None:
        self._sock.setsockopt(*option)
        if self._race is not None:
            self._options.append(option)

    def getsockopt(self: Any, *option: Any) -> Any:
        return self._watch.error(option) or self._sock.getsockopt(*option)

    def getpeername(self: Any) -> Any:
        if self._race is None:
            return super().getpeername()  # type: ignore[misc]
        leader = leader_of(self._race.report)
        return leader.remote, leader.port

    def read_ready(self: Any) -> bool:
        return self._race is None and bool(super().read_ready())  # type: ignore[misc]

    def close(self: Any) -> None:
        race, self._race = self._race, None
        if race is not None:
            self._closing = asyncio.get_running_loop().create_task(race.aclose())
        super().close()  # type: ignore[misc]

    async def wait_for_close(self: Any) -> None:
        if self._closing is not None:
            await asyncio.shield(self._closing)
        await super().wait_for_close()  # type: ignore[misc]


class RacedAsyncSocket(_Raced, AsyncSocket):
    """The asynchronous socket that niquests gets."""

    def __init__(self, race: Provisional, watch: Watch) -> None:
        self._race = race
        self._watch = watch
        self._settling = asyncio.Lock()
        self._options = []
        self._closing = None
        super().__init__()  # with a socket of its own, which is never connected


class RacedAsyncTls(_Raced, SSLAsyncSocket):
    """The same inside TLS."""


async def _streams(sock: socket.socket, tls: dict[str, Any]) -> Streams:
    """What `asyncio.open_connection` gives for a socket, and it loses nothing when cancelled."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(loop=loop)
    transport, protocol = await adopt(sock, lambda: asyncio.StreamReaderProtocol(reader, loop=loop), **tls)
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop)


async def _discard(streams: Streams) -> None:
    streams[1].transport.abort()


def leader_of(report: RaceReport) -> Any:
    """The attempt that a race is paused at."""
    return next(attempt for attempt in report.attempts if attempt.connected is not None)


def _resume_at_tls() -> bool:
    """Let urllib3-future go on with the race where it makes TLS of a socket of ours."""
    original = getattr(ssl_, "_ssl_wrap_socket_impl", None)
    expected = ["sock", "ssl_context", "tls_in_tls", "server_hostname"]
    if not callable(original) or list(inspect.signature(original).parameters) != expected:
        return False

    @wraps(original)
    def wrap(sock: Any, ssl_context: Any, tls_in_tls: bool, server_hostname: str | None = None) -> Any:
        if isinstance(sock, RacedSocket) and sock.paused and isinstance(ssl_context, ssl.SSLContext):
            return sock.secure(ssl_context, server_hostname)
        return original(sock, ssl_context, tls_in_tls, server_hostname)

    ssl_._ssl_wrap_socket_impl = wrap
    return True


#: Whether TLS of a blocking session is part of the race: not if urllib3-future has changed too much.
RESUMES_TLS = _resume_at_tls()
