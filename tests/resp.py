"""A server on the loopback that knows as much of Redis as the tests need."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import ssl
import threading
from collections.abc import Iterator
from typing import Any


class Redis(socketserver.ThreadingTCPServer):
    """SET, GET, PING and QUIT in RESP 2; any other command is an error, as of an old server."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, address: str, port: int = 0, context: ssl.SSLContext | None = None) -> None:
        self.values: dict[bytes, bytes] = {}
        self.peers: list[socket.socket] = []
        self.context = context
        super().__init__((address, port), Talk)

    def get_request(self) -> tuple[Any, Any]:
        peer, address = super().get_request()
        self.peers.append(peer)
        return peer, address


class Talk(socketserver.StreamRequestHandler):
    server: Redis

    def setup(self) -> None:
        if self.server.context is not None:
            self.request = self.server.context.wrap_socket(self.request, server_side=True)
        super().setup()

    def handle(self) -> None:
        with contextlib.suppress(OSError):
            while head := self.rfile.readline():
                words = [
                    self.rfile.read(int(self.rfile.readline()[1:]) + 2)[:-2] for _ in range(int(head[1:]))
                ]
                self.wfile.write(self.answer(words))

    def answer(self, words: list[bytes]) -> bytes:
        match [words[0].upper(), *words[1:]]:
            case [b"SET", key, value]:
                self.server.values[key] = value
                return b"+OK\r\n"
            case [b"GET", key]:
                value = self.server.values[key]
                return b"$%d\r\n%s\r\n" % (len(value), value)
            case [b"PING"]:
                return b"+PONG\r\n"
        return b"-ERR unknown command\r\n"

    def finish(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            super().finish()
        self.request.close()


@contextlib.contextmanager
def serving(server: Redis) -> Iterator[Redis]:
    with server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()
