"""The admission test: does the device of a provisioning domain have a route to this destination?

A socket bound to a device without an IPv4 route to its destination does not fail: Linux takes the
destination to be on the link and asks for it by ARP, three seconds long. So the routing table is asked
first: RTM_GETROUTE with RTM_F_FIB_MATCH, which alone tells a route from that assumption. The kernel
answers inside ``send``: nothing here waits.
"""

from __future__ import annotations

import socket
import struct
from errno import EHOSTUNREACH, EINVAL, ENETUNREACH
from typing import TYPE_CHECKING

from ..model import is_link_local, parse_literal
from .failures import NoRoute, PinError
from .pins import strays
from .rtnetlink import NLMSG_ERROR, RTM_GETROUTE, error_of, message, read_way, way_question

if TYPE_CHECKING:
    from ..model import ProvisioningDomain

_NLMSG_ERROR, _RTM_NEWROUTE, _RTM_GETROUTE = 2, 24, 26
_NLM_F_REQUEST = 1
_RTM_F_FIB_MATCH = 0x2000
_RTA_DST, _RTA_SRC, _RTA_OIF = 1, 2, 4
_UNREACHABLE_TYPES = frozenset({6, 7, 8, 9})  # blackhole, unreachable, prohibit, throw
_HEADER = struct.Struct("=IHHIIBBBBBBBBI")  # nlmsghdr (16 bytes) and rtmsg (12 bytes)
_ATTRIBUTE = struct.Struct("=HH")


def check_route(
    pvd: ProvisioningDomain, remote: str, local: str | None = None, *, ifindex: int | None = None
) -> None:
    """Raise `NoRoute` unless the device of ``pvd`` has a route to ``remote`` (from ``local``, where given).

    ``ifindex`` is the device's index where the caller knows it better than the PvD does. Rules that look at
    the source address are honoured for IPv4. For IPv6 the kernel searches strictly by device only without
    a source, and IPv6 needs the test less: a pinned connect without a route fails at once.
    Raises OSError if the kernel cannot be asked.
    """
    literal = parse_literal(remote)
    if literal is None:
        raise ValueError(f"{remote!r} is not an IP address")
    index = ifindex or pvd.ifindex or socket.if_nametoindex(pvd.interface or "")
    if literal.family == 4:
        request = _request(socket.AF_INET, literal.address, local, index, _RTM_F_FIB_MATCH)
    else:
        request = _request(socket.AF_INET6, literal.address, None, index, 0)
    if not _leads_out(_ask(request), index):
        raise NoRoute(ENETUNREACH, f"{pvd.name} has no route to {remote}")


def check_way(
    pvd: ProvisioningDomain,
    remote: str,
    local: str,
    *,
    ifindex: int,
    mark: int = 0,
    protocol: int = socket.IPPROTO_TCP,
    port: int = 0,
) -> None:
    """Raise `PinError` unless the kernel would send such a packet out of the device of ``pvd``.

    For sockets that are bound to no device: the rules are asked for source, mark, protocol and destination
    port, by the same search that a packet gets, in both families. All hops of a multipath route must be the
    PvD's. Raises `NoRoute` where there is no way at all, OSError if the kernel cannot be asked.
    """
    body = way_question(
        remote,
        source=local,
        ifindex=ifindex if is_link_local(remote) else 0,  # its zone (RFC 4007 s6) is the device
        mark=mark,
        protocol=protocol,
        port=port,
    )
    answer = _ask(message(RTM_GETROUTE, 0, 1, body))
    way = read_way(answer)
    if way is None:
        number = error_of(answer) if answer[4:6] == _ERROR else ENETUNREACH
        if number == EINVAL:
            raise PinError(EINVAL, f"source {local} is no address of this host")
        raise NoRoute(number or EHOSTUNREACH, f"{pvd.name} has no route to {remote}")
    if (reason := strays(pvd, ifindex, remote, local, way)) is not None:
        raise PinError(ENETUNREACH, reason)


_ERROR = struct.pack("=H", NLMSG_ERROR)


def _request(family: int, remote: str, local: str | None, ifindex: int, flags: int) -> bytes:
    destination = socket.inet_pton(family, remote)
    attributes = _attribute(_RTA_DST, destination) + _attribute(_RTA_OIF, struct.pack("=I", ifindex))
    source_bits = 0
    if local is not None:
        source = socket.inet_pton(family, local)
        attributes += _attribute(_RTA_SRC, source)
        source_bits = 8 * len(source)
    bits = 8 * len(destination)
    length = _HEADER.size + len(attributes)
    return (
        _HEADER.pack(
            length, _RTM_GETROUTE, _NLM_F_REQUEST, 1, 0, family, bits, source_bits, 0, 0, 0, 0, 0, flags
        )
        + attributes
    )


def _attribute(kind: int, value: bytes) -> bytes:
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value


def _ask(request: bytes) -> bytes:
    with socket.socket(
        socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE
    ) as sock:
        sock.send(request)
        return sock.recv(8192, socket.MSG_DONTWAIT)


def _leads_out(answer: bytes, ifindex: int) -> bool:
    """Whether an answer to RTM_GETROUTE is a usable route over that device (any of its next hops)."""
    length, kind = struct.unpack_from("=IH", answer)
    if kind != _RTM_NEWROUTE or answer[23] in _UNREACHABLE_TYPES:
        return False
    offset = _HEADER.size
    while offset + 4 <= min(length, len(answer)):
        size, attribute = _ATTRIBUTE.unpack_from(answer, offset)
        if attribute == _RTA_OIF:
            return bool(struct.unpack_from("=I", answer, offset + 4)[0] == ifindex)
        if size < 4:
            break
        offset += (size + 3) & ~3
    return True  # a multipath or nexthop-object route: the kernel matched it against the device already
