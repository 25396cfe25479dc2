"""Sockets that are closed without a stray packet, for threads: see `pvdrace.net.lingering`."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import ssl
from typing import TYPE_CHECKING, Any, TypeVar

from ..net import lingering
from ..net.lingering import Lingering

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

S = TypeVar("S", bound=socket.socket)


class SharedLingering(Lingering):
    """`Lingering` for several threads. Nobody holds its lock while waiting.

    ``lock`` is that of all that its owner shares: a second one might be waited for in another order.
    """

    def __init__(self, clock: Callable[[], float], lock: threading.RLock) -> None:
        super().__init__(clock)
        self._lock = lock

    def release(self, sock: socket.socket, replies: int = 1) -> None:
        """See `Lingering.release`."""
        with self._lock:
            super().release(sock, replies)

    def sweep(self) -> None:
        """See `Lingering.sweep`."""
        with self._lock:
            super().sweep()

    def close(self) -> None:
        """See `Lingering.close`."""
        with self._lock:
            super().close()

    def wait(self) -> None:
        """Until every socket is gone, each for its time at most; the calling thread waits.

        What other threads release meanwhile may be there still.
        """
        end = self._clock() + lingering.PATIENCE
        while True:
            with self._lock:
                self.sweep()
                now = self._clock()
                if self._epoll is None or now >= end:
                    return
                soonest = min(left.until for left in self._left.values())
                epoll = select.epoll.fromfd(os.dup(self._epoll.fileno()))
            with contextlib.closing(epoll):
                epoll.poll(max(min(soonest, end) - now, 0))


class LeavingSocket(socket.socket):
    """A socket that leaves quietly when it is closed, and nothing made of it reads any more."""

    lingering: Lingering | None = None

    def _real_close(self, *arguments: Any) -> None:  # what `close` and the end of a `makefile` come to
        _leave(self)
        super()._real_close(*arguments)  # type: ignore[misc]


class LeavingTls(ssl.SSLSocket):
    """The same inside TLS."""

    lingering: Lingering | None = None

    def _real_close(self, *arguments: Any) -> None:
        _leave(self)
        super()._real_close(*arguments)  # type: ignore[misc]


def quiet(sock: socket.socket, lingering: Lingering | None) -> socket.socket:
    """The same connection, as a socket that leaves quietly if it has to; the one given may be no more.

    A TLS socket of a context's own class (``SSLContext.sslsocket_class``) stays as it is.
    """
    if lingering is None:
        return sock
    if type(sock) is ssl.SSLSocket:
        sock.__class__ = LeavingTls
        sock.lingering = lingering  # type: ignore[attr-defined]
        return sock
    if isinstance(sock, ssl.SSLSocket):
        return sock
    timeout = sock.gettimeout()
    own = LeavingSocket(fileno=sock.detach())
    own.settimeout(timeout)
    own.lingering = lingering
    return own


def _leave(sock: LeavingSocket | LeavingTls) -> None:
    lingering, sock.lingering = sock.lingering, None
    if lingering is not None and sock.fileno() >= 0:
        with contextlib.suppress(OSError):  # no descriptor to spare: the plain close is all there is
            lingering.release(socket.socket(fileno=os.dup(sock.fileno())))
