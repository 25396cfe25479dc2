"""Python objects over a socket pair between processes of one lab, which trust each other: length, then
pickle."""

from __future__ import annotations

import pickle
import socket
import struct
from typing import Any

_LENGTH = struct.Struct("!I")


class Channel:
    """One end. Not for several threads at once."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock

    def fileno(self) -> int:
        """For select and friends."""
        return self.socket.fileno()

    def send(self, value: object) -> None:
        """Write one object; OSError when the other end is gone."""
        payload = pickle.dumps(value)
        self.socket.sendall(_LENGTH.pack(len(payload)) + payload)

    def receive(self) -> Any:
        """Wait for one object; EOFError when the other end is gone, TimeoutError by the socket's timeout."""
        (length,) = _LENGTH.unpack(self._read(_LENGTH.size))
        return pickle.loads(self._read(length))

    def ask(self, value: object) -> Any:
        """Send, then wait for the answer."""
        self.send(value)
        return self.receive()

    def close(self) -> None:
        """Close this end."""
        self.socket.close()

    def _read(self, length: int) -> bytes:
        parts = bytearray()
        while len(parts) < length:
            part = self.socket.recv(length - len(parts))
            if not part:
                raise EOFError("the other end of the lab's channel is gone")
            parts += part
        return bytes(parts)


def channel_pair() -> tuple[Channel, Channel]:
    """Two ends that talk to each other."""
    one, other = socket.socketpair()
    return Channel(one), Channel(other)
