"""Open a socket that can only use one provisioning domain, start its connection, read what became of it.

The one place where sockets are made: connection attempts, DNS over UDP and DNS over TCP all come here.
A pin that cannot be set is an error of that socket, never a socket without the pin (fail closed).
No privilege is needed to bind a *fresh* socket to a device (Linux 5.7 and later) or to a source address; to
set a mark takes CAP_NET_ADMIN or CAP_NET_RAW (Linux 5.17 and later for the latter).
"""

from __future__ import annotations

import os
import socket
import struct
from errno import EADDRNOTAVAIL, EAFNOSUPPORT, EINVAL, ENODEV, EPERM
from typing import TYPE_CHECKING, NamedTuple

from ..model import is_link_local, parse_literal
from ..race.ordering import source_address
from .admission import check_route, check_way
from .failures import NoRoute, PinError, describe
from .pins import parse_pin

if TYPE_CHECKING:
    from ..model import ProvisioningDomain

__all__ = [
    "Handshake",
    "NoRoute",
    "PinError",
    "describe",
    "handshake",
    "open_pinned",
    "socket_address",
    "start_connect",
]

_PROTOCOLS = {socket.SOCK_STREAM: socket.IPPROTO_TCP, socket.SOCK_DGRAM: socket.IPPROTO_UDP}
_NON_BLOCKING = socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
_BIND_ADDRESS_NO_PORT = 24  # IP_BIND_ADDRESS_NO_PORT, which the socket module lacks before 3.12
_BINDTOIFINDEX = 62  # SO_BINDTOIFINDEX: read, it is the index of the device that the socket is bound to


class Handshake(NamedTuple):
    """What the kernel measured while a TCP connection was set up: seconds, seconds, and a count."""

    rtt: float
    rttvar: float
    retransmits: int


def open_pinned(
    pvd: ProvisioningDomain, kind: int, remote: str, port: int, *, local: str | None = None
) -> socket.socket:
    """Open a non-blocking socket to ``remote`` that is pinned to ``pvd`` in the way that its ``pin`` says.

    ``kind`` is SOCK_STREAM (returned unconnected, see `start_connect`) or SOCK_DGRAM (returned connected, so
    that the kernel drops what comes from anybody else). ``local`` is the source address; None leaves it to
    the kernel where the device is bound, and to RFC 6724 s5 elsewhere. The device is bound together with the
    source, because the device alone does not match a ``from`` rule. Without the device nothing is sent before
    the kernel has said that source and mark lead out of it.

    Raises `PinError` if the PvD has no device, a pin cannot be set, or does not lead out of the device;
    `NoRoute` if there is no route to ``remote`` (for IPv6 with the device bound, the kernel itself says so
    at connect); OSError if a datagram socket cannot connect; ValueError if ``remote`` is not an IP literal.
    """
    address = socket_address(pvd, remote, port)
    family = socket.AF_INET if len(address) == 2 else socket.AF_INET6
    # The protocol is said, because asyncio turns Nagle's algorithm off where it sees that it is TCP.
    protocol = socket.IPPROTO_TCP if kind == socket.SOCK_STREAM else 0
    sock = socket.socket(family, kind | _NON_BLOCKING, protocol)
    try:
        # 127.0.0.0/8 and ::1 never leave the host: no device is needed to keep them there.
        if pvd.is_loopback and (remote == "::1" or remote.startswith("127.")):
            if local is not None:
                _pin_source(sock, pvd, local)
        elif pvd.pin == "device" or pvd.is_loopback:
            ifindex = _pin_device(sock, pvd)
            if local is not None:
                _pin_source(sock, pvd, local)
            if family == socket.AF_INET and not pvd.is_loopback:
                check_route(pvd, remote, local, ifindex=ifindex)
        else:
            _pin_by_rule(sock, pvd, address[0], port, local)
        if kind == socket.SOCK_DGRAM:
            sock.connect(address)
    except BaseException:
        sock.close()
        raise
    return sock


def socket_address(
    pvd: ProvisioningDomain, remote: str, port: int
) -> tuple[str, int] | tuple[str, int, int, int]:
    """The kernel's form of ``remote``: link-local IPv6 gets the scope of the PvD's device (RFC 4007 s6).

    Raises ValueError if ``remote`` is not an IP literal: a name here would be resolved outside the PvD.
    """
    literal = parse_literal(remote)
    if literal is None:
        raise ValueError(f"{remote!r} is not an IP address")
    if literal.family == 4:
        return literal.address, port
    return literal.address, port, 0, _scope(pvd, literal.address)


def start_connect(sock: socket.socket, pvd: ProvisioningDomain, remote: str, port: int) -> int:
    """Start the connection of a socket from `open_pinned`; errno, EINPROGRESS (or 0) if it is on its way."""
    return sock.connect_ex(socket_address(pvd, remote, port))


def handshake(sock: socket.socket) -> Handshake | None:
    """What the kernel measured of the handshake; None before it is done, or if the kernel does not tell.

    TCP_INFO grows with every kernel, and is read by its length (``tcpi_rtt`` at 68, ``tcpi_rttvar`` at 72,
    both in microseconds, ``tcpi_total_retrans`` at 100).
    """
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
    except OSError:
        return None
    if len(info) < 104:
        return None
    rtt, rttvar = struct.unpack_from("=II", info, 68)
    (retransmits,) = struct.unpack_from("=I", info, 100)
    return Handshake(rtt / 1e6, rttvar / 1e6, retransmits) if rtt else None


def _pin_device(sock: socket.socket, pvd: ProvisioningDomain) -> int:
    """Bind to the PvD's device; the index of that device."""
    if not pvd.interface:
        raise PinError(ENODEV, f"{pvd.name} has no interface")
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, pvd.interface.encode())
        return sock.getsockopt(socket.SOL_SOCKET, _BINDTOIFINDEX)
    except OSError as error:
        raise PinError(
            error.errno, f"cannot pin to {pvd.interface}: {os.strerror(error.errno or 0)}"
        ) from error


def _pin_by_rule(
    sock: socket.socket, pvd: ProvisioningDomain, remote: str, port: int, local: str | None
) -> None:
    """Bind to a source address, set the mark if there is one, and see that the rules do the rest."""
    try:
        mark = parse_pin(pvd.pin).mark
        ifindex = pvd.ifindex or socket.if_nametoindex(pvd.interface or "")
    except ValueError as error:
        raise PinError(EINVAL, str(error)) from None
    except OSError as error:
        raise PinError(ENODEV, f"{pvd.name} has no interface") from error
    source = local or source_address(pvd, remote)
    if source is None:
        raise PinError(EADDRNOTAVAIL, f"{pvd.name} has no address to send to {remote} from")
    if mark:
        _pin_mark(sock, mark)
    _pin_source(sock, pvd, source)
    check_way(pvd, remote, source, ifindex=ifindex, mark=mark, protocol=_PROTOCOLS[sock.type], port=port)


def _pin_mark(sock: socket.socket, mark: int) -> None:
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, struct.pack("=I", mark))
    except OSError as error:
        why = os.strerror(error.errno or 0)
        if error.errno == EPERM:
            why = "this takes CAP_NET_ADMIN or CAP_NET_RAW"
        raise PinError(error.errno, f"cannot set mark {mark}: {why}") from error


def _pin_source(sock: socket.socket, pvd: ProvisioningDomain, local: str) -> None:
    if (":" in local) != (sock.family == socket.AF_INET6):
        raise PinError(EAFNOSUPPORT, f"source {local} is of another address family")
    if not pvd.is_loopback and all(local != own.address for own in pvd.addresses):
        raise PinError(EADDRNOTAVAIL, f"source {local} is no address of {pvd.name}")
    try:
        # The port is then chosen at connect, for this remote: sockets to different servers may share one.
        sock.setsockopt(socket.IPPROTO_IP, _BIND_ADDRESS_NO_PORT, 1)
        sock.bind((local, 0) if sock.family == socket.AF_INET else (local, 0, 0, _scope(pvd, local)))
    except OSError as error:
        raise PinError(error.errno, f"cannot use source {local}: {os.strerror(error.errno or 0)}") from error


def _scope(pvd: ProvisioningDomain, address: str) -> int:
    if not is_link_local(address):
        return 0
    return pvd.ifindex or socket.if_nametoindex(pvd.interface or "")
