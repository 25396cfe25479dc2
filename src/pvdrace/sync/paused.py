"""A socket that has won nothing yet: it carries its race until it is known what follows the handshake."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Any

from ..drivers.blocking_stages import SocketStage
from ..net.pins import CHOOSING
from .leaving import LeavingSocket
from .sockets import as_the_library

if TYPE_CHECKING:
    import ssl

    from ..net.lingering import Lingering
    from .provisional import Provisional


def check_option(option: tuple[Any, ...]) -> None:
    """ValueError for a socket option that would move a connection out of its PvD."""
    if name := CHOOSING.get(option[:2]):
        raise ValueError(f"{name} chooses a path behind the race's back: require a PvD")


class PausedSocket(LeavingSocket):
    """For programs that connect first and make their TLS on the socket later.

    `secure` (the patched ``SSLContext.wrap_socket``, see `installed`) makes TLS a stage of the race, so that
    another connection may take this one's place. Whatever else shows or moves a byte of the connection
    settles the race before: it has won then, and this is an ordinary socket. Timeouts and options may be set
    meanwhile.
    """

    def __init__(self, race: Provisional, timeout: float | None) -> None:
        self._race: Provisional | None = None
        leader = race.leader()
        super().__init__(leader.family, leader.type, leader.proto, os.dup(leader.fileno()))
        # Not the descriptor's own: that it never blocks is a property that the race's socket shares.
        self._timeout = timeout
        self._options: list[tuple[Any, ...]] = []
        self._race = race

    @property
    def paused(self) -> bool:
        """Whether its race goes on."""
        return self._race is not None

    def secure(self, context: ssl.SSLContext, server_hostname: str | None, **options: Any) -> ssl.SSLSocket:
        """Let the race go on with TLS; the winner, which need not be this connection. This socket is gone.

        Raises OSError, also `ssl.SSLError`, as `pvdrace.sync.errors.as_os_error` says.
        """
        race, self._race = self._race, None
        assert race is not None
        stage = SocketStage(context, server_hostname, **options)
        try:
            secure, _ = as_the_library(lambda: race.finish(stage, ready="tls", timeout=self._timeout))
        finally:
            self.close()
        try:
            for option in self._options:
                secure.setsockopt(*option)
        except BaseException:
            secure.close()
            raise
        secure.settimeout(self._timeout)
        return secure  # type: ignore[no-any-return]

    def settle(self) -> None:
        """This connection has won. Harmless when it has already."""
        race, self._race = self._race, None
        if race is not None:
            as_the_library(lambda: race.settle_into(self._take))

    def _take(self, sock: socket.socket, lingering: Lingering | None) -> socket.socket:
        os.close(super().detach())
        socket.socket.__init__(self, fileno=sock.detach())
        self.lingering = lingering
        super().settimeout(self._timeout)
        return self

    # What may be said and asked while the race goes on

    def settimeout(self, value: float | None) -> None:
        """See `socket.socket.settimeout`."""
        if self._race is None:
            super().settimeout(value)
        self._timeout = value

    def gettimeout(self) -> float | None:
        """See `socket.socket.gettimeout`."""
        return super().gettimeout() if self._race is None else self._timeout

    def setblocking(self, flag: bool) -> None:
        """See `socket.socket.setblocking`."""
        self.settimeout(None if flag else 0.0)

    def getblocking(self) -> bool:
        """See `socket.socket.getblocking`."""
        return self.gettimeout() != 0.0

    def setsockopt(self, *option: Any) -> None:
        """See `socket.socket.setsockopt`; whoever wins gets it too. ValueError for another device."""
        check_option(option)
        super().setsockopt(*option)
        if self._race is not None:
            self._options.append(option)

    def dup(self) -> socket.socket:  # type: ignore[override]
        """See `socket.socket.dup`; it settles the race."""
        copy = socket.socket(self.family, self.type, self.proto, os.dup(self.fileno()))
        copy.settimeout(self.gettimeout())
        return copy

    def __repr__(self) -> str:
        return super().__repr__() if self._race is None else f"<{type(self).__name__}, its race goes on>"

    # The end

    def _real_close(self, *arguments: Any) -> None:
        race, self._race = self._race, None
        if race is not None:
            race.close()
        super()._real_close(*arguments)

    # Everything else settles it


def _settling(name: str) -> Any:
    original = getattr(socket.socket, name)

    def method(self: PausedSocket, *arguments: Any, **options: Any) -> Any:
        self.settle()
        return original(self, *arguments, **options)

    method.__name__ = name
    method.__doc__ = f"See `socket.socket.{name}`."
    return method


for _name in (
    "accept",
    "bind",
    "connect",
    "connect_ex",
    "detach",
    "fileno",
    "getpeername",
    "getsockname",
    "ioctl",
    "listen",
    "makefile",
    "recv",
    "recv_into",
    "recvfrom",
    "recvfrom_into",
    "recvmsg",
    "recvmsg_into",
    "send",
    "sendall",
    "sendfile",
    "sendmsg",
    "sendmsg_afalg",
    "sendto",
    "shutdown",
):
    if hasattr(socket.socket, _name):
        setattr(PausedSocket, _name, _settling(_name))
