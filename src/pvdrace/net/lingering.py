"""Close sockets without a stray packet.

A socket that is gone takes its pin with it. What the peer still sends is then answered by the kernel alone
(RST, ICMP port unreachable), and that answer follows the routing table: out of the default link, whatever
policy says of that link (measured: one RST on the default link for every attempt closed before its SYN-ACK
came). So where policy forbids a PvD, sockets whose peer may still speak are not closed but left here: they
stay open, pinned, until the peer has had its say or some time has passed.

Nothing runs in the background: `Lingering.sweep` is called when the owner does something else, and
`Lingering.settle` when it ends.
"""

from __future__ import annotations

import contextlib
import select
import socket
import struct
from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from collections.abc import Callable

#: How long a socket stays at most, in seconds: who has not answered by then hardly will.
PATIENCE = 1.0
#: More than this are not kept: the oldest goes first.
MOST = 256
ABORT = struct.pack("ii", 1, 0)  # SO_LINGER: close with RST, on the socket's own device


class Lingering:
    """Sockets that are done with, and whose peers may not know it yet."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._sockets: dict[int, tuple[socket.socket, float]] = {}
        self._epoll: select.epoll | None = None

    def __len__(self) -> int:
        return len(self._sockets)

    def release(self, sock: socket.socket) -> None:
        """Take a socket over: say good-bye on it, and close it when nothing more is to be expected.

        A TCP socket gets a FIN once it is connected, and goes when the peer's has come; a UDP socket goes
        when something has come, for it was asked one question.
        """
        if sock.fileno() < 0:
            return
        self.sweep()
        if len(self._sockets) >= MOST:
            self._drop(next(iter(self._sockets)))
        if self._epoll is None:
            self._epoll = select.epoll()
        stream = sock.type == socket.SOCK_STREAM
        sock.setblocking(False)
        self._epoll.register(sock, select.EPOLLOUT if stream else select.EPOLLIN)
        self._sockets[sock.fileno()] = sock, self._clock() + PATIENCE

    def sweep(self) -> None:
        """Do what can be done now, without waiting."""
        if self._epoll is None:
            return
        for descriptor, events in self._epoll.poll(0):
            self._step(self._epoll, descriptor, events)
        now = self._clock()
        for descriptor in [d for d, (_, until) in self._sockets.items() if now >= until]:
            self._drop(descriptor)
        if not self._sockets:
            self._epoll.close()
            self._epoll = None

    async def settle(self) -> None:
        """Wait until every socket is gone, each at most for its time."""
        self.sweep()
        while self._epoll is not None:
            left = min(until for _, until in self._sockets.values()) - self._clock()
            with anyio.move_on_after(max(left, 0)):
                await anyio.wait_readable(self._epoll.fileno())
            self.sweep()

    def close(self) -> None:
        """Close them all now, come what may."""
        for descriptor in list(self._sockets):
            self._drop(descriptor)
        self.sweep()

    def _step(self, epoll: select.epoll, descriptor: int, events: int) -> None:
        sock, _ = self._sockets[descriptor]
        if sock.type != socket.SOCK_STREAM or events & (select.EPOLLERR | select.EPOLLHUP):
            self._drop(descriptor)
        elif events & select.EPOLLOUT:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_WR)
            epoll.modify(descriptor, select.EPOLLIN | select.EPOLLRDHUP)
        else:
            if _drained(sock):
                self._drop(descriptor)

    def _drop(self, descriptor: int) -> None:
        sock, _ = self._sockets.pop(descriptor)
        with contextlib.suppress(OSError):
            if sock.type == socket.SOCK_STREAM and not _has_ended(sock):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)
        sock.close()


def _drained(sock: socket.socket) -> bool:
    """Read what there is to read; whether that was all there will ever be."""
    try:
        while sock.recv(65536):
            pass
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def _has_ended(sock: socket.socket) -> bool:
    """Whether the peer's FIN is in: then the usual close is the quiet one (TIME-WAIT keeps the device)."""
    try:
        return sock.recv(1, socket.MSG_PEEK) == b""
    except OSError:
        return False
