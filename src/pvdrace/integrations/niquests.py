"""niquests over provisioning domains: resolvers that make the connections of a session.

::

    session = niquests.Session(resolver=PvdResolver())
    session = niquests.AsyncSession(resolver=AsyncPvdResolver())

A resolver of niquests makes whole connections (``create_connection``), and that is where the race is. What it
returns is a socket whose race is paused at the transport handshake: it goes on when niquests makes TLS of it,
or is over when niquests sends the first byte. Asynchronously that is a method of the socket. Blocking sockets
are given to the `ssl` module by one function of urllib3-future, ``_ssl_wrap_socket_impl``, which importing
this module replaces by one that knows these sockets; all others go their way as before. Where a version has
no such function, `RESUMES_TLS` is False, and the transport handshake decides.
"""

from __future__ import annotations

import asyncio
import errno
import inspect
import socket
import ssl
from collections import OrderedDict
from datetime import UTC, datetime, timedelta
from functools import wraps
from typing import TYPE_CHECKING, Any, NoReturn

from niquests.packages.urllib3.contrib.resolver import BaseResolver, ProtocolResolver
from niquests.packages.urllib3.contrib.resolver._async import AsyncBaseResolver
from niquests.packages.urllib3.contrib.ssa import AsyncSocket, SSLAsyncSocket
from niquests.packages.urllib3.exceptions import ConnectTimeoutError, MustDowngradeError
from niquests.packages.urllib3.util import ssl_

from .. import default, sync
from ..calls import check_label, check_policy
from ..connector import Connector
from ..errors import PvdRaceError
from ..paths import Path
from ..policy import Policy
from ..sync.errors import as_os_error
from ..sync.leaving import LeavingTls
from ..sync.paused import PausedSocket
from .asyncio import adopt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ..model import Candidate
    from ..provisional import Provisional
    from ..race.report import RaceReport

    Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]

#: Reports are kept of so many endpoints, those that were connected to last.
KEPT = 256

#: Socket options that choose a path, by level and number (linux/socket.h, in.h, in6.h): policy's business.
_CHOOSING = {
    (socket.SOL_SOCKET, 25): "SO_BINDTODEVICE",
    (socket.SOL_SOCKET, 36): "SO_MARK",
    (socket.SOL_SOCKET, 62): "SO_BINDTOIFINDEX",
    (socket.IPPROTO_IP, 50): "IP_UNICAST_IF",
    (socket.IPPROTO_IPV6, 76): "IPV6_UNICAST_IF",
}
_OTHER_FAMILY = {socket.AF_INET: "family:ipv6", socket.AF_INET6: "family:ipv4"}


class _Setting:
    """What both resolvers are told, and what they know."""

    _kind: type

    def __init__(self, connector: Any, policy: Policy | None, label: str | None) -> None:
        if connector is not None and not isinstance(connector, self._kind):
            wanted = f"{self._kind.__module__.removesuffix('.connector')}.{self._kind.__name__}"
            raise TypeError(f"connector must be a {wanted}, not {connector!r}")
        self._given = connector
        self.label = check_label(label)
        self.policy = policy
        self._reports: OrderedDict[tuple[str, int], RaceReport] = OrderedDict()

    @property
    def policy(self) -> Policy | None:
        """The policy of every connection; may be set, and then holds for those that are pooled, too."""
        return self._policy

    @policy.setter
    def policy(self, policy: Policy | None) -> None:
        self._policy = check_policy(policy)

    def report(self, host: str, port: int) -> RaceReport | None:
        """The report of the last race that was won to an endpoint; None if there was none, or long ago."""
        return self._reports.get((host, port))

    def note(self, report: RaceReport) -> None:
        """A race was won."""
        endpoint = (report.endpoint.host, report.endpoint.port)
        self._reports[endpoint] = report
        self._reports.move_to_end(endpoint)
        while len(self._reports) > KEPT:
            self._reports.popitem(last=False)

    def _call(
        self, timeout: Any, family: int, kind: int, options: Iterable[tuple[Any, ...]] | None
    ) -> dict[str, Any]:
        """The arguments of a race."""
        if kind == socket.SOCK_DGRAM:
            raise MustDowngradeError("QUIC connections are not raced across provisioning domains")
        for level, option, *_ in options or ():
            if name := _CHOOSING.get((level, option)):
                raise ValueError(
                    f"socket_options: {name} chooses a path, which is for policy to do: "
                    "policy=pvdrace.Policy(require=['interface:NAME']) or ['pvd:NAME']"
                )
        return {
            "policy": _without(self.policy, _OTHER_FAMILY.get(socket.AddressFamily(family))),
            "label": self.label,
            "timeout": timeout if isinstance(timeout, int | float) and timeout >= 0 else None,
        }


class PvdResolver(_Setting, BaseResolver):
    """A resolver for `niquests.Session` that makes its connections by races across provisioning domains.

    ``connector`` is a `pvdrace.sync.Connector`, by default the one that the process shares; ``policy`` and
    ``label`` are for every connection. ``policy`` may be set at any time; a pooled connection that it
    forbids, or whose PvD has gone, is not used again. Of what a session says about connections, its
    ``disable_ipv4`` and ``disable_ipv6`` hold, a ``source_address`` (with no port) leaves only the PvD that
    has it, and ``happy_eyeballs`` must not be asked for: a race has its own. QUIC is not raced: a server that
    offers HTTP/3 is spoken to in HTTP/2 or 1.1.

    Errors are those of niquests; `pvdrace.report_of` finds our report among their causes. `report` has that
    of the last race to an endpoint. Raises TypeError for a connector that does not block.
    """

    protocol = ProtocolResolver.CUSTOM
    implementation = "pvdrace"
    _kind = sync.Connector

    def __init__(
        self,
        *,
        connector: sync.Connector | None = None,
        policy: Policy | None = None,
        label: str | None = None,
    ) -> None:
        BaseResolver.__init__(self, None, None)
        _Setting.__init__(self, connector, policy, label)

    def create_connection(
        self,
        address: tuple[str, int],
        timeout: Any = None,
        source_address: tuple[str, int] | None = None,
        socket_options: Iterable[tuple[Any, ...]] | None = None,
        socket_kind: int = socket.SOCK_STREAM,
        *,
        timing_hook: Callable[[Any], object] | None = None,
        default_socket_family: int = socket.AF_UNSPEC,
        **_: Any,
    ) -> socket.socket:
        """Race to the address; a socket whose race is paused. Raises OSError, also `socket.gaierror`."""
        call = self._call(timeout, default_socket_family, socket_kind, socket_options)
        connector: Any = self._given or sync.default_connector()
        try:
            race = connector.begin(address[0].strip("[]"), address[1], source=_source(source_address), **call)
        except PvdRaceError as error:
            raise as_os_error(error) from error
        except ValueError as error:
            raise socket.gaierror(socket.EAI_NONAME, str(error)) from error
        try:
            if timing_hook is not None:
                timing_hook(_times(race.report))
            sock = RacedSocket(race, call["timeout"], _Watch(self, connector, race))
            _set_options(sock, socket_options)
        except BaseException:
            race.close()
            raise
        return sock

    def getaddrinfo(self, *_: Any, **__: Any) -> NoReturn:
        """Not here: which addresses a name has depends on the PvD, and connections are made as a whole."""
        raise _no_addresses()

    def is_available(self) -> bool:
        """Always."""
        return True

    def close(self) -> None:
        """Nothing: the connector belongs to whoever has made it."""

    def recycle(self) -> PvdResolver:
        """The same one: it does not wear out."""
        return self


class AsyncPvdResolver(_Setting, AsyncBaseResolver):
    """The same for `niquests.AsyncSession`, on asyncio; ``connector`` is a `pvdrace.Connector`.

    Whether a pooled connection may be used again is asked where nobody can wait for an answer: when
    something about the PvDs has changed since the last race, it is not, and another one is made.
    """

    protocol = ProtocolResolver.CUSTOM
    implementation = "pvdrace"
    _kind = Connector

    def __init__(
        self, *, connector: Connector | None = None, policy: Policy | None = None, label: str | None = None
    ) -> None:
        AsyncBaseResolver.__init__(self, None, None)
        _Setting.__init__(self, connector, policy, label)

    async def create_connection(
        self,
        address: tuple[str, int],
        timeout: Any = None,
        source_address: tuple[str, int] | None = None,
        socket_options: Iterable[tuple[Any, ...]] | None = None,
        socket_kind: int = socket.SOCK_STREAM,
        *,
        timing_hook: Callable[[Any], object] | None = None,
        default_socket_family: int = socket.AF_UNSPEC,
        **_: Any,
    ) -> AsyncSocket:
        """Race to the address; a socket whose race is paused. Raises OSError, also `socket.gaierror`."""
        call = self._call(timeout, default_socket_family, socket_kind, socket_options)
        if source_address is not None:
            raise OSError(
                errno.EADDRNOTAVAIL, "source_address: to choose a path use policy=Policy(require=...)"
            )
        connector: Any = self._given or default.default_connector()
        try:
            race = await connector.begin(address[0].strip("[]"), address[1], **call)
        except PvdRaceError as error:
            raise as_os_error(error) from error
        except ValueError as error:
            raise socket.gaierror(socket.EAI_NONAME, str(error)) from error
        try:
            if timing_hook is not None:
                timing_hook(_times(race.report))
            sock = RacedAsyncSocket(race, _AsyncWatch(self, connector, race))
            sock.settimeout(call["timeout"])
            _set_options(sock, socket_options)
        except BaseException:
            await race.aclose()
            raise
        return sock

    async def getaddrinfo(self, *_: Any, **__: Any) -> NoReturn:
        """Not here: which addresses a name has depends on the PvD, and connections are made as a whole."""
        raise _no_addresses()

    def is_available(self) -> bool:
        """Always."""
        return True

    async def close(self) -> None:
        """Nothing: the connector belongs to whoever has made it."""

    def recycle(self) -> AsyncPvdResolver:
        """The same one: it does not wear out."""
        return self


class _Watch:
    """Whether a connection may be used again: niquests asks for the error that is pending on its socket."""

    def __init__(self, setting: _Setting, connector: Any, race: Any) -> None:
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


class _AsyncWatch(_Watch):
    def objection(self, path: Path) -> str | None:
        if self._connector.stale():
            return "something has changed, and nobody has looked yet"
        return super().objection(path)


class RacedSocket(PausedSocket):
    """The blocking socket that niquests gets."""

    def __init__(self, race: sync.Provisional, timeout: float | None, watch: _Watch) -> None:
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

    watch: _Watch

    def getsockopt(self, *option: Any) -> Any:
        """See `socket.socket.getsockopt`."""
        return self.watch.error(option) or super().getsockopt(*option)


class _Raced:
    """What an asynchronous socket of niquests has in addition: a race, until it is known what follows."""

    _race: Provisional | None
    _watch: _Watch
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
        async def stage(sock: socket.socket, candidate: Candidate) -> Streams:
            return await _streams(sock, tls)

        try:
            (reader, writer), _ = await race.finish(stage, discard=_discard, ready=ready)
        except PvdRaceError as error:
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
        leader = _leader(self._race.report)
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

    def __init__(self, race: Provisional, watch: _Watch) -> None:
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


def _leader(report: RaceReport) -> Any:
    """The attempt that a race is paused at."""
    return next(attempt for attempt in report.attempts if attempt.connected is not None)


def _times(report: RaceReport) -> tuple[timedelta, timedelta, datetime]:
    """What niquests tells of a connection: the time for the name, that for the handshake, and when it was."""
    leader = _leader(report)
    resolved, connected = (
        timedelta(seconds=leader.started),
        timedelta(seconds=leader.connected - leader.started),
    )
    return resolved, connected, datetime.now(tz=UTC)


def _without(policy: Policy | None, family: str | None) -> Policy | None:
    """The policy with a family prohibited."""
    if family is None:
        return policy
    policy = policy or Policy()
    settings = {name: getattr(policy, name) for name in inspect.signature(Policy).parameters}
    return Policy(**{**settings, "prohibit": [*policy.prohibit, family]})


def _set_options(sock: Any, options: Iterable[tuple[Any, ...]] | None) -> None:
    """Those for TCP: urllib3-future may say behind an option which transport it is for."""
    for level, option, value, *transport in options or ():
        if transport in ([], ["tcp"]):
            sock.setsockopt(level, option, value)


def _source(address: tuple[str, int] | None) -> str | None:
    if address is not None and address[1]:
        raise OSError(errno.EADDRNOTAVAIL, f"source port {address[1]}: a race has several sockets, use 0")
    return address[0] or None if address is not None else None


def _no_addresses() -> socket.gaierror:
    return socket.gaierror(
        socket.EAI_FAIL, "names are looked up inside each provisioning domain: leave out happy_eyeballs"
    )


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
