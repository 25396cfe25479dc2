"""The proxy at a provider's gateway: HTTP CONNECT on one port, SOCKS 5 on another. It resolves names itself,
and servers see the provider's address, as they see that of its other clients."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
from typing import TYPE_CHECKING

from .plan import PROXY_PORT, SOCKS_PORT
from .syscalls import CLONE_NEWNET, setns

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Sequence

    from .records import Record

    Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
    Speak = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[Streams | None]]


async def serve_proxies(
    records: Sequence[Record], namespace: int, sockets: list[tuple[int, socket.socket]]
) -> None:
    """Serve on the given sockets, each told by its port; connections leave from ``namespace``."""
    proxy = _Proxy(records, namespace)
    handlers = {PROXY_PORT: proxy.speak_http, SOCKS_PORT: proxy.speak_socks}
    for port, sock in sockets:
        await asyncio.start_server(proxy.serving(handlers[port]), sock=sock)


class _Proxy:
    def __init__(self, records: Sequence[Record], namespace: int) -> None:
        self.records = records
        self.namespace = namespace

    def serving(self, speak: Speak) -> Callable[..., Coroutine[None, None, None]]:
        """A connection's handler: the tunnel that ``speak`` makes, then bytes both ways."""

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, ValueError):
                behind = await speak(reader, writer)
                if behind is not None:
                    await asyncio.gather(_carry(reader, behind[1]), _carry(behind[0], writer))
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

        return handle

    async def speak_http(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Streams | None:
        """RFC 9110 s9.3.6."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        method, target, _ = head.split("\r\n")[0].split(" ")
        host, _, port = target.rpartition(":")
        if method != "CONNECT" or not port.isdigit():
            writer.write(b"HTTP/1.1 405 Method Not Allowed\r\n\r\n")
            return None
        try:
            behind = await self.dial(host.strip("[]"), int(port))
        except OSError:
            writer.write(b"HTTP/1.1 502 Bad Gateway\r\n\r\n")
            return None
        writer.write(b"HTTP/1.1 200 OK\r\nVia: 1.1 lab\r\n\r\n")
        return behind

    async def speak_socks(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Streams | None:
        """RFC 1928, without authentication."""
        version, methods = await reader.readexactly(2)
        if version != 5 or 0 not in await reader.readexactly(methods):
            writer.write(b"\x05\xff")
            return None
        writer.write(b"\x05\x00")
        _, command, _, kind = await reader.readexactly(4)
        length = (await reader.readexactly(1))[0] if kind == 3 else 4 if kind == 1 else 16
        raw = await reader.readexactly(length)
        host = raw.decode("ascii") if kind == 3 else str(ipaddress.ip_address(raw))
        port = int.from_bytes(await reader.readexactly(2), "big")
        try:
            if command != 1:
                raise OSError("only CONNECT")
            behind = await self.dial(host, port)
        except OSError:
            writer.write(b"\x05\x04\x00\x01" + bytes(6))
            return None
        writer.write(b"\x05\x00\x00\x01" + bytes(6))
        return behind

    async def dial(self, host: str, port: int) -> Streams:
        """Connect from the provider's namespace."""
        address = self.resolve(host)
        setns(self.namespace, CLONE_NEWNET)
        sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
        sock.setblocking(False)
        try:
            await asyncio.wait_for(asyncio.get_running_loop().sock_connect(sock, (address, port)), 5)
            return await asyncio.open_connection(sock=sock)
        except BaseException:
            sock.close()
            raise

    def resolve(self, host: str) -> str:
        """The address of a host, of a name the IPv4 one if it has one."""
        with contextlib.suppress(ValueError):
            return str(ipaddress.ip_address(host))
        found = {
            record.type: record.data for record in self.records if record.name == host.rstrip(".").lower()
        }
        if "CNAME" in found:
            return self.resolve(found["CNAME"])
        address = found.get("A") or found.get("AAAA")
        if address is None:
            raise OSError(f"{host} is unknown")
        return address


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    with contextlib.suppress(OSError):
        writer.write_eof()
