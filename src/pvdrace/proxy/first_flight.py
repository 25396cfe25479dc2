"""A TLS client's first flight as a stage of the race: a path that is intercepted there loses.

The client is told that it is connected as soon as a transport is: else it would not speak. Its ClientHello is
kept, and said on each path that comes that far; the first whose server answers with a handshake record wins.
A reset, an end, silence, plaintext or an alert is a path that has lost. Nothing else is ever said twice.
"""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING

import anyio

from .client_hello import Answer, Hello, answer, hello
from .relay import receive, send

if TYPE_CHECKING:
    from ..model import Candidate

#: Seconds that a client has for its first flight; then the transport that is there is the winner.
PATIENCE = 0.5
#: Bytes of a refusal that are kept for the client: an alert has 7.
LONGEST_ALERT = 1024


class Intercepted(Exception):
    """The answer to a ClientHello is none of a TLS server's; ``str()`` is one line."""


class FirstFlight:
    """One client's; ``said`` is what it has said so far.

    In the end ``left`` is what the winner has not heard yet. ``alert`` is what a server answered last that
    would not talk TLS with this client: if nobody else will, the client is to hear it.
    """

    def __init__(self, client: socket.socket, said: bytes) -> None:
        self.said = bytearray(said)
        self.alert = b""
        self._client = client
        self._length = 0

    @property
    def left(self) -> bytes:
        """What the client has said and the winner has not heard."""
        return bytes(self.said[self._length :])

    async def read(self) -> bool:
        """Read the first flight of a client that knows that it is connected; whether it is a ClientHello."""
        found: int | Hello = Hello.INCOMPLETE
        with anyio.move_on_after(PATIENCE), contextlib.suppress(OSError):  # gone: whoever relays finds out
            while (found := hello(self.said)) is Hello.INCOMPLETE:
                data = await receive(self._client)
                if not data:
                    break
                self.said += data
        self._length = found if isinstance(found, int) else 0
        return self._length > 0

    async def stage(self, sock: socket.socket, candidate: Candidate) -> socket.socket:
        """`Provisional.finish`'s: the socket, as soon as it is known that a server talks TLS on it."""
        try:
            await send(sock, bytes(self.said[: self._length]))
            await self._judge(sock)
        except BaseException:
            sock.close()
            raise
        return sock

    async def _judge(self, sock: socket.socket) -> None:
        while True:
            await anyio.wait_readable(sock)
            try:
                said = sock.recv(LONGEST_ALERT, socket.MSG_PEEK)
            except BlockingIOError:
                continue
            if not said:
                raise Intercepted("closed by the peer after the ClientHello")
            what = answer(said)
            if what is Answer.HANDSHAKE:
                return
            if what is Answer.ALERT:
                self.alert = said
                raise Intercepted("a TLS alert for the ClientHello")
            if what is Answer.PLAIN:
                raise Intercepted("no TLS in answer to the ClientHello")
            await anyio.sleep(0.005)  # a byte or two of a record


async def discard(sock: socket.socket) -> None:
    """Close a product that came too late."""
    sock.close()
