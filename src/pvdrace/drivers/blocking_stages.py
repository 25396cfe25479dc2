"""What an attempt of the blocking driver does after the transport handshake: TLS, the application's check."""

from __future__ import annotations

import select
import ssl
from inspect import isgenerator
from typing import TYPE_CHECKING, Any

from .stages import CheckFailed

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Generator

    from ..model import Candidate

    Check = Callable[[socket.socket], Any]


class SocketStage:
    """TLS where a context is given, certificate verified; then the application's check where there is one.

    ``wrap``: what makes TLS of a socket, the context's own way by default; ``options`` are for it. The check
    gets the socket, which does not block, and
    must not make it; where it has to wait it is a generator that yields EPOLLIN or EPOLLOUT.
    """

    def __init__(
        self,
        context: ssl.SSLContext | None,
        hostname: str | None,
        check: Check | None = None,
        *,
        wrap: Callable[..., ssl.SSLSocket] | None = None,
        **options: Any,
    ) -> None:
        self.hostname = hostname
        self.check = check
        self.wrap = wrap or (context.wrap_socket if context is not None else None)
        self.options = options

    def __call__(self, sock: socket.socket, candidate: Candidate) -> Generator[int, None, socket.socket]:
        """Make the socket one that has done all that was asked."""
        try:
            if self.wrap is not None:
                secure = sock = self.wrap(
                    sock, server_hostname=self.hostname, do_handshake_on_connect=False, **self.options
                )
                yield from _shake_hands(secure)
            if self.check is not None:
                verdict = self.check(sock)
                if isgenerator(verdict):
                    verdict = yield from verdict
                if verdict is False:
                    raise CheckFailed
        except BaseException:
            sock.close()
            raise
        return sock


def _shake_hands(secure: ssl.SSLSocket) -> Generator[int, None, None]:
    while True:
        try:
            secure.do_handshake()
            return
        except ssl.SSLWantReadError:
            yield select.EPOLLIN
        except ssl.SSLWantWriteError:
            yield select.EPOLLOUT
