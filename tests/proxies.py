"""Proxies of the tests' own on the loopback, in threads: those that do what they should, and others."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable

Talk = Callable[[socket.socket], None]


class ProxyServer:
    """A listener on the loopback that hands each connection to ``talk``; ``url`` is as a PvD has it."""

    def __init__(self, scheme: str, talk: Talk) -> None:
        self.sock = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.url = f"{scheme}://127.0.0.1:{self.sock.getsockname()[1]}"
        self.talk = talk
        self.asked: list[bytes] = []
        """What each client asked for, as far as the well-behaved proxies read it."""
        self.threads: list[threading.Thread] = []
        self.closing = False
        self.accepting = threading.Thread(target=self._accept, daemon=True)
        self.accepting.start()

    def _accept(self) -> None:
        while True:
            peer, _ = self.sock.accept()
            if self.closing:
                peer.close()
                return
            thread = threading.Thread(target=self._serve, args=(peer,), daemon=True)
            self.threads.append(thread)
            thread.start()

    def _serve(self, peer: socket.socket) -> None:
        with contextlib.suppress(OSError), peer:
            peer.settimeout(5)
            self.talk(peer)

    def __enter__(self) -> ProxyServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.closing = True
        socket.create_connection(self.sock.getsockname(), 5).close()
        self.accepting.join(5)
        for thread in self.threads:
            thread.join(10)
        self.sock.close()


def http_proxy(port: int) -> ProxyServer:
    """Makes each tunnel to a port of 127.0.0.1, whatever host was asked for."""

    def talk(peer: socket.socket) -> None:
        request = b""
        while not request.endswith(b"\r\n\r\n"):
            request += peer.recv(1)
        server.asked.append(request.split(b"\r\n")[0])
        with socket.create_connection(("127.0.0.1", port), 5) as behind:
            # The server's first words in the same segment: whoever reads too much loses them.
            splice(peer, behind, b"HTTP/1.1 200 OK\r\nVia: 1.1 test\r\n\r\n")

    server = ProxyServer("http", talk)
    return server


def socks_proxy(port: int) -> ProxyServer:
    """The same by SOCKS 5."""

    def talk(peer: socket.socket) -> None:
        assert exactly(peer, 3) == b"\x05\x01\x00"
        peer.sendall(b"\x05\x00")
        head = exactly(peer, 5)
        server.asked.append(head + exactly(peer, head[4] + 2))
        with socket.create_connection(("127.0.0.1", port), 5) as behind:
            splice(peer, behind, b"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x50")

    server = ProxyServer("socks5", talk)
    return server


def saying(scheme: str, *pieces: bytes, pause: float = 0.0, then: str = "close") -> ProxyServer:
    """Says this after the client's first words, piece by piece, then closes, ``reset``s or is ``silent``."""

    def talk(peer: socket.socket) -> None:
        peer.recv(4096)
        for piece in pieces:
            peer.sendall(piece)
            time.sleep(pause)
        if then == "silent":
            while peer.recv(4096):
                pass
        elif then == "reset":
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    return ProxyServer(scheme, talk)


def exactly(peer: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        piece = peer.recv(count - len(data))
        if not piece:
            raise OSError("closed")
        data += piece
    return data


def splice(peer: socket.socket, behind: socket.socket, granted: bytes) -> None:
    """Grant the tunnel together with what the server says unasked, then carry bytes both ways."""
    behind.settimeout(0.02)
    first = b""
    with contextlib.suppress(TimeoutError):
        first = behind.recv(65536)
    behind.settimeout(5)
    peer.sendall(granted + first)
    up = threading.Thread(target=_carry, args=(peer, behind), daemon=True)
    up.start()
    _carry(behind, peer)
    up.join(10)


def _carry(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
