"""Set up the tunnel through a proxy, on a connected socket. `net.tunnel` knows what is to be said."""

from __future__ import annotations

import select
import socket
from typing import TYPE_CHECKING

import anyio

from ..net.sockets import describe
from ..net.tunnel import TunnelFailed, tunnel

if TYPE_CHECKING:
    from collections.abc import Generator

    from ..model import Endpoint


async def open_tunnel(sock: socket.socket, proxy: str, destination: Endpoint) -> None:
    """Make a non-blocking connection to a proxy one to the destination; not a byte too many is read.

    How long a silent proxy is waited for is the caller's matter. The socket stays the caller's in any case.
    Raises `TunnelFailed`, one line, whatever went wrong.
    """
    for wanted in tunnelling(sock, proxy, destination):
        if wanted == select.EPOLLIN:
            await anyio.wait_readable(sock)
        else:
            await anyio.wait_writable(sock)


def tunnelling(sock: socket.socket, proxy: str, destination: Endpoint) -> Generator[int, None, None]:
    """As `open_tunnel`, for who waits by other means: yields EPOLLIN or EPOLLOUT where it has to wait."""
    try:
        conversation = tunnel(proxy, destination)
        yield from _send(sock, conversation.begin())
        while not conversation.done:
            yield select.EPOLLIN
            try:
                waiting = sock.recv(4096, socket.MSG_PEEK)
                data = sock.recv(conversation.take(waiting)) if waiting else b""
            except BlockingIOError:
                continue
            if not data:
                raise TunnelFailed("the proxy closed the connection")
            yield from _send(sock, conversation.feed(data))
    except OSError as error:
        raise TunnelFailed(f"the proxy's connection: {describe(error)}") from error
    except ValueError as error:
        raise TunnelFailed(str(error)) from error


def _send(sock: socket.socket, data: bytes) -> Generator[int, None, None]:
    while data:
        try:
            data = data[sock.send(data) :]
        except BlockingIOError:
            yield select.EPOLLOUT
