"""The race for programs on trio: `open_tcp_stream` and `open_ssl_over_tcp_stream` as trio has them.

::

    stream = await pvdrace.integrations.trio.open_ssl_over_tcp_stream("www.example.com", 443)
    print(stream.transport_stream.report)

trio makes the TLS handshake itself, as a stage of the race: a path that fails at TLS loses, and the race goes
on in the next PvD.
"""

from __future__ import annotations

import os
import socket
import ssl
from typing import TYPE_CHECKING, Any

import trio

from ..default import default_connector

if TYPE_CHECKING:
    from ..connector import Connector
    from ..model import Candidate
    from ..policy import Policy
    from ..race.report import RaceReport


class PvdStream(trio.abc.HalfCloseableStream):
    """A `trio.SocketStream` (``stream``), which is final, and the ``report`` of the race that it has won.

    ``report`` is None while the race is on. Where policy forbids a PvD it closes so that no stray packet
    follows.
    """

    report: RaceReport | None = None

    def __init__(self, sock: socket.socket) -> None:
        """``sock`` is connected; this owns it."""
        self._leaving: socket.socket | None = None
        if type(sock) is not socket.socket:
            # One that leaves quietly, and trio takes none of another class: it gets a second descriptor.
            self._leaving = sock
            try:
                sock = socket.socket(fileno=os.dup(sock.fileno()))
            except OSError:  # no descriptor to spare
                self._leaving.close()
                raise
            sock.setblocking(False)
        self.stream = trio.SocketStream(trio.socket.from_stdlib_socket(sock))

    @property
    def socket(self) -> trio.socket.SocketType:
        """The trio socket, as in `trio.SocketStream`."""
        return self.stream.socket

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """See `trio.abc.SendStream.send_all`."""
        await self.stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        """See `trio.abc.SendStream.wait_send_all_might_not_block`."""
        await self.stream.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        """See `trio.abc.HalfCloseableStream.send_eof`."""
        await self.stream.send_eof()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """See `trio.abc.ReceiveStream.receive_some`."""
        return await self.stream.receive_some(max_bytes)

    async def aclose(self) -> None:
        """See `trio.abc.AsyncResource.aclose`."""
        leaving, self._leaving = self._leaving, None
        try:
            await self.stream.aclose()
        finally:
            if leaving is not None:
                leaving.close()

    def setsockopt(self, *arguments: Any) -> None:
        """See `trio.SocketStream`."""
        self.stream.setsockopt(*arguments)

    def getsockopt(self, *arguments: Any) -> int | bytes:
        """See `trio.SocketStream`."""
        return self.stream.getsockopt(*arguments)


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
) -> PvdStream:
    """Race to ``host``:``port`` and return the winner.

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

    async def stage(sock: socket.socket, candidate: Candidate) -> PvdStream:
        return PvdStream(sock)

    stream, report = await (connector or default_connector()).race_for(
        stage,
        host,
        port,
        discard=trio.aclose_forcefully,
        policy=policy,
        label=label,
        timeout=timeout,
        ready="tcp",
    )
    stream.report = report
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
) -> trio.SSLStream[PvdStream]:
    """Race to ``host``:``port``, TLS included, and return the winner: its handshake is done.

    ``ssl_context`` and ``https_compatible`` as in `trio.open_ssl_over_tcp_stream`; ``server_hostname`` is the
    name to verify (the host by default). The report is ``stream.transport_stream.report``. All else, errors
    too, as in `open_tcp_stream`.
    """
    if ssl_context is None:
        ssl_context = ssl.create_default_context()
        ssl_context.options &= ~getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 0)
    context = ssl_context
    name = server_hostname or host.strip("[]").split("%")[0].removesuffix(".")

    async def stage(sock: socket.socket, candidate: Candidate) -> trio.SSLStream[PvdStream]:
        transport = PvdStream(sock)
        stream: trio.SSLStream[PvdStream] | None = None
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

    stream, report = await (connector or default_connector()).race_for(
        stage,
        host,
        port,
        discard=trio.aclose_forcefully,
        policy=policy,
        label=label,
        timeout=timeout,
        ready="tls",
    )
    stream.transport_stream.report = report
    return stream


def _what_broke_it(error: BaseException) -> BaseException:
    """What went wrong, where trio only says that something did."""
    while isinstance(error, trio.BrokenResourceError) and error.__cause__ is not None:
        error = error.__cause__
    return error
