"""The shared public server: it says through which provider a connection came. One handler for all its
ports.

* A client that speaks first gets HTTP for HTTP (`websocket` where it asks to upgrade), `resp` for a command
  of Redis, and one line with the provider's name for any other line.
* A TLS client that negotiated no application protocol and stays silent gets the line at once, unasked; so
  does everybody on ``who`` (17); ``ssh`` (22) sends a banner with the name in it; ``echo`` (7) echoes."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import unquote

from .content import BLOCK, content, whole
from .plan import PORTS
from .resp import MARK, serve_command
from .websocket import serve_websocket

if TYPE_CHECKING:
    import socket
    from pathlib import Path

_PATIENCE = 0.02  # seconds that a silent TLS client has to speak first
_FILES_PATH = "/files/"
_METHODS = (b"GET ", b"HEAD ", b"POST ", b"PUT ", b"DELETE ", b"OPTIONS ", b"PATCH ")

Name = Callable[[str], str]


async def serve(
    name_of: Name, certificate: str, listen: Callable[[int], list[socket.socket]], files: Path
) -> list[asyncio.Server]:
    """Start every server; ``name_of`` tells the provider of a peer address, ``listen`` opens a port's
    sockets, ``files`` is what ``/files/`` shows."""
    context = tls_context(certificate)
    started = []
    for service, port in PORTS.items():
        handler = _Handler(name_of, service, files)
        for sock in listen(port):
            tls = context if service.startswith("https") else None
            started.append(await asyncio.start_server(handler, sock=sock, ssl=tls))
    return started


def tls_context(certificate: str) -> ssl.SSLContext:
    """A server's context from one PEM file."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    context.set_alpn_protocols(["http/1.1"])
    return context


class _Handler:
    def __init__(self, name_of: Name, service: str, files: Path) -> None:
        self.name_of = name_of
        self.files = files
        self.service = service

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        name = self.name_of(writer.get_extra_info("peername")[0])
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, ValueError, ssl.SSLError):
            await self._talk(name, reader, writer)
        writer.close()
        with contextlib.suppress(OSError, ssl.SSLError):
            await writer.wait_closed()

    async def _talk(self, name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.service == "who":
            writer.write(f"{name}\n".encode())
            await writer.drain()
            return
        if self.service == "echo":
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
            return
        if self.service == "ssh":
            writer.write(f"SSH-2.0-lab_{name}\r\n".encode())
            await reader.read()
            return
        silent = (
            writer.get_extra_info("ssl_object") is not None
            and not writer.get_extra_info("ssl_object").selected_alpn_protocol()
        )
        line: bytes | None = None
        if silent:
            pending = asyncio.ensure_future(reader.readline())
            done, _ = await asyncio.wait([pending], timeout=_PATIENCE)
            if not done:
                writer.write(f"{name}\n".encode())
            line = await pending
        while True:
            line = line if line is not None else await reader.readline()
            if not line:
                return
            if line.startswith(_METHODS):
                if not await respond(line, reader, writer, name, self.files):
                    return
            elif line.startswith(MARK):
                await serve_command(line, reader, writer, name)
            else:
                writer.write(f"{name}\n".encode())
            await writer.drain()
            line = None


async def respond(
    request: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, name: str, files: Path
) -> bool:
    """One HTTP/1.1 exchange; whether the connection stays.

    ``/generate_204`` is empty, ``/sha256`` the digest of the body that was sent, in hexadecimal,
    ``/files/NAME`` a file's content; the rest is `content`. A request to upgrade is a WebSocket's.
    """
    method, path, version = (*request.decode("latin-1").split(), "", "")[:3]
    headers = await read_headers(reader)
    if headers.get("upgrade", "").lower() == "websocket":
        await serve_websocket(headers, reader, writer, name)
        return False
    if headers.get("expect", "").lower() == "100-continue":
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    digest = await read_body(headers, reader)
    status, keep = "200 OK", version == "HTTP/1.1" and headers.get("connection", "").lower() != "close"
    kind = "text/plain"
    if path == "/generate_204":
        status, what = "204 No Content", whole(b"")
    elif path == "/sha256":
        what = whole(f"{digest}\n".encode())
    elif path.startswith(_FILES_PATH):
        status, kind, body = _file(files, path.removeprefix(_FILES_PATH).partition("?")[0])
        what = whole(body)
    else:
        what = content(path, name)
    head = [
        f"HTTP/1.1 {status}",
        f"Server: pvdrace-lab/{name}",
        f"Connection: {'keep-alive' if keep else 'close'}",
    ]
    if not status.startswith("204"):
        head += [f"Content-Type: {kind}", f"Content-Length: {what.length}"]
    writer.write("\r\n".join([*head, "", ""]).encode())
    if method == "HEAD":
        return keep
    for piece in what.pieces():
        writer.write(piece)
        await writer.drain()
    return keep


def _file(files: Path, name: str) -> tuple[str, str, bytes]:
    """Status, media type and content; a directory's is its ``index.html``."""
    wanted = (files / unquote(name)).resolve()
    wanted = wanted / "index.html" if wanted.is_dir() else wanted
    if not wanted.is_relative_to(files.resolve()) or not wanted.is_file():
        return "404 Not Found", "text/plain", b"no such file\n"
    kind = "text/html" if wanted.suffix == ".html" else "application/octet-stream"
    return "200 OK", kind, wanted.read_bytes()


async def read_headers(reader: asyncio.StreamReader) -> dict[str, str]:
    """Header fields by lower-case name."""
    headers: dict[str, str] = {}
    while (line := (await reader.readline()).decode("latin-1").rstrip("\r\n")) != "":
        key, _, value = line.partition(":")
        headers[key.lower()] = value.strip()
    return headers


async def read_body(headers: dict[str, str], reader: asyncio.StreamReader) -> str:
    """Read a body, with a length or in chunks (RFC 9112 s6); its SHA-256."""
    digest = hashlib.sha256()

    async def take(left: int) -> None:
        while left:
            data = await reader.readexactly(min(left, BLOCK))
            digest.update(data)
            left -= len(data)

    if headers.get("transfer-encoding", "").lower() == "chunked":
        while size := int((await reader.readline()).split(b";")[0], 16):
            await take(size)
            await reader.readline()
        while (await reader.readline()).strip():
            pass  # trailers
    else:
        await take(int(headers.get("content-length", "0")))
    return digest.hexdigest()
