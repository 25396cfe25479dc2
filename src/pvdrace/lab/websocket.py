"""The public server's WebSockets (RFC 6455): a text message is a path, answered with the bytes that are
there; a binary one is answered with its SHA-256 in hexadecimal. No extensions, no subprotocols."""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING

from .content import Content, content

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Mapping

_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING, _PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
_FINAL, _MASKED = 0x80, 0x80
_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 s1.3


async def serve_websocket(
    headers: Mapping[str, str], reader: asyncio.StreamReader, writer: asyncio.StreamWriter, name: str
) -> None:
    """Answer a request to upgrade, and every message after it, until the client closes."""
    writer.write(accepted(headers.get("sec-websocket-key", ""), name))
    message = b""
    kind = _TEXT
    while True:
        await writer.drain()
        final, opcode, payload = await _read_frame(reader)
        if opcode == _CLOSE:
            writer.write(frame_head(_CLOSE, len(payload)) + payload)
            return
        if opcode == _PING:
            writer.write(frame_head(_PONG, len(payload)) + payload)
        if opcode in (_TEXT, _BINARY):
            kind, message = opcode, payload
        elif opcode == _CONTINUATION:
            message += payload
        if not final or opcode >= _CLOSE:
            continue
        if kind == _BINARY:
            digest = hashlib.sha256(message).hexdigest().encode()
            writer.write(frame_head(_TEXT, len(digest)) + digest)
        else:
            await _send(content(message.decode(), name), writer)


def accepted(key: str, name: str) -> bytes:
    """The answer to a request to upgrade (s4.2.2)."""
    digest = hashlib.sha1((key + _GUID).encode(), usedforsecurity=False).digest()
    lines = [
        "HTTP/1.1 101 Switching Protocols",
        f"Server: pvdrace-lab/{name}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Accept: {base64.b64encode(digest).decode()}",
    ]
    return "\r\n".join([*lines, "", ""]).encode()


def frame_head(opcode: int, length: int) -> bytes:
    """The head of a frame that is a message of its own, of a server (s5.2)."""
    first = bytes([_FINAL | opcode])
    if length < 126:
        return first + bytes([length])
    if length < 1 << 16:
        return first + b"\x7e" + length.to_bytes(2, "big")
    return first + b"\x7f" + length.to_bytes(8, "big")


def masked(payload: bytes, key: bytes) -> bytes:
    """With the mask of four bytes on it, or off it again (s5.3)."""
    size = len(payload)
    repeated = (key * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(repeated, "big")).to_bytes(size, "big")


async def _read_frame(reader: asyncio.StreamReader) -> tuple[bool, int, bytes]:
    """Whether it ends a message, the opcode, the payload; ValueError if it has no mask, as it must have."""
    first, second = await reader.readexactly(2)
    if not second & _MASKED:
        raise ValueError("a client's frame without a mask")
    length = second & 0x7F
    if length > 125:
        length = int.from_bytes(await reader.readexactly(2 if length == 126 else 8), "big")
    key = await reader.readexactly(4)
    return bool(first & _FINAL), first & 0x0F, masked(await reader.readexactly(length), key)


async def _send(what: Content, writer: asyncio.StreamWriter) -> None:
    writer.write(frame_head(_BINARY, what.length))
    for piece in what.pieces():
        writer.write(piece)
        await writer.drain()
