"""What a blocking race is won for: the socket, with the report that explains how it was won."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket
    from types import TracebackType
    from typing import Self

    from ..holdings import Holding
    from ..paths import Path
    from ..race.report import RaceReport


class Connection:
    """A connected socket, `sock`, and its `report`. Also a context manager that closes it.

    ``sock`` is an `ssl.SSLSocket` where TLS was asked for. It blocks, with the timeout of
    `socket.getdefaulttimeout`; set another one with ``sock.settimeout``. ``path`` is for
    `Connector.objection`.
    """

    __slots__ = ("_holding", "path", "report", "sock")

    def __init__(
        self, sock: socket.socket, report: RaceReport, path: Path, holding: Holding | None = None
    ) -> None:
        self.sock = sock
        self.report = report
        self.path = path
        self._holding = holding

    @property
    def preempted(self) -> bool:
        """Whether a connection with a higher priority has taken the exclusive PvD of this one.

        It still works, as long as the network lets it. Never true where the PvD is not exclusive.
        """
        return self._holding is not None and self._holding.preempted

    def recv(self, max_bytes: int = 65536) -> bytes:
        """At most ``max_bytes`` bytes; none at the end. Raises OSError (TimeoutError) as the socket does."""
        return self.sock.recv(max_bytes)

    def send(self, data: bytes) -> None:
        """Send all the bytes. Raises OSError (TimeoutError) as the socket does."""
        self.sock.sendall(data)

    def close(self) -> None:
        """Close the connection. Harmless when done twice.

        Where policy forbids a PvD, the socket itself stays for a moment after, until the peer has said
        good-bye: what a peer sends to a socket that is gone, the kernel answers by the routing table.
        """
        self.sock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        winner = self.report.winner
        way = f"{winner.pvd} {winner.remote}" if winner else "?"
        return f"<Connection {self.report.endpoint} via {way}>"
