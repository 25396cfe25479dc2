"""What a race waits for, behind one descriptor: its sockets, its tasks, changes of PvDs."""

from __future__ import annotations

import os
import select
from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterable, Sequence

    from .roles import Changes

WRITABLE = select.EPOLLOUT | select.EPOLLERR | select.EPOLLHUP


class Watch:
    """One epoll object for a race, made when it has to wait for the first time."""

    __slots__ = ("_changes", "_epoll", "bell")

    def __init__(self, changes: Changes | None) -> None:
        self._changes = changes
        self._epoll: select.epoll | None = None
        self.bell = -1
        """The eventfd that tasks ring; there from the first waiting that had tasks."""

    def open(self, connecting: Iterable[int], *, tasks: bool, rung: bool) -> None:
        """Be ready to wait for the descriptors of these handshakes, for changes, and for ``tasks``.

        ``rung``: a task has something to say already.
        """
        if self._epoll is None:
            self._epoll = select.epoll()
            for descriptor in connecting:
                self._epoll.register(descriptor, WRITABLE)
            for descriptor in self._changes.open() if self._changes is not None else ():
                self._epoll.register(descriptor, select.EPOLLIN)
        if tasks and self.bell < 0:
            self.bell = os.eventfd(1 if rung else 0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
            self._epoll.register(self.bell, select.EPOLLIN)

    async def wait(self, deadline: float) -> Sequence[tuple[int, int]]:
        """Until something happens or the deadline comes; descriptors and events, as `select.epoll.poll`."""
        assert self._epoll is not None
        with anyio.CancelScope(deadline=deadline):
            await anyio.wait_readable(self._epoll.fileno())
        return self._epoll.poll(0)

    def add(self, sock: socket.socket) -> None:
        """A handshake has begun on this socket."""
        if self._epoll is not None:
            self._epoll.register(sock, WRITABLE)

    def remove(self, sock: socket.socket) -> None:
        """It is over, or not wanted any more; to be said before the socket is closed."""
        if self._epoll is not None:
            self._epoll.unregister(sock)

    def ring(self) -> None:
        """A task has something to say."""
        if self.bell >= 0:
            os.eventfd_write(self.bell, 1)

    def hush(self) -> None:
        """What the tasks said is being heard."""
        os.eventfd_read(self.bell)

    def close(self) -> None:
        """Give the descriptors back."""
        if self._epoll is not None:
            self._epoll.close()
            if self._changes is not None:
                self._changes.close()
        if self.bell >= 0:
            os.close(self.bell)
