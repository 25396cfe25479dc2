"""What clients may say about their sockets, and what is for policy to do. Pure."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Socket options that choose a path, by level and number (linux/socket.h, in.h, in6.h).
CHOOSING = {
    (socket.SOL_SOCKET, 5): "SO_DONTROUTE",
    (socket.SOL_SOCKET, 25): "SO_BINDTODEVICE",
    (socket.SOL_SOCKET, 36): "SO_MARK",
    (socket.SOL_SOCKET, 62): "SO_BINDTOIFINDEX",
    (socket.IPPROTO_IP, 8): "IP_PKTINFO",
    (socket.IPPROTO_IP, 50): "IP_UNICAST_IF",
    (socket.IPPROTO_IPV6, 50): "IPV6_PKTINFO",
    (socket.IPPROTO_IPV6, 76): "IPV6_UNICAST_IF",
}


def check_options(options: Iterable[tuple[Any, ...]] | None) -> None:
    """Refuse what would choose a path behind the policy's back: ValueError."""
    for level, option, *_ in options or ():
        if name := CHOOSING.get((level, option)):
            raise ValueError(
                f"socket_options: {name} chooses a path, and comes when the first packets have left: that is "
                "for policy to do, policy=pvdrace.Policy(require=['interface:NAME']) or ['pvd:NAME']"
            )


def check_source(address: tuple[str, int] | None) -> str | None:
    """The address that connections have to come from; ValueError for a port."""
    if address is None:
        return None
    host, port = address[:2]
    if port:
        raise ValueError("source_address: a race has several sockets, which cannot share a port; let it be 0")
    return host or None


def check_kind(connector: object, kind: type) -> None:
    """TypeError for a connector that is not of this kind; None is one of every kind."""
    if connector is not None and not isinstance(connector, kind):
        wanted = f"{kind.__module__.removesuffix('.connector')}.{kind.__name__}"
        raise TypeError(f"connector must be a {wanted}, not {connector!r}")
