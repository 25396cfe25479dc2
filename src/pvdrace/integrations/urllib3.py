"""urllib3 over provisioning domains: a `urllib3.PoolManager` each of whose connections is a race.

::

    with PvdPoolManager() as http:
        response = http.request("GET", "https://www.example.com/")
        print(response.report)

TLS stays urllib3's: its context, its names, its fingerprints. The race is paused at the transport handshake
and resumed when urllib3 comes to TLS, so a path that fails or is silent there loses, and the next one is
taken. A pooled connection whose provisioning domain has gone, or is forbidden by now, is not used again.

The hooks are those of urllib3's own SOCKS support: ``_new_conn`` of a connection, ``ConnectionCls`` of a
pool, ``pool_classes_by_scheme`` of a manager.
"""

from __future__ import annotations

import queue
import ssl
import sys
import threading
import weakref
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, cast

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    LocationParseError,
    NameResolutionError,
    NewConnectionError,
    SSLError,
)
from urllib3.poolmanager import PoolManager, ProxyManager
from urllib3.util import Timeout
from urllib3.util.ssl_ import create_urllib3_context, resolve_cert_reqs, resolve_ssl_version

from ..calls import check_kind, check_label, check_policy, timed_out
from ..errors import PvdRaceError, ResolutionFailed, report_of
from ..sync import Connector, default_connector
from ._options import check_options, check_source

if TYPE_CHECKING:
    import socket

    from urllib3.connection import ProxyConfig
    from urllib3.response import BaseHTTPResponse, HTTPResponse

    from ..model import PvdSet
    from ..paths import Path
    from ..policy import Policy
    from ..race.report import RaceReport
    from ..sync import Provisional

for _class, _hook in (
    (HTTPConnection, "_new_conn"),
    (HTTPSConnection, "proxy_is_forwarding"),
    (HTTPConnectionPool, "ConnectionCls"),
    (PoolManager, "_new_pool"),
):
    if not hasattr(_class, _hook):
        raise ImportError(
            f"urllib3 {version('urllib3')} has no {_class.__name__}.{_hook}: 2.2 or later is needed"
        )


class Racing:
    """How connections are made: by which connector, under which policy, labelled how. Managers may share one.

    ``policy`` may be set at any time: connections that it forbids are not used again. Raises TypeError for a
    connector that does not block, and ValueError for what is no policy or label.
    """

    def __init__(
        self, connector: Connector | None = None, policy: Policy | None = None, label: str | None = None
    ) -> None:
        check_kind(connector, Connector)
        self.given = connector
        self.policy = policy
        self.label = check_label(label)

    @property
    def connector(self) -> Connector:
        """The one given, or the one that all share."""
        return self.given or default_connector()

    @property
    def policy(self) -> Policy | None:
        """The policy of every call; None for no more than the connector's own."""
        return self._policy

    @policy.setter
    def policy(self, policy: Policy | None) -> None:
        self._policy = check_policy(policy)


class _RacedManager(PoolManager):
    """What both managers have: pools of raced connections, and an eye on those that are idle."""

    def __init__(
        self,
        *arguments: Any,
        connector: Connector | None = None,
        policy: Policy | None = None,
        label: str | None = None,
        **options: Any,
    ) -> None:
        check_options(options.get("socket_options"))
        check_source(options.get("source_address"))
        super().__init__(*arguments, **options)
        self.racing = Racing(connector, policy, label)
        self.pool_classes_by_scheme = {"http": PvdHTTPConnectionPool, "https": PvdHTTPSConnectionPool}
        self._looking = threading.Lock()
        self._made: weakref.WeakSet[HTTPConnectionPool] = weakref.WeakSet()
        self._looked_at: tuple[PvdSet | None, Policy | None] = (None, None)

    @property
    def policy(self) -> Policy | None:
        """The policy of its connections; may be set, and then holds for those that are pooled, too."""
        return self.racing.policy

    @policy.setter
    def policy(self, policy: Policy | None) -> None:
        self.racing.policy = policy

    def _new_pool(
        self, scheme: str, host: str, port: int, request_context: dict[str, Any] | None = None
    ) -> HTTPConnectionPool:
        context = self.connection_pool_kw.copy() if request_context is None else request_context
        pool = super()._new_pool(scheme, host, port, {**context, "racing": self.racing})
        with self._looking:
            self._made.add(pool)
        return pool

    def connection_from_pool_key(self, *arguments: Any, **options: Any) -> HTTPConnectionPool:
        """As urllib3's; first, idle connections that may not be used any more are closed, in all pools."""
        self._look_after()
        return super().connection_from_pool_key(*arguments, **options)

    def _look_after(self) -> None:
        with self._looking:
            if not self._made:
                return
            pvds, policy = self.racing.connector.snapshot(), self.racing.policy
            if pvds is self._looked_at[0] and policy is self._looked_at[1]:
                return
            self._looked_at = (pvds, policy)
            pools = list(self._made)
        for pool in pools:
            _drain(pool)


class PvdPoolManager(_RacedManager):
    """A `urllib3.PoolManager` whose connections are raced across provisioning domains.

    ``connector`` is a `pvdrace.sync.Connector`, by default the one that the process shares; ``policy`` and
    ``label`` are for every connection. Everything else is as for `urllib3.PoolManager`; of it
    ``source_address`` leaves only the PvD that has this address, without a port, and ``socket_options`` are
    set on the connection that has won.

    A `urllib3.Timeout`'s connect timeout bounds the whole race, TLS included. Errors are urllib3's own, ours
    is among their causes, and they have ``report`` (`pvdrace.report_of` finds it, too). A response has
    ``report``, that of the race for the connection it came by.

    Raises TypeError for a connector that does not block, and ValueError for a source port, and for a socket
    option that chooses a path: that is for policy to do.
    """


class PvdProxyManager(_RacedManager, ProxyManager):
    """The same for a `urllib3.ProxyManager`: what is raced is the way to the proxy, its TLS included."""


class PvdHTTPConnection(HTTPConnection):
    """A connection that is made by a race. ``report`` is that race's, None before it."""

    def __init__(self, *arguments: Any, racing: Racing, **options: Any) -> None:
        super().__init__(*arguments, **options)
        check_options(self.socket_options)
        self._source = check_source(self.source_address)
        self.racing = racing
        self.report: RaceReport | None = None
        self._connector: Connector | None = None
        self._path: Path | None = None

    @property
    def is_connected(self) -> bool:
        """Whether it can be used for one more request: open, and nothing stands against its path."""
        return super().is_connected and self.objection() is None

    def objection(self) -> str | None:
        """Why it may not be used any more, as policy and the PvDs are now; None if it may."""
        if self._connector is None or self._path is None:
            return None
        return self._connector.objection(self._path.under(self.racing.policy))

    def getresponse(self) -> HTTPResponse:  # type: ignore[override]
        """As urllib3's; the response has the ``report``."""
        response = super().getresponse()
        response.report = self.report  # type: ignore[attr-defined]
        return response

    def _new_conn(self) -> socket.socket:
        return self._settle(self._begin("tcp"))

    def _begin(self, ready: str) -> Provisional:
        """Race to the first transport handshake."""
        racing = self.racing
        self._connector = racing.connector
        self.report = self._path = None
        try:
            race = self._connector.begin(
                self._dns_host.strip("[]"),
                self.port,
                policy=racing.policy,
                label=racing.label,
                timeout=Timeout.resolve_default_timeout(self.timeout),
                ready=ready,
                source=self._source,
            )
        except (PvdRaceError, OSError) as error:
            raise self._translated(error) from error
        except ValueError as error:
            raise LocationParseError(f"{self.host}, {error}") from error
        sys.audit("http.client.connect", self, self.host, self.port)
        return race

    def _settle(self, race: Provisional) -> socket.socket:
        """The transport handshake was all."""
        try:
            sock, report = race.settle()
        except (PvdRaceError, OSError) as error:
            raise self._translated(error) from error
        return self._adopt(race, sock, report)

    def _adopt(self, race: Provisional, sock: socket.socket, report: RaceReport) -> socket.socket:
        self.report, self._path = report, race.path
        try:
            sock.settimeout(Timeout.resolve_default_timeout(self.timeout))
            for option in self.socket_options or ():
                sock.setsockopt(*option)
        except BaseException:
            sock.close()
            raise
        return sock

    def _translated(self, error: Exception) -> HTTPError:
        """The exception of urllib3's for what has happened, with the report."""
        report = report_of(error)
        found: Any
        if timed_out(report):
            found = ConnectTimeoutError(self, f"Connection to {self.host} timed out: {error}")
        elif isinstance(error, ResolutionFailed):
            found = NameResolutionError(self.host, self, cast("socket.gaierror", error))
        elif isinstance(error.__cause__, ssl.SSLError):
            found = SSLError(error)
        else:
            found = NewConnectionError(self, f"Failed to establish a new connection: {error}")
        found.report = report
        return cast("HTTPError", found)


class PvdHTTPSConnection(PvdHTTPConnection, HTTPSConnection):
    """The same with TLS, which urllib3 makes, as a stage of the race."""

    def connect(self) -> None:
        """As urllib3's, where making TLS on a paused race resumes it."""
        context, proxy_config = self.ssl_context, self.proxy_config
        self.ssl_context = cast("ssl.SSLContext", _Resuming(self, context or _default_context(self)))
        self.proxy_config = self._resuming_to_proxy(proxy_config)
        try:
            super().connect()
        finally:
            self.ssl_context, self.proxy_config = context, proxy_config

    def _resuming_to_proxy(self, config: ProxyConfig | None) -> ProxyConfig | None:
        """The same for the TLS with an HTTPS proxy through which a tunnel goes."""
        if config is None or self.proxy is None or self.proxy.scheme != "https":
            return config
        context = config.ssl_context
        if context is None:
            if self.proxy_is_forwarding:
                return config  # urllib3 takes the connection's own
            context = _default_context(self)
            context.verify_mode = resolve_cert_reqs(self.cert_reqs)
            if self.ca_certs or self.ca_cert_dir or self.ca_cert_data:
                context.load_verify_locations(self.ca_certs, self.ca_cert_dir, self.ca_cert_data)
        return config._replace(ssl_context=cast("ssl.SSLContext", _Resuming(self, context)))

    def _new_conn(self) -> socket.socket:
        if self.proxy is not None and self.proxy.scheme != "https":
            return super()._new_conn()  # CONNECT comes first, TLS is inside the tunnel
        return cast("socket.socket", _Paused(self._begin("tls")))

    def _secure(self, race: Provisional, context: Any, name: str | None, options: dict[str, Any]) -> Any:
        """Go on with the race; the socket inside TLS."""
        if not isinstance(context, ssl.SSLContext):  # pyOpenSSL's needs a socket that blocks
            return context.wrap_socket(self._settle(race), server_hostname=name, **options)
        try:
            sock, report = race.secure(context, name)
        except (PvdRaceError, OSError) as error:
            raise self._translated(error) from error
        return self._adopt(race, sock, report)


class PvdHTTPConnectionPool(HTTPConnectionPool):
    """A pool of raced connections, to be had from a `PvdPoolManager`."""

    ConnectionCls = PvdHTTPConnection

    def _put_conn(self, conn: Any) -> None:
        """It comes back; closed, if it may not be used any more, as it became meanwhile."""
        if conn is not None and conn.sock is not None and conn.objection():
            conn.close()
        super()._put_conn(conn)

    def urlopen(self, *arguments: Any, **options: Any) -> BaseHTTPResponse:
        """As urllib3's; what it raises has the ``report``."""
        try:
            return super().urlopen(*arguments, **options)
        except HTTPError as error:
            if report := report_of(error):
                error.report = report  # type: ignore[attr-defined]
            raise


class PvdHTTPSConnectionPool(PvdHTTPConnectionPool, HTTPSConnectionPool):
    """The same with TLS."""

    ConnectionCls = PvdHTTPSConnection


class _Paused:
    """In the place of a socket: a race that waits for TLS."""

    def __init__(self, race: Provisional) -> None:
        self.race = race

    def close(self) -> None:
        self.race.close()


class _Resuming:
    """A TLS context as urllib3 sees it. What it is for is done by the real one, in the race."""

    def __init__(self, connection: PvdHTTPSConnection, context: ssl.SSLContext) -> None:
        self.__dict__["_connection"] = connection
        self.__dict__["_context"] = context

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    def __setattr__(self, name: str, value: object) -> None:
        setattr(self._context, name, value)

    def wrap_socket(
        self, sock: Any, *arguments: Any, server_hostname: str | None = None, **options: Any
    ) -> Any:
        if isinstance(sock, _Paused):
            return self._connection._secure(sock.race, self._context, server_hostname, options)
        return self._context.wrap_socket(sock, *arguments, server_hostname=server_hostname, **options)


def _default_context(connection: HTTPSConnection) -> ssl.SSLContext:
    """What urllib3 takes where it is given no context."""
    context = create_urllib3_context(
        ssl_version=resolve_ssl_version(connection.ssl_version),
        ssl_minimum_version=connection.ssl_minimum_version,
        ssl_maximum_version=connection.ssl_maximum_version,
        cert_reqs=resolve_cert_reqs(connection.cert_reqs),
    )
    if not (connection.ca_certs or connection.ca_cert_dir or connection.ca_cert_data):
        context.load_default_certs()
    return context


def _drain(pool: HTTPConnectionPool) -> None:
    """Close the idle connections that may not be used any more. They stay in their places, as closed ones."""
    idle = pool.pool
    if not isinstance(idle, queue.Queue):
        return  # closed; or a queue of the application's own: its connections are asked one by one
    with idle.mutex:  # nobody takes one out meanwhile
        for connection in idle.queue:
            if isinstance(connection, PvdHTTPConnection) and connection.sock and connection.objection():
                connection.close()
