"""What an attempt does after its transport handshake: TLS, certificate verified, and the application's check.

A stage owns the socket from its first instant: it returns a stream, or closes everything and raises. So
the race can lose an attempt here and go on (HEv3 s6.1): behind an intercepting portal TCP always connects.
"""

from __future__ import annotations

import socket
import ssl
import weakref
from inspect import isawaitable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import anyio
from anyio.abc import SocketStream
from anyio.streams.tls import TLSStream

from ..net.sockets import describe
from ..race.outcome import Won

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from anyio.abc import ByteStream

    from ..model import Candidate
    from ..race.race import Race
    from .roles import Stage

T = TypeVar("T")


class CheckFailed(Exception):
    """The application's check said no."""

    def __str__(self) -> str:
        return "the check said no"


def tls_context(tls: object) -> ssl.SSLContext | None:
    """The TLS context for a ``tls`` argument; ValueError for what only looks like one."""
    if tls is False:
        return None
    if tls is True:
        return ssl.create_default_context()
    if isinstance(tls, ssl.SSLContext):
        return tls
    raise ValueError(f"tls must be True, False or an ssl.SSLContext, not {tls!r}")


async def wrap(sock: socket.socket) -> SocketStream:
    """A connected socket as a stream, without Nagle's algorithm (RFC 896), as anyio's own.

    The socket is closed if that fails or is cancelled.
    """
    try:
        if sock.proto == socket.IPPROTO_TCP:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return await SocketStream.from_socket(sock)
    except BaseException:
        sock.close()
        raise


class Noting(Generic[T]):
    """A stage that notes on which socket it works in an exclusive PvD. The socket is the stage's own."""

    def __init__(self, stage: Stage[T]) -> None:
        self.stage = stage
        self.noted: list[tuple[Candidate, weakref.ref[socket.socket]]] = []

    async def __call__(self, sock: socket.socket, candidate: Candidate) -> T:
        """As the stage does."""
        if candidate.pvd.exclusive:
            self.noted.append((candidate, weakref.ref(sock)))
        return await self.stage(sock, candidate)

    def socket_of(self, race: Race) -> Callable[[], weakref.ref[socket.socket]]:
        """Where to find the socket of the winner of an exclusive PvD."""

        def find() -> weakref.ref[socket.socket]:
            assert isinstance(race.outcome, Won)
            winner = race.outcome.attempt.candidate
            return next(sock for candidate, sock in self.noted if candidate is winner)

        return find


class StreamStage:
    """TLS where a context is given, then the application's check where there is one."""

    def __init__(
        self,
        context: ssl.SSLContext | None,
        hostname: str | None,
        check: Callable[[ByteStream], Awaitable[Any]] | None,
    ) -> None:
        self.context = context
        self.hostname = hostname
        self.check = check

    async def __call__(self, sock: socket.socket, candidate: Candidate) -> ByteStream:
        """Make the socket a stream that has done all that was asked."""
        stream: ByteStream = await wrap(sock)
        try:
            if self.context is not None:
                # Deliberate: not standard_compatible (RFC 8446 s6.1): many servers close without
                # close_notify, and waiting for theirs would make every close a round trip.
                stream = await TLSStream.wrap(
                    stream,
                    server_side=False,
                    hostname=self.hostname,
                    ssl_context=self.context,
                    standard_compatible=False,
                )
            if self.check is not None:
                verdict = self.check(stream)
                if not isawaitable(verdict):
                    raise TypeError("ready must be an asynchronous function")
                if await verdict is False:
                    raise CheckFailed
        except BaseException:
            await discard(stream)
            raise
        return stream


async def discard(stream: ByteStream) -> None:
    """Close a stream at once, saying no good-bye, even while being cancelled."""
    with anyio.CancelScope(shield=True):
        await anyio.aclose_forcefully(stream)


def describe_stage(error: Exception) -> str:
    """One line for what went wrong after the transport handshake."""
    if isinstance(error, CheckFailed):
        return str(error)
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"wrong certificate: {error.verify_message.rstrip('.')}"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {(error.reason or str(error)).lower().replace('_', ' ')}"
    if isinstance(error, anyio.EndOfStream):
        return "closed by the peer"
    if isinstance(error, anyio.BrokenResourceError):
        cause = error.__cause__
        return describe(cause) if isinstance(cause, OSError) else "connection broken"
    if isinstance(error, OSError):
        return describe(error)
    return " ".join(f"{type(error).__name__}: {error}".split())
