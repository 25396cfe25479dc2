"""The blocking network backend of httpcore2 and httpcore, and its streams."""

from __future__ import annotations

import socket
import ssl
from typing import TYPE_CHECKING, Any, ClassVar

from ..calls import check_kind
from ..sync import Connector, default_connector
from ._httpcore import (
    LOST,
    Setting,
    check_source,
    connect_error,
    is_readable,
    retire,
    to_retire,
)
from ._options import check_options
from ._tls_over import TlsOver

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..paths import Path
    from ..policy import Policy
    from ..race.report import RaceReport
    from ..sync import Provisional
    from ._httpcore import SocketOption, Words


class Backend(Setting):
    """A network backend of the core that races, for ``ConnectionPool(network_backend=...)``.

    ``connector``: whose PvDs, caches and policy to use (the default one of `pvdrace.sync` if None). All else
    as of the asynchronous one.
    """

    _words: ClassVar[Words]
    _stream_class: ClassVar[type[Stream]]

    def __init__(
        self, connector: Connector | None = None, *, policy: Policy | None = None, label: str | None = None
    ) -> None:
        super().__init__(policy, label)
        check_kind(connector, Connector)
        self._connector = connector

    @property
    def connector(self) -> Connector:
        """Whose PvDs are used."""
        return self._connector or default_connector()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[SocketOption] | None = None,
    ) -> Any:
        """Race to the first transport handshake; what is done with the stream first decides what follows.

        As `AsyncBackend.connect_tcp`, errors too.
        """
        options = list(socket_options or ())
        check_options(options)
        source = check_source(local_address) or self.source
        connector = self.connector
        try:
            provisional = connector.begin(
                host, port, policy=self.policy, label=self.label, timeout=timeout, source=source
            )
        except LOST as error:
            raise connect_error(self._words, error) from error
        return self._stream_class(self, connector, host, options, provisional)

    def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[SocketOption] | None = None
    ) -> Any:
        """As the core's own backend."""
        ordinary = self._words.core.SyncBackend()
        return ordinary.connect_unix_socket(path, timeout=timeout, socket_options=socket_options)

    def prune(self, pool: Any) -> None:
        """Let go of a pool's connections that may not be used any more, when their last request is done.

        Of a PvD that has gone, is a portal now, or that the policy as it is now forbids. The pool itself
        closes those that are idle, at the next request: another thread may be about to use one.
        """
        for connection in list(to_retire(pool)):
            retire(connection)


class Stream:
    """A network stream of the core: a race that is not over until the stream is first used."""

    def __init__(
        self,
        backend: Backend,
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
        self._sock: socket.socket | TlsOver | None = None
        self._path: Path | None = None
        self._report: RaceReport | None = None

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """At most ``max_bytes`` bytes; none at the end."""
        sock = self._sock or self._settle()
        core = self._backend._words.core
        try:
            sock.settimeout(timeout)
            return sock.recv(max_bytes)
        except TimeoutError as error:
            raise core.ReadTimeout(str(error)) from error
        except OSError as error:
            raise core.ReadError(str(error)) from error

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send all the bytes."""
        if not buffer:
            return
        sock = self._sock or self._settle()
        core = self._backend._words.core
        view = memoryview(buffer)
        try:
            sock.settimeout(timeout)
            while view:  # the time is for each step, as in the core's own
                view = view[sock.send(view) :]
        except TimeoutError as error:
            raise core.WriteTimeout(str(error)) from error
        except OSError as error:
            raise core.WriteError(str(error)) from error

    def close(self) -> None:
        """Close it, or give the race up."""
        if self._provisional is not None:
            self._provisional.close()
        elif self._sock is not None:
            self._sock.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> Any:
        """TLS: a stage of the race, or inside of what was used already (through a proxy) on this stream."""
        if self._provisional is not None:
            provisional, self._provisional = self._provisional, None
            name = None if server_hostname == self._host else server_hostname
            try:
                self._won(*provisional.secure(ssl_context, name), provisional.path)
            except LOST as error:
                raise connect_error(self._backend._words, error) from error
        else:
            self._sock = self._wrap(ssl_context, server_hostname, timeout)
        return self

    def get_extra_info(self, info: str) -> Any:
        """``ssl_object``, ``client_addr``, ``server_addr``, ``socket`` and ``is_readable`` as of the core.

        ``pvdrace.report``: the `RaceReport`, when the race is over. In a pool that nobody prunes,
        ``is_readable`` is also true of a connection that may not be used any more: so the pool closes it.
        """
        if info == "pvdrace.report":
            return self._report
        sock = self._sock
        if sock is None:
            return None
        match info:
            case "ssl_object":
                return sock.ssl_object if isinstance(sock, TlsOver) else _tls_of(sock)
            case "client_addr":
                return sock.getsockname()
            case "server_addr":
                return sock.getpeername()
            case "socket":
                return sock.sock if isinstance(sock, TlsOver) else sock
            case "is_readable":
                return is_readable(sock) or (not self._backend.pruned and self.objection() is not None)
        return None

    def objection(self) -> str | None:
        """Why it may not be used again; None if it may."""
        if self._path is None:
            return None
        return self._connector.objection(self._path.under(self._backend.policy))

    def _settle(self) -> socket.socket:
        provisional, self._provisional = self._provisional, None
        if provisional is None:
            raise self._backend._words.core.ReadError("the race for this connection was lost or given up")
        try:
            return self._won(*provisional.settle(), provisional.path)
        except LOST as error:
            raise connect_error(self._backend._words, error) from error

    def _won(self, sock: socket.socket, report: RaceReport, path: Path) -> socket.socket:
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # as the core's own backend
            for option in self._options:
                sock.setsockopt(*option)
        except BaseException:
            sock.close()
            raise
        self._sock, self._report, self._path = sock, report, path
        return sock

    def _wrap(self, context: ssl.SSLContext, server_hostname: str | None, timeout: float | None) -> TlsOver:
        core, sock = self._backend._words.core, self._sock
        if sock is None:
            raise core.ConnectError("the race for this connection was lost or given up")
        try:
            return TlsOver(sock, context, server_hostname, timeout)
        except BaseException as error:
            sock.close()
            if isinstance(error, TimeoutError):
                raise core.ConnectTimeout(str(error)) from error
            if isinstance(error, OSError):
                raise core.ConnectError(str(error)) from error
            raise


def _tls_of(sock: socket.socket) -> ssl.SSLSocket | None:
    return sock if isinstance(sock, ssl.SSLSocket) else None
