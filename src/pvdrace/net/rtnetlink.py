"""rtnetlink(7) in bytes: the question for a way, routes and rules, there and back. Pure.

By hand, because the few attributes that are needed take microseconds this way, and because pyroute2 wants an
event loop of its own for more than its codec.
"""

from __future__ import annotations

import ipaddress
import struct
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

NLMSG_ERROR, NLMSG_DONE = 2, 3
RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26
RTM_NEWRULE, RTM_DELRULE, RTM_GETRULE = 32, 33, 34
NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR = 0x1, 0x4, 0x300, 0x10
NLM_F_CREATE_EXCL = 0x600

_RTM_F_FIB_MATCH = 0x2000
_RTA_DST, _RTA_SRC, _RTA_OIF, _RTA_GATEWAY, _RTA_PRIORITY, _RTA_PREFSRC, _RTA_MULTIPATH = 1, 2, 4, 5, 6, 7, 9
_RTA_TABLE, _RTA_MARK, _RTA_VIA, _RTA_IP_PROTO, _RTA_DPORT = 15, 16, 18, 27, 29
_FRA_SRC, _FRA_PRIORITY, _FRA_FWMARK, _FRA_TABLE, _FRA_FWMASK, _FRA_PROTOCOL = 2, 6, 10, 15, 16, 21
_RT_SCOPE_LINK, _RTN_UNICAST, _FR_ACT_TO_TBL = 253, 1, 1
_NO_WAYS = frozenset({6, 7, 8, 9})  # blackhole, unreachable, prohibit, throw
_FAMILIES = {4: 2, 6: 10}  # AF_INET, AF_INET6
_NUMBERS = {2: 4, 10: 6}
_HEADER = struct.Struct("=IHHII")  # nlmsghdr
_ROUTE = struct.Struct("=BBBBBBBBI")  # rtmsg; fib_rule_hdr has the same shape
_ATTRIBUTE = struct.Struct("=HH")
_HOP = struct.Struct("=HBBi")  # rtnexthop
_BODY = _HEADER.size + _ROUTE.size


class Way(NamedTuple):
    """Where a packet would go: all devices and next hops that the route has (None: on the link)."""

    devices: frozenset[int]
    gateways: frozenset[str | None]


class RouteEntry(NamedTuple):
    """A unicast route to install; ``gateway`` None on the link, ``source`` the address that it prefers."""

    family: int
    table: int
    destination: str
    gateway: str | None
    ifindex: int
    metric: int
    source: str | None = None


class RuleEntry(NamedTuple):
    """A rule to install: a table for a source address, or for a mark."""

    family: int
    priority: int
    table: int
    source: str | None = None
    mark: int = 0


Entry = RouteEntry | RuleEntry


class Present(NamedTuple):
    """What the kernel has: what it says of it, and ``entry``, what that is in our words."""

    entry: Entry
    protocol: int
    message: bytes


def message(kind: int, flags: int, sequence: int, body: bytes) -> bytes:
    """A netlink message around a body."""
    return _HEADER.pack(_HEADER.size + len(body), kind, flags | NLM_F_REQUEST, sequence, 0) + body


def split(data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """The messages in what one ``recv`` gave: kind, flags, sequence number, the message."""
    at = 0
    while at + _HEADER.size <= len(data):
        length, kind, flags, sequence, _ = _HEADER.unpack_from(data, at)
        end = at + max(length, _HEADER.size)
        yield kind, flags, sequence, data[at:end]
        at = (end + 3) & ~3


def error_of(answer: bytes) -> int:
    """The errno in an NLMSG_ERROR or NLMSG_DONE; 0: it is an acknowledgement."""
    if len(answer) < _HEADER.size + 4:
        return 0
    (status,) = struct.unpack_from("=i", answer, _HEADER.size)
    return -int(status)


# ---------------------------------------------------------------------- the way


def way_question(
    remote: str,
    *,
    source: str | None = None,
    ifindex: int = 0,
    mark: int = 0,
    protocol: int = 0,
    port: int = 0,
    fib_match: bool = True,
) -> bytes:
    """The body of RTM_GETROUTE for a packet to ``remote``. What is 0 or None is not said."""
    destination = ipaddress.ip_address(remote)
    attributes = _attribute(_RTA_DST, destination.packed)
    source_bits = 0
    if source is not None:
        packed = ipaddress.ip_address(source).packed
        attributes += _attribute(_RTA_SRC, packed)
        source_bits = 8 * len(packed)
    if ifindex:
        attributes += _attribute(_RTA_OIF, _u32(ifindex))
    if mark:
        attributes += _attribute(_RTA_MARK, _u32(mark))
    if protocol:
        attributes += _attribute(_RTA_IP_PROTO, bytes([protocol]))
        attributes += _attribute(_RTA_DPORT, port.to_bytes(2, "big"))
    flags = _RTM_F_FIB_MATCH if fib_match else 0
    family = _FAMILIES[destination.version]
    return _ROUTE.pack(family, destination.max_prefixlen, source_bits, 0, 0, 0, 0, 0, flags) + attributes


def read_way(answer: bytes) -> Way | None:
    """The way in an answer to RTM_GETROUTE; None where it is none: an error, a blackhole, a prohibition.

    A route through a nexthop object that tells no device has no devices here.
    """
    _, kind = struct.unpack_from("=IH", answer)
    if kind != RTM_NEWROUTE or answer[_HEADER.size + 7] in _NO_WAYS:
        return None
    devices: set[int] = set()
    gateways: set[str | None] = set()
    for attributes in _legs(answer):
        if _RTA_OIF in attributes:
            devices.add(_number(attributes[_RTA_OIF]))
        gateways.add(_gateway(attributes))
    return Way(frozenset(devices), frozenset(gateways))


def _legs(answer: bytes) -> Iterator[dict[int, bytes]]:
    attributes = dict(_attributes(answer, _BODY))
    hops = attributes.get(_RTA_MULTIPATH)
    if hops is None:
        yield attributes
        return
    at = 0
    while at + _HOP.size <= len(hops):
        length, _, _, ifindex = _HOP.unpack_from(hops, at)
        length = max(length, _HOP.size)
        yield {_RTA_OIF: _u32(ifindex), **dict(_attributes(hops[: at + length], at + _HOP.size))}
        at = (at + length + 3) & ~3


# ---------------------------------------------------------------------- routes and rules


def encode(entry: Entry, protocol: int) -> bytes:
    """The body of RTM_NEWROUTE or RTM_NEWRULE."""
    if isinstance(entry, RouteEntry):
        return _encode_route(entry, protocol)
    return _encode_rule(entry, protocol)


def dump_question(kind: int, family: int, protocol: int) -> bytes:
    """The body of a dump; of routes, those of one protocol only, where the kernel looks at that."""
    wanted = protocol if kind == RTM_GETROUTE else 0
    return _ROUTE.pack(_FAMILIES[family], 0, 0, 0, 0, wanted, 0, 0, 0)


def read_present(kind: int, answer: bytes) -> Present | None:
    """A route or rule out of a dump; None for what has no place in our words (other actions and types)."""
    family, length, source_length, _, table, protocol, _, _, _ = _ROUTE.unpack_from(answer, _HEADER.size)
    attributes = dict(_attributes(answer, _BODY))
    number = _NUMBERS.get(family)
    if number is None:
        return None
    entry: Entry
    if kind == RTM_NEWROUTE:
        table = _number(attributes[_RTA_TABLE]) if _RTA_TABLE in attributes else table
        destination = f"{_text(attributes.get(_RTA_DST), number)}/{length}"
        metric = _number(attributes[_RTA_PRIORITY]) if _RTA_PRIORITY in attributes else 0
        device = _number(attributes[_RTA_OIF]) if _RTA_OIF in attributes else 0
        prefers = _text(attributes[_RTA_PREFSRC], number) if _RTA_PREFSRC in attributes else None
        entry = RouteEntry(number, table, destination, _gateway(attributes), device, metric, prefers)
        return Present(entry, protocol, answer)
    if kind != RTM_NEWRULE:
        return None
    protocol = attributes.get(_FRA_PROTOCOL, b"\0")[0]
    table = _number(attributes[_FRA_TABLE]) if _FRA_TABLE in attributes else table
    priority = _number(attributes[_FRA_PRIORITY]) if _FRA_PRIORITY in attributes else 0
    source = f"{_text(attributes[_FRA_SRC], number)}/{source_length}" if _FRA_SRC in attributes else None
    mark = _number(attributes[_FRA_FWMARK]) if _FRA_FWMARK in attributes else 0
    entry = RuleEntry(number, priority, table, source, mark)
    return Present(entry, protocol, answer)


def deletion(present: Present) -> tuple[int, bytes]:
    """The kind and body of the message that takes away what a dump showed: the dump's own, but its flags."""
    kind = RTM_DELROUTE if isinstance(present.entry, RouteEntry) else RTM_DELRULE
    body = present.message[_HEADER.size :]
    return kind, body[: _ROUTE.size - 4] + bytes(4) + body[_ROUTE.size :]


def _encode_route(route: RouteEntry, protocol: int) -> bytes:
    network = ipaddress.ip_network(route.destination)
    scope = _RT_SCOPE_LINK if route.gateway is None and route.family == 4 else 0
    attributes = _attribute(_RTA_DST, network.network_address.packed) if network.prefixlen else b""
    attributes += _attribute(_RTA_TABLE, _u32(route.table)) + _attribute(_RTA_OIF, _u32(route.ifindex))
    if route.metric:
        attributes += _attribute(_RTA_PRIORITY, _u32(route.metric))
    if route.source is not None:
        attributes += _attribute(_RTA_PREFSRC, ipaddress.ip_address(route.source).packed)
    if route.gateway is not None:
        gateway = ipaddress.ip_address(route.gateway)
        if gateway.version == route.family:
            attributes += _attribute(_RTA_GATEWAY, gateway.packed)
        else:  # IPv4 by an IPv6 next hop (RFC 8950)
            attributes += _attribute(_RTA_VIA, struct.pack("=H", _FAMILIES[gateway.version]) + gateway.packed)
    header = _ROUTE.pack(
        _FAMILIES[route.family], network.prefixlen, 0, 0, 0, protocol, scope, _RTN_UNICAST, 0
    )
    return header + attributes


def _encode_rule(rule: RuleEntry, protocol: int) -> bytes:
    attributes = _attribute(_FRA_PRIORITY, _u32(rule.priority)) + _attribute(_FRA_TABLE, _u32(rule.table))
    attributes += _attribute(_FRA_PROTOCOL, bytes([protocol]))
    bits = 0
    if rule.source is not None:
        network = ipaddress.ip_network(rule.source)
        bits = network.prefixlen
        attributes += _attribute(_FRA_SRC, network.network_address.packed)
    if rule.mark:
        attributes += _attribute(_FRA_FWMARK, _u32(rule.mark)) + _attribute(_FRA_FWMASK, _u32(0xFFFFFFFF))
    return _ROUTE.pack(_FAMILIES[rule.family], 0, bits, 0, 0, 0, 0, _FR_ACT_TO_TBL, 0) + attributes


# ---------------------------------------------------------------------- attributes


def _attribute(kind: int, value: bytes) -> bytes:
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value + bytes(-len(value) % 4)


def _attributes(data: bytes, at: int) -> Iterator[tuple[int, bytes]]:
    while at + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        length = max(length, _ATTRIBUTE.size)
        yield kind & 0x3FFF, data[at + _ATTRIBUTE.size : at + length]
        at += (length + 3) & ~3


def _gateway(attributes: dict[int, bytes]) -> str | None:
    packed = attributes.get(_RTA_GATEWAY)
    if packed is None and _RTA_VIA in attributes:
        packed = attributes[_RTA_VIA][2:]
    return None if packed is None else str(ipaddress.ip_address(packed))


def _text(packed: bytes | None, family: int) -> str:
    if packed is None:
        return "::" if family == 6 else "0.0.0.0"
    return str(ipaddress.ip_address(packed))


def _number(value: bytes) -> int:
    return int(struct.unpack_from("=I", value)[0])


def _u32(value: int) -> bytes:
    return struct.pack("=I", value)
