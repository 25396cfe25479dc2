"""What a race is won for: the stream, with the report that explains how it was won."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Any

import anyio
from anyio.abc import ByteStream, SocketAttribute

from .paths import Path

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .holdings import Holding
    from .net.lingering import Lingering
    from .race.report import RaceReport


class Connection(ByteStream):
    """A connected `anyio.abc.ByteStream` and its `report`.

    Typed attributes (`anyio.abc.SocketAttribute`, `anyio.streams.tls.TLSAttribute`) are those of the stream
    within: ``connection.extra(TLSAttribute.peer_certificate)``. Also an asynchronous context manager.
    """

    __slots__ = ("_farewell", "_holding", "_preempted", "path", "report", "stream")

    def __init__(
        self,
        stream: ByteStream,
        report: RaceReport,
        farewell: Lingering | None = None,
        holding: Holding | None = None,
        path: Path | None = None,
    ) -> None:
        """``farewell`` takes the socket over in the end, where a plain close could send a stray packet.

        ``holding`` is there where the PvD is exclusive; ``path`` is for `Connector.objection`.
        """
        self._holding = holding
        self._preempted: anyio.Event | None = None
        self.stream = stream
        self.report = report
        self.path = path or Path.of(report)
        self._farewell = farewell

    @property
    def preempted(self) -> anyio.Event:
        """Set when a connection with a higher priority has taken the exclusive PvD of this one.

        It still works, as long as the network lets it: closing it, and opening another elsewhere, is the
        application's part. Never set where the PvD is not exclusive.
        """
        if self._preempted is None:
            self._preempted = anyio.Event()
            if self._holding is not None:
                if self._holding.preempted:
                    self._preempted.set()
                self._holding.listeners.append(self._preempted.set)
        return self._preempted

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """Receive at most ``max_bytes`` bytes; raises `anyio.EndOfStream` at the end."""
        return await self.stream.receive(max_bytes)

    async def send(self, item: bytes) -> None:
        """Send all the bytes."""
        await self.stream.send(item)

    async def send_eof(self) -> None:
        """Say that nothing more is to come (not possible inside TLS: raises NotImplementedError)."""
        await self.stream.send_eof()

    async def aclose(self) -> None:
        """Close the connection.

        Where policy forbids a PvD this waits for the peer's good-bye, `pvdrace.net.lingering.PATIENCE`
        seconds at most: what a peer sends to a socket that is gone, the kernel answers by the routing table.
        """
        farewell, self._farewell = self._farewell, None
        spare = _copy(self.stream.extra(SocketAttribute.raw_socket)) if farewell is not None else None
        try:
            await self.stream.aclose()
        finally:
            if farewell is not None and spare is not None:
                farewell.release(spare)
                with anyio.CancelScope(shield=True):
                    await farewell.settle(spare)

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        """The typed attributes of the stream within."""
        return self.stream.extra_attributes

    def __repr__(self) -> str:
        winner = self.report.winner
        path = f"{winner.pvd} {winner.remote}" if winner else "?"
        return f"<Connection {self.report.endpoint} via {path}>"


def _copy(sock: socket.socket) -> socket.socket | None:
    """A second descriptor for a socket; None if it is closed already, or there is none to spare."""
    try:
        return socket.socket(fileno=os.dup(sock.fileno()))
    except OSError:
        return None
