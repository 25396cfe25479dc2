"""Rtnetlink messages into `KernelState`: pyroute2 takes them apart, this says what they mean. Pure.

Numbers are those of linux/if.h, if_addr.h, rtnetlink.h, fib_rules.h and netconf.h.
"""

from __future__ import annotations

import ipaddress
import struct
import sys
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar

from ..net.rule_plan import PROTOCOL
from .state import Address, KernelRoute, KernelState, Link, PolicyRule

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")

#: struct nlmsghdr: length, type, flags, sequence number, port.
_HEADER = struct.Struct("=IHHII")
NLA_F_NESTED = 0x8000
#: Where the attributes begin, and which are wanted: IFLA_ IFNAME, MASTER, LINKINFO, PROP_LIST (alternative
#: names), CARRIER_CHANGES; IFA_ ADDRESS, LOCAL, FLAGS.
_WANTED = {"link": (32, {3, 10, 18, 35, 52}), "address": (24, {1, 2, 8})}
AF_INET, AF_INET6 = 2, 10
_FAMILIES = {AF_INET: 4, AF_INET6: 6}
IFF_UP, IFF_LOOPBACK, IFF_LOWER_UP, IFF_DORMANT = 0x1, 0x8, 0x10000, 0x20000
IFA_F_SECONDARY, IFA_F_OPTIMISTIC, IFA_F_DADFAILED, IFA_F_DEPRECATED, IFA_F_TENTATIVE = 1, 4, 8, 0x20, 0x40
#: The same bit is "secondary" on IPv4 and "temporary" (RFC 8981) on IPv6.
IFA_F_TEMPORARY = IFA_F_SECONDARY
RTN_UNICAST, RTN_LOCAL = 1, 2
RTM_F_CLONED, RTNH_F_DEAD, RTNH_F_LINKDOWN = 0x200, 1, 16
FR_ACT_TO_TBL, FR_ACT_GOTO, FR_ACT_NOP = 1, 2, 3
FIB_RULE_INVERT = 2
NETCONFA_IFINDEX, NETCONFA_RP_FILTER = 1, 3
NDA_DST, NDA_LLADDR = 1, 2
#: linux/neighbour.h: REACHABLE, STALE, DELAY, PROBE, PERMANENT.
NUD_HEARD = 0x2 | 0x4 | 0x8 | 0x10 | 0x80
#: Attributes of a rule that ask for what a lookup of ours does not have.
_CONDITIONS = ("FRA_IP_PROTO", "FRA_SPORT_RANGE", "FRA_DPORT_RANGE", "FRA_UID_RANGE", "FRA_TUN_ID")


class RawDump(NamedTuple):
    """The messages of the six dumps, in bytes, as `split` and `trim` leave them."""

    links: tuple[bytes, ...]
    addresses: tuple[bytes, ...]
    routes: tuple[bytes, ...]
    rules: tuple[bytes, ...]
    netconf: tuple[bytes, ...]
    neighbours: tuple[bytes, ...] = ()


class Decoder:
    """Takes dumps apart. What it has seen in the last dump it knows; pyroute2 gets what is new.

    pyroute2 needs some 60 microseconds for an attribute-rich message, and between two dumps next to nothing
    changes. Loads pyroute2 when it is first used.
    """

    def __init__(self) -> None:
        self._known: dict[bytes, tuple[Any, ...]] = {}

    def unknown(self, raw: RawDump) -> int:
        """How many bytes of a dump are new: what `decode` will cost."""
        known = self._known
        return sum(len(message) for messages in raw[:4] for message in messages if message not in known)

    def decode(self, raw: RawDump) -> KernelState:
        """The state that a dump shows."""
        fresh: dict[bytes, tuple[Any, ...]] = {}
        state = KernelState(
            links=self._each(raw.links, _link, fresh),
            addresses=self._each(raw.addresses, _address, fresh),
            routes=self._each(raw.routes, _routes, fresh),
            rules=self._each(raw.rules, _rule, fresh),
            rp_filter=tuple(sorted(pair for message in raw.netconf for pair in _rp_filters(message))),
            link_layer=tuple(each for message in raw.neighbours for each in _neighbour(message)),
        )
        self._known = fresh
        return state

    def _each(
        self,
        messages: tuple[bytes, ...],
        convert: Callable[[Any], Iterator[T]],
        fresh: dict[bytes, tuple[T, ...]],
    ) -> tuple[T, ...]:
        from pyroute2.netlink.rtnl.marshal import MarshalRtnl

        marshal = None
        for message in messages:
            values = self._known.get(message)
            if values is None:
                marshal = marshal or MarshalRtnl()
                values = tuple(value for parsed in marshal.parse(message) for value in convert(parsed))
            fresh[message] = values
        return tuple(value for message in messages for value in fresh[message])


def trim(message: bytes, kind: Literal["link", "address"]) -> bytes:
    """A message with only the attributes that are looked at.

    The others are most of it, and some, such as counters and lifetimes, are different in each dump.
    """
    start, wanted = _WANTED[kind]
    kept = [message[:start]]
    at = start
    while at + 4 <= len(message):
        length, attribute = struct.unpack_from("=HH", message, at)
        end = at + ((max(length, 4) + 3) & ~3)
        if attribute & ~NLA_F_NESTED in wanted:
            kept.append(message[at:end])
        at = end
    body = b"".join(kept)
    return len(body).to_bytes(4, sys.byteorder) + body[4:]


def split(data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """The netlink messages in what one ``recv`` gave: kind, flags, sequence number, and the message itself.

    Sequence number and port are blanked, so that the same content is the same bytes.
    """
    at = 0
    while at + _HEADER.size <= len(data):
        length, kind, flags, sequence, _ = _HEADER.unpack_from(data, at)
        end = at + max(length, _HEADER.size)
        yield kind, flags, sequence, data[at : at + 8] + bytes(8) + data[at + 16 : end]
        at = (end + 3) & ~3


def _link(message: Any) -> Iterator[Link]:
    flags = message["flags"]
    info = message.get_attr("IFLA_LINKINFO")
    data = info.get_attr("IFLA_INFO_DATA") if info is not None else None
    kind = info.get_attr("IFLA_INFO_KIND") if info is not None else None
    names = message.get_attr("IFLA_PROP_LIST")
    yield Link(
        index=message["index"],
        name=message.get_attr("IFLA_IFNAME"),
        other_names=tuple(names.get_attrs("IFLA_ALT_IFNAME")) if names is not None else (),
        up=bool(flags & IFF_UP),
        carrier=bool(flags & IFF_LOWER_UP) and not flags & IFF_DORMANT,
        loopback=bool(flags & IFF_LOOPBACK),
        master=message.get_attr("IFLA_MASTER"),
        kind=kind,
        vrf_table=data.get_attr("IFLA_VRF_TABLE") if kind == "vrf" and data is not None else None,
        carrier_changes=message.get_attr("IFLA_CARRIER_CHANGES") or 0,
    )


def _address(message: Any) -> Iterator[Address]:
    if message["family"] not in _FAMILIES:
        return
    flags = message.get_attr("IFA_FLAGS")
    flags = message["flags"] if flags is None else flags
    peer = message.get_attr("IFA_ADDRESS")
    local = message.get_attr("IFA_LOCAL") or peer
    is_ipv6 = message["family"] == AF_INET6
    waits = flags & IFA_F_TENTATIVE and not flags & IFA_F_OPTIMISTIC
    yield Address(
        index=message["index"],
        address=local,
        prefix_length=message["prefixlen"],
        peer=peer if peer != local else None,
        usable=not waits and not flags & IFA_F_DADFAILED,
        deprecated=bool(flags & IFA_F_DEPRECATED),
        temporary=is_ipv6 and bool(flags & IFA_F_TEMPORARY),
        secondary=not is_ipv6 and bool(flags & IFA_F_SECONDARY),
    )


def _routes(message: Any) -> Iterator[KernelRoute]:
    """A route for each next hop; nothing for what is no way (broadcast, blackhole, cached, dead)."""
    family = _FAMILIES.get(message["family"])
    if family is None or message["flags"] & RTM_F_CLONED or message["type"] not in (RTN_UNICAST, RTN_LOCAL):
        return
    any_address = "::" if family == 6 else "0.0.0.0"
    destination = f"{message.get_attr('RTA_DST') or any_address}/{message['dst_len']}"
    table = message.get_attr("RTA_TABLE") or message["table"]
    metric = message.get_attr("RTA_PRIORITY") or 0
    is_local = message["type"] == RTN_LOCAL
    source = message.get_attr("RTA_PREFSRC")
    copied = message["proto"] == PROTOCOL
    legs = message.get_attr("RTA_MULTIPATH")
    for leg in legs if legs is not None else (message,):
        index = leg["oif"] if legs is not None else leg.get_attr("RTA_OIF")
        if index is None or leg["flags"] & (RTNH_F_DEAD | RTNH_F_LINKDOWN):
            continue
        yield KernelRoute(index, destination, _gateway(leg), metric, table, is_local, source, copied)


def _gateway(leg: Any) -> str | None:
    gateway: str | None = leg.get_attr("RTA_GATEWAY")
    if gateway is None:
        via = leg.get_attr("RTA_VIA")  # IPv4 by an IPv6 next hop (RFC 8950)
        gateway = via["addr"] if via is not None else None
    return gateway


def _rule(message: Any) -> Iterator[PolicyRule]:
    if message["family"] not in _FAMILIES:
        return
    action = message["action"]
    suppress = message.get_attr("FRA_SUPPRESS_PREFIXLEN")
    source, destination = message.get_attr("FRA_SRC"), message.get_attr("FRA_DST")
    mark = message.get_attr("FRA_FWMARK") or 0
    mask = message.get_attr("FRA_FWMASK")
    yield PolicyRule(
        family=_FAMILIES[message["family"]],
        priority=message.get_attr("FRA_PRIORITY") or 0,
        table=(message.get_attr("FRA_TABLE") or message["table"]) if action == FR_ACT_TO_TBL else None,
        terminal=action not in (FR_ACT_TO_TBL, FR_ACT_GOTO, FR_ACT_NOP),
        source=f"{source}/{message['src_len']}" if source else None,
        destination=f"{destination}/{message['dst_len']}" if destination else None,
        input_device=message.get_attr("FRA_IIFNAME"),
        output_device=message.get_attr("FRA_OIFNAME"),
        mark=mark,
        mark_mask=(0xFFFFFFFF if mark else 0) if mask is None else mask,
        invert=bool(message["flags"] & FIB_RULE_INVERT),
        conditional=bool(message["tos"]) or any(message.get_attr(name) is not None for name in _CONDITIONS),
        l3mdev=bool(message.get_attr("FRA_L3MDEV")),
        suppress_length=-1 if suppress in (None, 0xFFFFFFFF) else suppress,
    )


def _rp_filters(message: bytes) -> Iterator[tuple[int, int]]:
    """NETCONFA_RP_FILTER by device, ``all`` under -1; pyroute2 has no codec for these messages."""
    values = dict(_integers(message, at=20))
    if NETCONFA_IFINDEX in values and NETCONFA_RP_FILTER in values:
        yield values[NETCONFA_IFINDEX], values[NETCONFA_RP_FILTER]


def _neighbour(message: bytes) -> Iterator[tuple[int, str, str]]:
    """Device, address and link-layer address of a neighbour that has answered; pyroute2 would be slow."""
    if len(message) < 28:
        return
    family, index, state = struct.unpack_from("=B3xiH", message, 16)
    if family not in _FAMILIES or not state & NUD_HEARD:
        return
    values = dict(_attributes(message, at=28))
    address, link_layer = values.get(NDA_DST, b""), values.get(NDA_LLADDR, b"")
    if len(address) == (16 if family == AF_INET6 else 4) and any(link_layer):
        yield index, str(ipaddress.ip_address(address)), link_layer.hex(":")


def _attributes(message: bytes, at: int) -> Iterator[tuple[int, bytes]]:
    """The attributes from a place on."""
    while at + 4 <= len(message):
        length, kind = struct.unpack_from("=HH", message, at)
        yield kind, message[at + 4 : at + length]
        at += (max(length, 4) + 3) & ~3


def _integers(message: bytes, at: int) -> Iterator[tuple[int, int]]:
    """The attributes from a place on; those of NETCONFA_* are 32-bit integers."""
    while at + 8 <= len(message):
        length, kind = struct.unpack_from("=HH", message, at)
        if length == 8:
            yield kind, struct.unpack_from("=i", message, at + 4)[0]
        at += (max(length, 4) + 3) & ~3
