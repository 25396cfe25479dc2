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
    from collections.abc import Awaitable, Callable

    from ..model import Candidate

#: Seconds that a client has to begin with its first flight; then the transport that is there is the winner.
PATIENCE = 1.0


class Intercepted(Exception):
    """The answer to a ClientHello is none of a TLS server's; ``str()`` is one line."""


class FirstFlight:
    """One client's. ``accept`` tells it that it is connected, on the transport that was there first.

    ``said`` is what the client has said so far; in the end, ``left`` is what the winner has not heard yet.
    ``alert`` is what a server answered last that would not talk TLS with this client: if nobody else will,
    the client is to hear it.
    """

    def __init__(
        self, client: socket.socket, said: bytes, accept: Callable[[socket.socket], Awaitable[None]]
    ) -> None:
        self.said = bytearray(said)
        self.alert = b""
        self.accepted = False
        self._client = client
        self._accept = accept
        self._heard = 0  # bytes of it that the winner has
        self._length = 0  # bytes of the ClientHello; 0: there is none
        self._connected = anyio.Event()
        self._known = anyio.Event()

    @property
    def left(self) -> bytes:
        """What the client has said and the winner has not heard."""
        return bytes(self.said[self._heard :])

    async def read(self) -> None:
        """Read the first flight, once somebody is connected. To be run beside the race."""
        await self._connected.wait()
        try:
            with anyio.move_on_after(PATIENCE):
                while (found := hello(self.said)) is Hello.INCOMPLETE:
                    data = await receive(self._client)
                    if not data:
                        break
                    self.said += data
                if isinstance(found, int):
                    self._length = found
        except OSError:
            pass  # the client has gone: whoever relays finds out
        self._known.set()

    async def stage(self, sock: socket.socket, candidate: Candidate) -> socket.socket:
        """`Connector.race_for`'s: the socket, as soon as it is known that a server talks TLS on it."""
        try:
            if not self.accepted:
                self.accepted = True
                with contextlib.suppress(OSError):  # a client that has gone is no fault of this path
                    await self._accept(sock)
                self._connected.set()
            if not await self._server_speaks_first(sock) and self._length:
                await send(sock, bytes(self.said[: self._length]))
                await self._judge(sock)
                self._heard = self._length
        except BaseException:
            sock.close()
            raise
        return sock

    async def _server_speaks_first(self, sock: socket.socket) -> bool:
        """Wait for the first flight. Whether the server said something before it."""
        spoken = False
        if not self._known.is_set():
            async with anyio.create_task_group() as tasks:

                async def listen() -> None:
                    nonlocal spoken
                    await anyio.wait_readable(sock)
                    spoken = True
                    tasks.cancel_scope.cancel()

                tasks.start_soon(listen)
                await self._known.wait()
                tasks.cancel_scope.cancel()
        if spoken and _peek(sock) == b"":
            raise Intercepted("closed by the peer")
        return spoken

    async def _judge(self, sock: socket.socket) -> None:
        while True:
            await anyio.wait_readable(sock)
            said = _peek(sock)
            if said is None:
                continue
            if not said:
                raise Intercepted("closed by the peer after the ClientHello")
            what = answer(said)
            if what is Answer.HANDSHAKE:
                return
            if what is Answer.ALERT:
                with contextlib.suppress(OSError):
                    self.alert = sock.recv(4096)
                raise Intercepted("a TLS alert for the ClientHello")
            if what is Answer.PLAIN:
                raise Intercepted("no TLS in answer to the ClientHello")
            await anyio.sleep(0.005)  # a byte or two of a record


def _peek(sock: socket.socket) -> bytes | None:
    """What is there, left there; empty at the end, None for nothing yet. Raises OSError."""
    try:
        return sock.recv(16, socket.MSG_PEEK)
    except BlockingIOError:
        return None


async def discard(sock: socket.socket) -> None:
    """Close a product that came too late."""
    sock.close()
