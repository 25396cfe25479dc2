"""The race for programs on trio: `open_tcp_stream` and `open_ssl_over_tcp_stream` as trio has them.

::

    stream = await pvdrace.integrations.trio.open_ssl_over_tcp_stream("www.example.com", 443)
    print(pvdrace.integrations.trio.report(stream))

trio makes the TLS handshake itself, as a stage of the race: a path that fails at TLS loses, and the race goes
on in the next PvD.
"""

from __future__ import annotations

import os
import socket
import ssl
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import trio

from ..default import given_or_default

if TYPE_CHECKING:
    from typing import Self

    from ..connector import Connector
    from ..model import Candidate
    from ..policy import Policy
    from ..race.report import RaceReport


_reports: WeakKeyDictionary[trio.SocketStream, RaceReport] = WeakKeyDictionary()


async def open_tcp_stream(
    host: str,
    port: int,
    *,
    connector: Connector | None = None,
    policy: Policy | None = None,
    label: str | None = None,
    timeout: float | None = None,
    happy_eyeballs_delay: float | None = None,
    local_address: None = None,
) -> trio.SocketStream:
    """Race to ``host``:``port`` and return the winner; its report is ``report(stream)``.

    ``connector``: whose PvDs, caches and policy to use (this thread's default one if None). ``policy``,
    ``label`` and ``timeout`` (seconds, for the whole race) as in `Connector.open_connection`.
    ``happy_eyeballs_delay`` is taken and has no effect: the connector's `Pacing` says that.

    Raises as `Connector.open_connection`, every one an OSError with its report; ValueError for
    ``local_address``, which is each PvD's own.
    """
    if local_address is not None:
        raise ValueError(
            "local_address= cannot be raced: the source is an address of each provisioning domain; to choose "
            "a path use policy=Policy(require=['pvd:NAME'])"
        )

    async def stage(sock: socket.socket, candidate: Candidate) -> trio.SocketStream:
        return _stream(sock)

    stream, report = await given_or_default(connector).race_for(
        stage,
        host,
        port,
        discard=trio.aclose_forcefully,
        policy=policy,
        label=label,
        timeout=timeout,
        ready="tcp",
    )
    _reports[stream] = report
    return stream


async def open_ssl_over_tcp_stream(
    host: str,
    port: int,
    *,
    https_compatible: bool = False,
    ssl_context: ssl.SSLContext | None = None,
    server_hostname: str | None = None,
    connector: Connector | None = None,
    policy: Policy | None = None,
    label: str | None = None,
    timeout: float | None = None,
    happy_eyeballs_delay: float | None = None,
) -> trio.SSLStream[trio.SocketStream]:
    """Race to ``host``:``port``, TLS included, and return the winner: its handshake is done.

    ``ssl_context`` and ``https_compatible`` as in `trio.open_ssl_over_tcp_stream`; ``server_hostname`` is the
    name to verify (the host by default). All else, errors too, as in `open_tcp_stream`.
    """
    if ssl_context is None:
        ssl_context = ssl.create_default_context()
        ssl_context.options &= ~getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 0)
    context = ssl_context
    name = server_hostname or host.strip("[]").split("%")[0].removesuffix(".")

    async def stage(sock: socket.socket, candidate: Candidate) -> trio.SSLStream[trio.SocketStream]:
        transport = _stream(sock)
        stream: trio.SSLStream[trio.SocketStream] | None = None
        try:
            stream = trio.SSLStream(
                transport, context, server_hostname=name, https_compatible=https_compatible
            )
            await stream.do_handshake()
        except BaseException as error:
            await trio.aclose_forcefully(stream or transport)
            if isinstance(error, trio.BrokenResourceError):
                raise _what_broke_it(error) from error
            raise
        return stream

    stream, report = await given_or_default(connector).race_for(
        stage,
        host,
        port,
        discard=trio.aclose_forcefully,
        policy=policy,
        label=label,
        timeout=timeout,
        ready="tls",
    )
    _reports[stream.transport_stream] = report
    return stream


def report(stream: trio.SocketStream | trio.SSLStream[trio.SocketStream]) -> RaceReport:
    """The report of the race that a stream of this module has won. Raises KeyError for any other stream."""
    return _reports[stream.transport_stream if isinstance(stream, trio.SSLStream) else stream]


def _what_broke_it(error: BaseException) -> BaseException:
    """What went wrong, where trio only says that something did."""
    while isinstance(error, trio.BrokenResourceError) and error.__cause__ is not None:
        error = error.__cause__
    return error


def _stream(sock: socket.socket) -> trio.SocketStream:
    """A connected socket as a stream, which owns it."""
    try:
        quiet = type(sock) is not socket.socket
        return trio.SocketStream(_LeavingSocket(sock) if quiet else trio.socket.from_stdlib_socket(sock))
    except BaseException:
        sock.close()
        raise


class _LeavingSocket(trio.socket.SocketType):
    """A trio socket that leaves quietly where policy forbids a PvD, so that no stray packet follows it.

    The socket that can do so is of a class of its own, and trio takes none such: so trio gets a copy of the
    descriptor, and all else of a trio socket is that one's.
    """

    def __init__(self, leaving: socket.socket) -> None:
        self._leaving = leaving
        copy = socket.socket(fileno=os.dup(leaving.fileno()))
        copy.setblocking(False)
        self._trio = trio.socket.from_stdlib_socket(copy)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close, and let the connection linger until the peer has had its say."""
        self._trio.close()
        self._leaving.close()


def _of_the_copy(name: str) -> property:
    return property(lambda own: getattr(own._trio, name))


for _name in vars(trio.socket.SocketType).keys() - vars(_LeavingSocket).keys():
    if not _name.startswith("_"):
        setattr(_LeavingSocket, _name, _of_the_copy(_name))
