"""niquests over provisioning domains: resolvers that make the connections of a session.

::

    session = niquests.Session(resolver=PvdResolver())
    session = niquests.AsyncSession(resolver=AsyncPvdResolver())

A resolver of niquests makes whole connections (``create_connection``), and that is where the race is. What it
returns is a socket whose race is paused at the transport handshake: it goes on when niquests makes TLS of it,
or is over when niquests sends the first byte. Asynchronously that is a method of the socket. Blocking sockets
are given to the `ssl` module by one function of urllib3-future, ``_ssl_wrap_socket_impl``, which importing
this module replaces by one that knows these sockets; all others go their way as before. Where a version has
no such function, ``RESUMES_TLS`` is False, and the transport handshake decides.
"""

from __future__ import annotations

import errno
import inspect
import socket
import threading
from collections import OrderedDict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NoReturn

from niquests.packages.urllib3.contrib.resolver import BaseResolver, ProtocolResolver
from niquests.packages.urllib3.contrib.resolver._async import AsyncBaseResolver
from niquests.packages.urllib3.exceptions import MustDowngradeError

from .. import default, sync
from ..calls import check_kind, check_label, check_policy
from ..connector import Connector
from ..errors import PvdRaceError
from ..policy import Policy
from ..sync.errors import as_os_error
from ._niquests_sockets import RESUMES_TLS as RESUMES_TLS
from ._niquests_sockets import AsyncWatch, RacedAsyncSocket, RacedSocket, Watch, leader_of
from ._options import check_options, check_source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ..race.report import RaceReport

#: Reports are kept of so many endpoints, those that were connected to last.
KEPT = 256

_OTHER_FAMILY = {socket.AF_INET: "family:ipv6", socket.AF_INET6: "family:ipv4"}


class _Setting:
    """What both resolvers are told, and what they know."""

    _kind: type

    def __init__(self, connector: Any, policy: Policy | None, label: str | None) -> None:
        check_kind(connector, self._kind)
        self._given = connector
        self.label = check_label(label)
        self.policy = policy
        self._noting = threading.Lock()
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
        with self._noting:
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
        check_options(options)
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
            race = connector.begin(
                address[0].strip("[]"), address[1], source=check_source(source_address), **call
            )
        except PvdRaceError as error:
            raise as_os_error(error) from error
        except ValueError as error:
            raise socket.gaierror(socket.EAI_NONAME, str(error)) from error
        try:
            if timing_hook is not None:
                timing_hook(_times(race.report))
            sock = RacedSocket(race, call["timeout"], Watch(self, connector, race))
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
    ) -> RacedAsyncSocket:
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
            sock = RacedAsyncSocket(race, AsyncWatch(self, connector, race))
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


def _times(report: RaceReport) -> tuple[timedelta, timedelta, datetime]:
    """What niquests tells of a connection: the time for the name, that for the handshake, and when it was."""
    leader = leader_of(report)
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


def _no_addresses() -> socket.gaierror:
    return socket.gaierror(
        socket.EAI_FAIL, "names are looked up inside each provisioning domain: leave out happy_eyeballs"
    )
