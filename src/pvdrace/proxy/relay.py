"""Carry bytes between two sockets, both ways, until both have ended.

Plain ``recv_into`` and ``send`` on one buffer that all connections share: what the other side takes at once
needs no memory of its own, and only what it does not take is copied, so that an idle connection holds none
and a slow reader at most `LARGE` bytes. Nothing is read while something waits to be sent: back-pressure is
the kernel's. (splice(2) through a pipe takes half the processor for it, gives no more throughput on the
loopback, and costs four descriptors a connection: measured by ``benchmarks/bench_proxy.py``.)
"""

from __future__ import annotations

import contextlib
import socket
import struct
from dataclasses import dataclass, field

import anyio
import anyio.lowlevel

#: Bytes that are read at once: at first, and where the other side keeps up.
SMALL, LARGE = 1 << 16, 1 << 18
#: Reads that may follow each other before others get their turn.
TURNS = 4
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close with RST


@dataclass(eq=False, slots=True)
class Flow:
    """What goes on between a client and its target: bytes up and down, and why it broke, if it did."""

    up: int = 0
    down: int = 0
    broken: str | None = None
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    busy: bool = False  # there is something that a stop has to wait for
    last: bool = False  # what is going on is the last that this client gets
    waiting: socket.socket | None = None  # a client that waits for a race, and may have given up
    ended: bool = False  # one of the two ways has
    seen: int = -1  # what the sweeper saw last, and when
    since: float = 0.0


class Relay:
    """Any number of connections of one event loop."""

    def __init__(self) -> None:
        self._buffer = memoryview(bytearray(LARGE))

    async def run(self, client: socket.socket, server: socket.socket, flow: Flow, first: bytes = b"") -> None:
        """Until both sides have ended, or one is broken. ``first``: what the client has said already.

        An end that is said on one side is said on the other (half-close); the sockets stay the caller's.
        """
        async with anyio.create_task_group() as tasks:

            async def upload() -> None:
                try:
                    if first:
                        flow.up += len(first)
                        await send(server, first)
                    await self._pump(client, server, flow, "up")
                except OSError as error:
                    self._break(flow, error, tasks.cancel_scope)

            tasks.start_soon(upload)
            try:
                await self._pump(server, client, flow, "down")
            except OSError as error:
                self._break(flow, error, tasks.cancel_scope)

    @staticmethod
    def _break(flow: Flow, error: OSError, scope: anyio.CancelScope) -> None:
        flow.broken = flow.broken or (error.strerror or str(error)).lower()
        scope.cancel()

    async def _pump(self, source: socket.socket, sink: socket.socket, flow: Flow, way: str) -> None:
        buffer, size, turns = self._buffer, SMALL, 0
        while True:
            try:
                count = source.recv_into(buffer, size)
            except BlockingIOError:
                turns = 0
                await anyio.wait_readable(source)
                continue
            if count == 0:
                break
            try:
                sent = sink.send(buffer[:count])
            except BlockingIOError:
                sent = 0
            # Nothing was awaited since the bytes came: the buffer is still ours.
            if way == "up":
                flow.up += count
            else:
                flow.down += count
            if sent < count:
                size, turns = SMALL, 0
                await send(sink, bytes(buffer[sent:count]))
                continue
            if count == size < LARGE:
                size *= 2
            turns += 1
            if turns >= TURNS:
                turns = 0
                await anyio.lowlevel.checkpoint()
        if flow.ended:
            return  # both have: they are closed now, which says it
        flow.ended = True
        with contextlib.suppress(OSError):  # it may have gone meanwhile; the other way will say so
            sink.shutdown(socket.SHUT_WR)


def gone(client: socket.socket) -> bool:
    """Whether a client that waits for an answer has closed its connection instead."""
    try:
        return not client.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    except OSError:
        return True


async def send(sock: socket.socket, data: bytes) -> None:
    """Send it all. Raises OSError."""
    left = memoryview(data)
    while left:
        try:
            left = left[sock.send(left) :]
        except BlockingIOError:
            await anyio.wait_writable(sock)


async def receive(sock: socket.socket, size: int = SMALL) -> bytes:
    """What comes next, empty at the end. Raises OSError."""
    while True:
        try:
            return sock.recv(size)
        except BlockingIOError:
            await anyio.wait_readable(sock)


def abort(sock: socket.socket) -> None:
    """Close with a reset: what was said is not all there was to say."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    sock.close()


async def part(sock: socket.socket, patience: float = 1.0) -> None:
    """End after last words, so that the other side gets to read them: what it says meanwhile is read."""
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_WR)
        with anyio.move_on_after(patience):
            for _ in range(64):
                if not await receive(sock):
                    break
