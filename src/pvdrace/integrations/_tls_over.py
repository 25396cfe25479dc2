"""TLS over a socket that stays itself, TLS or not: what `ssl.SSLContext.wrap_socket` cannot do."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

T = TypeVar("T")

#: Bytes that are read at once: a record of TLS and its overhead (RFC 8446 s5.2).
RECORD = 16384 + 256 + 5


class TlsOver:
    """TLS inside of ``sock``, which may be TLS itself; the handshake is done. It blocks, like a socket.

    ``sock`` stays as it is: what its class does when it is closed, it does here. Raises as the handshake of
    an `ssl.SSLSocket`; ``sock`` is the caller's then.
    """

    def __init__(
        self,
        sock: socket.socket | TlsOver,
        context: ssl.SSLContext,
        server_hostname: str | None,
        timeout: float | None,
    ) -> None:
        self.sock = sock
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.ssl_object = context.wrap_bio(self._incoming, self._outgoing, server_hostname=server_hostname)
        self.settimeout(timeout)
        self._exchange(self.ssl_object.do_handshake)

    def settimeout(self, timeout: float | None) -> None:
        """Seconds that each step may take; None for no limit."""
        self.sock.settimeout(timeout)

    def recv(self, max_bytes: int) -> bytes:
        """At most ``max_bytes`` bytes; none at the end."""
        try:
            return self._exchange(lambda: self.ssl_object.read(max_bytes))
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
            return b""

    def send(self, data: Any) -> int:
        """Send some of the bytes; how many."""
        return self._exchange(lambda: self.ssl_object.write(data))

    def close(self) -> None:
        """Close the socket."""
        self.sock.close()

    def fileno(self) -> int:
        """The socket's."""
        return self.sock.fileno()

    def getsockname(self) -> Any:
        """The socket's."""
        return self.sock.getsockname()

    def getpeername(self) -> Any:
        """The socket's."""
        return self.sock.getpeername()

    def _exchange(self, step: Callable[[], T]) -> T:
        while True:
            try:
                done = step()
            except ssl.SSLWantReadError:
                self._flush()
                received = self.sock.recv(RECORD)
                if received:
                    self._incoming.write(received)
                else:
                    self._incoming.write_eof()
                continue
            except ssl.SSLError:
                self._flush()  # the alert that says why
                raise
            self._flush()
            return done

    def _flush(self) -> None:
        left = memoryview(self._outgoing.read())
        while left:
            left = left[self.sock.send(left) :]
