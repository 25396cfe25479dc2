"""Web servers on the loopback, each connection in a thread: HTTP/1.1 and HTTP/2, inside TLS or not."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import h2.config
import h2.connection
import h2.events


class Web:
    """An HTTP/1.1 server that keeps connections and says its word; what is sent to it, it says back.

    ``connections`` counts those that were made; ``asked`` has the request lines.
    """

    def __init__(
        self, address: str, port: int = 0, *, word: bytes = b"hello", context: ssl.SSLContext | None = None
    ) -> None:
        self.connections = 0
        self.asked: list[str] = []
        web = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                web.connections += 1
                self.request.settimeout(20)
                if context is not None:
                    self.request = context.wrap_socket(self.request, server_side=True)
                super().setup()

            def finish(self) -> None:
                with contextlib.suppress(OSError):
                    super().finish()
                self.request.close()

            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                web.asked.append(self.requestline)
                self.send_response(200)
                self.send_header("content-length", str(len(body or word)))
                self.end_headers()
                self.wfile.write(body or word)

            do_PUT = do_GET

            def log_message(self, *_: Any) -> None: ...

        class Quiet(ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False

            def handle_error(self, *_: Any) -> None: ...

        self.server = Quiet((address, port), Handler)
        self.port: int = self.server.server_port
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()

    def __enter__(self) -> Web:
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.thread.join(10)
        self.server.server_close()


class Web2:
    """An HTTP/2 server inside TLS: ``/hold`` is answered when `release` is set, all else at once."""

    def __init__(self, address: str, context: ssl.SSLContext) -> None:
        context.set_alpn_protocols(["h2"])
        self.context = context
        self.connections = 0
        self.release = threading.Event()
        self.closing = False
        self.sock = socket.create_server((address, 0))
        self.port: int = self.sock.getsockname()[1]
        self.thread = threading.Thread(target=self._accept, daemon=True)
        self.thread.start()

    def _accept(self) -> None:
        while True:
            peer, _ = self.sock.accept()
            if self.closing:
                peer.close()
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(peer,), daemon=True).start()

    def _serve(self, peer: socket.socket) -> None:
        with contextlib.suppress(OSError), peer:
            peer.settimeout(20)
            with self.context.wrap_socket(peer, server_side=True) as secure:
                talk = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
                talk.initiate_connection()
                secure.sendall(talk.data_to_send())
                while data := secure.recv(65536):
                    for event in talk.receive_data(data):
                        if isinstance(event, h2.events.RequestReceived):
                            self._answer(talk, secure, event)
                    secure.sendall(talk.data_to_send())

    def _answer(self, talk: h2.connection.H2Connection, secure: ssl.SSLSocket, event: Any) -> None:
        talk.send_headers(event.stream_id, [(":status", "200")])
        secure.sendall(talk.data_to_send())
        if (b":path", b"/hold") in event.headers:
            self.release.wait(10)
        talk.send_data(event.stream_id, b"hello", end_stream=True)

    def __enter__(self) -> Web2:
        return self

    def __exit__(self, *_: object) -> None:
        self.closing = True
        self.release.set()
        socket.create_connection(self.sock.getsockname(), 5).close()
        self.thread.join(5)
        self.sock.close()
