"""The captive portal of a provider: a login page for every HTTP request, and TLS with a certificate of its
own. And the Captive Portal API (RFC 8908), which has a certificate that the lab's clients trust."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from typing import TYPE_CHECKING

from .plan import PORTAL_API_NAME, PORTAL_API_PORT, PORTAL_HTTP_PORT, PORTAL_TLS_PORT
from .web_server import read_body, read_headers, tls_context

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

PAGE = b"<html><head><title>Welcome</title></head><body>Please sign in to use this network.</body></html>\n"


API_PAGE = f"https://{PORTAL_API_NAME}:{PORTAL_API_PORT}/login"


async def serve_api(captive: Callable[[], bool], certificate: str, sock: socket.socket) -> None:
    """Serve the API at ``/captive``, and at any other path the page that it names."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, ValueError, ssl.SSLError):
            while request := await reader.readline():
                await read_body(await read_headers(reader), reader)
                if (*request.decode("latin-1").split(), "", "")[1] == "/captive":
                    state = {"captive": captive(), "user-portal-url": API_PAGE}
                    kind, body = "application/captive+json", json.dumps(state).encode()
                else:
                    kind, body = "text/html", PAGE
                fields = f"Content-Type: {kind}\r\nCache-Control: private\r\nContent-Length: {len(body)}\r\n"
                writer.write(f"HTTP/1.1 200 OK\r\n{fields}\r\n".encode() + body)
                await writer.drain()
        writer.close()
        with contextlib.suppress(OSError, ssl.SSLError):
            await writer.wait_closed()

    await asyncio.start_server(handle, sock=sock, ssl=tls_context(certificate))


async def serve_portal(login_url: str, certificate: str, sockets: list[tuple[int, socket.socket]]) -> None:
    """Serve on the given sockets, each told by its port."""
    context = tls_context(certificate)

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, ValueError, ssl.SSLError):
            while request := await reader.readline():
                await read_body(await read_headers(reader), reader)
                path = (*request.decode("latin-1").split(), "", "")[1]
                if path == "/login":
                    head = (
                        f"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {len(PAGE)}\r\n\r\n"
                    )
                    writer.write(head.encode() + PAGE)
                else:
                    writer.write(
                        f"HTTP/1.1 302 Found\r\nLocation: {login_url}\r\nContent-Length: 0\r\n\r\n".encode()
                    )
                await writer.drain()
        writer.close()
        with contextlib.suppress(OSError, ssl.SSLError):
            await writer.wait_closed()

    for port, sock in sockets:
        assert port in (PORTAL_HTTP_PORT, PORTAL_TLS_PORT)
        await asyncio.start_server(handle, sock=sock, ssl=context if port == PORTAL_TLS_PORT else None)
