"""A web server on the loopback that keeps its connections, inside TLS or not, and knows who came."""

from __future__ import annotations

import contextlib
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class WebServer(ThreadingHTTPServer):
    """Answers every request with its word. ``connections`` are those that were accepted, by their peers."""

    daemon_threads = True

    def __init__(
        self, address: str, port: int = 0, *, word: str = "hello", context: ssl.SSLContext | None = None
    ) -> None:
        super().__init__((address, port), Handler)
        self.word = word.encode()
        self.context = context
        self.port: int = self.server_address[1]
        self.connections: list[tuple[str, int]] = []
        self.paths: list[str] = []
        self.headers: dict[str, str] = {}

    def finish_request(self, request: Any, client_address: Any) -> None:
        self.connections.append(client_address[:2])
        if self.context is None:
            super().finish_request(request, client_address)
            return
        request.settimeout(5)
        with contextlib.suppress(OSError), self.context.wrap_socket(request, server_side=True) as secure:
            super().finish_request(secure, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is no news."""


class Handler(BaseHTTPRequestHandler):
    server: WebServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.server.paths.append(self.path)
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.server.word)))
        for name, value in self.server.headers.items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(self.server.word)

    def log_message(self, *_: object) -> None:
        """Not a word."""


@contextlib.contextmanager
def serving(*servers: WebServer) -> Iterator[None]:
    threads = [threading.Thread(target=server.serve_forever, args=(0.02,)) for server in servers]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for server, thread in zip(servers, threads, strict=True):
            server.shutdown()
            thread.join(5)
            server.server_close()
