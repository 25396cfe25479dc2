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
import os
import select
import socket
import struct
from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from collections.abc import Callable

#: How long a socket stays at most, in seconds: who has not answered by then hardly will.
PATIENCE = 1.0
#: Reads at once from one socket: a peer that sends as fast as it is read keeps nobody from anything else.
_READS = 16
ABORT = struct.pack("ii", 1, 0)  # SO_LINGER: close with RST, on the socket's own device


def close_now(sock: socket.socket, replies: int = 1) -> None:
    """The plain close, for where a stray packet hurts nobody."""
    sock.close()


class LeavingSocket(socket.socket):
    """A socket whose ``close`` leaves quietly: for whoever owns it after us and knows nothing of all this.

    trio takes none of another class than `socket.socket`; asyncio and uvloop do.
    """

    lingering: Lingering | None = None
    spare: socket.socket | None = None

    @classmethod
    def of(cls, sock: socket.socket, lingering: Lingering) -> LeavingSocket:
        """The same socket; the one given is no more."""
        own = cls(fileno=sock.detach())
        own.setblocking(False)
        own.lingering = lingering
        return own

    def close(self) -> None:
        """Close, and let the connection linger until the peer has had its say."""
        self._leave()
        super().close()

    def give_away(self) -> None:
        """To one who closes the descriptor behind our back, and says so by `detach` when it is done: uvloop.

        Raises OSError if there is no descriptor to spare.
        """
        if self.lingering is not None:
            self.spare = socket.socket(fileno=os.dup(self.fileno()))

    def detach(self) -> int:
        """As `socket.socket.detach`; where it was given away, the connection lingers now."""
        if self.spare is not None:
            self._leave()
        return super().detach()

    def _leave(self) -> None:
        lingering, self.lingering = self.lingering, None
        spare, self.spare = self.spare, None
        if lingering is not None and self.fileno() >= 0:
            with contextlib.suppress(OSError):  # no descriptor to spare: the plain close is all there is
                lingering.release(spare or socket.socket(fileno=os.dup(self.fileno())))


class _Left:
    """A socket that is done with: until when it stays, and how many datagrams it is still owed."""

    __slots__ = ("replies", "sock", "stream", "until")

    def __init__(self, sock: socket.socket, until: float, replies: int) -> None:
        self.sock = sock
        self.until = until
        self.replies = replies
        self.stream = sock.type == socket.SOCK_STREAM


class Lingering:
    """Sockets that are done with, and whose peers may not know it yet.

    Their number has no limit of its own: `PATIENCE` bounds it, and a socket that is let go early would break
    the promise that this is for.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._left: dict[int, _Left] = {}
        self._epoll: select.epoll | None = None
        self._closed = False
        self._process = os.getpid()

    def __len__(self) -> int:
        return len(self._left)

    def release(self, sock: socket.socket, replies: int = 1) -> None:
        """Take a socket over: say good-bye on it, and close it when nothing more is to be expected.

        A TCP socket gets a FIN once it is connected, and goes when the peer's has come; a UDP socket goes
        when as many datagrams have come as were asked for (``replies``). After `close`, all go at once. In
        the child of a fork it is a plain close: the connection is the parent's, and a FIN would end it there.
        """
        descriptor = sock.fileno()
        if descriptor < 0:
            return
        if isinstance(sock, LeavingSocket):
            sock.lingering = None  # it is here already: its `close` is to close it, and to bring nothing back
        if os.getpid() != self._process:
            sock.close()
            return
        left = _Left(sock, self._clock() + PATIENCE, replies)
        try:
            sock.setblocking(False)
            if self._closed:
                _say_good_bye(left)
                sock.close()
                return
            if self._epoll is None:
                self._epoll = select.epoll()
            self._epoll.register(descriptor, select.EPOLLOUT if left.stream else select.EPOLLIN)
        except OSError:  # no descriptor to spare for the epoll object
            sock.close()
            return
        self._left[descriptor] = left
        self.sweep()

    def sweep(self) -> None:
        """Do what can be done now, without waiting."""
        if self._epoll is None:
            return
        for descriptor, events in self._epoll.poll(0):
            left = self._left.get(descriptor)
            if left is not None:
                self._step(self._epoll, descriptor, left, events)
        now = self._clock()
        for descriptor in [d for d, left in self._left.items() if now >= left.until]:
            self._drop(descriptor)
        if not self._left:
            self._epoll.close()
            self._epoll = None

    async def settle(self, only: socket.socket | None = None) -> None:
        """Wait until every socket is gone, or only this one; each for its time at most."""
        self.sweep()
        while self._epoll is not None and (only is None or only.fileno() >= 0):
            soonest = min(left.until for left in self._left.values())
            # Several may settle at once, and one descriptor has one waiter: each waits on a copy of it.
            epoll = select.epoll.fromfd(os.dup(self._epoll.fileno()))
            try:
                with anyio.move_on_after(max(soonest - self._clock(), 0)):
                    await anyio.wait_readable(epoll.fileno())
            finally:
                epoll.close()
            self.sweep()

    def close(self) -> None:
        """Close them all now, come what may, and from now on whatever is released."""
        self._closed = True
        for descriptor in list(self._left):
            self._drop(descriptor)
        self.sweep()

    def abandon(self) -> None:
        """In the child of a fork: let go of the descriptors, and touch nothing that the parent shares."""
        for left in self._left.values():
            os.close(left.sock.detach())
        self._left.clear()
        if self._epoll is not None:
            self._epoll.close()
            self._epoll = None

    def reopen(self) -> None:
        """The owner is in use again, maybe in another process than before."""
        self._closed = False
        self._process = os.getpid()

    def _step(self, epoll: select.epoll, descriptor: int, left: _Left, events: int) -> None:
        if not left.stream:
            left.replies -= _received(left.sock)
            if left.replies <= 0:
                self._drop(descriptor)
        elif events & (select.EPOLLERR | select.EPOLLHUP):
            self._drop(descriptor)
        elif events & select.EPOLLOUT:
            _say_good_bye(left)
            epoll.modify(descriptor, select.EPOLLIN | select.EPOLLRDHUP)
        elif _drained(left.sock):
            self._drop(descriptor)

    def _drop(self, descriptor: int) -> None:
        left = self._left.pop(descriptor)
        if self._epoll is not None:
            # Closing is not enough: another process may hold the same open file since a fork.
            with contextlib.suppress(OSError, ValueError):
                self._epoll.unregister(descriptor)
        with contextlib.suppress(OSError):
            if left.stream and not _has_ended(left.sock):
                left.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)
        left.sock.close()


def _say_good_bye(left: _Left) -> None:
    if left.stream:
        with contextlib.suppress(OSError):
            left.sock.shutdown(socket.SHUT_WR)


def _received(sock: socket.socket) -> int:
    """Read the datagrams that are there, and count them; an ICMP error ends the waiting."""
    count = 0
    try:
        while count < _READS:
            sock.recv(65536)
            count += 1
    except BlockingIOError:
        pass
    except OSError:
        return 1 << 30
    return count


def _drained(sock: socket.socket) -> bool:
    """Read what there is to read, or some of it; whether that was all there will ever be."""
    try:
        return not all(sock.recv(65536) for _ in range(_READS))
    except BlockingIOError:
        return False
    except OSError:
        return True


def _has_ended(sock: socket.socket) -> bool:
    """Whether the peer's FIN is in: then the usual close is the quiet one (TIME-WAIT keeps the device)."""
    try:
        return sock.recv(1, socket.MSG_PEEK) == b""
    except OSError:
        return False
