"""Rtnetlink messages into `KernelState`: pyroute2 takes them apart, this says what they mean. Pure.

Numbers are those of linux/if.h, if_addr.h, rtnetlink.h, fib_rules.h and netconf.h.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, NamedTuple

from .state import TABLE_LOCAL, Address, KernelRoute, KernelState, Link, PolicyRule

if TYPE_CHECKING:
    from collections.abc import Iterator

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
RTM_NEWNETCONF = 80
NETCONFA_IFINDEX, NETCONFA_RP_FILTER = 1, 3
#: Attributes of a rule that ask for what a lookup of ours does not have.
_CONDITIONS = ("FRA_IP_PROTO", "FRA_SPORT_RANGE", "FRA_DPORT_RANGE", "FRA_UID_RANGE", "FRA_TUN_ID")


class RawDump(NamedTuple):
    """The bytes of the five dumps."""

    links: bytes
    addresses: bytes
    routes: bytes
    rules: bytes
    netconf: bytes

    @property
    def size(self) -> int:
        """All of it, in bytes."""
        return sum(map(len, self))


def decode(raw: RawDump) -> KernelState:
    """Take a dump apart. Loads pyroute2 at the first call."""
    links = tuple(_link(message) for message in _messages(raw.links))
    loopbacks = {link.index for link in links if link.loopback}
    return KernelState(
        links=links,
        addresses=tuple(_address(m) for m in _messages(raw.addresses) if m["family"] in _FAMILIES),
        routes=tuple(route for m in _messages(raw.routes) for route in _routes(m, loopbacks)),
        rules=tuple(_rule(m) for m in _messages(raw.rules) if m["family"] in _FAMILIES),
        rp_filter=tuple(sorted(_rp_filters(raw.netconf))),
    )


def _messages(data: bytes) -> Iterator[Any]:
    from pyroute2.netlink.rtnl.marshal import MarshalRtnl

    return iter(MarshalRtnl().parse(data)) if data else iter(())


def _link(message: Any) -> Link:
    flags = message["flags"]
    info = message.get_attr("IFLA_LINKINFO")
    data = info.get_attr("IFLA_INFO_DATA") if info is not None else None
    kind = info.get_attr("IFLA_INFO_KIND") if info is not None else None
    return Link(
        index=message["index"],
        name=message.get_attr("IFLA_IFNAME"),
        up=bool(flags & IFF_UP),
        carrier=bool(flags & IFF_LOWER_UP) and not flags & IFF_DORMANT,
        loopback=bool(flags & IFF_LOOPBACK),
        master=message.get_attr("IFLA_MASTER"),
        kind=kind,
        vrf_table=data.get_attr("IFLA_VRF_TABLE") if kind == "vrf" and data is not None else None,
    )


def _address(message: Any) -> Address:
    flags = message.get_attr("IFA_FLAGS")
    flags = message["flags"] if flags is None else flags
    peer = message.get_attr("IFA_ADDRESS")
    local = message.get_attr("IFA_LOCAL") or peer
    is_ipv6 = message["family"] == AF_INET6
    waits = flags & IFA_F_TENTATIVE and not flags & IFA_F_OPTIMISTIC
    return Address(
        index=message["index"],
        address=local,
        prefix_length=message["prefixlen"],
        peer=peer if peer != local else None,
        usable=not waits and not flags & IFA_F_DADFAILED,
        deprecated=bool(flags & IFA_F_DEPRECATED),
        temporary=is_ipv6 and bool(flags & IFA_F_TEMPORARY),
        secondary=not is_ipv6 and bool(flags & IFA_F_SECONDARY),
    )


def _routes(message: Any, loopbacks: set[int]) -> Iterator[KernelRoute]:
    """A route for each next hop; nothing for what is not a way out (broadcast, blackhole, cached, dead)."""
    family = _FAMILIES.get(message["family"])
    if family is None or message["flags"] & RTM_F_CLONED or message["type"] not in (RTN_UNICAST, RTN_LOCAL):
        return
    any_address = "::" if family == 6 else "0.0.0.0"
    destination = f"{message.get_attr('RTA_DST') or any_address}/{message['dst_len']}"
    table = message.get_attr("RTA_TABLE") or message["table"]
    metric = message.get_attr("RTA_PRIORITY") or 0
    is_local = message["type"] == RTN_LOCAL
    legs = message.get_attr("RTA_MULTIPATH")
    for leg in legs if legs is not None else (message,):
        index = leg["oif"] if legs is not None else leg.get_attr("RTA_OIF")
        if index is None or leg["flags"] & (RTNH_F_DEAD | RTNH_F_LINKDOWN):
            continue
        if is_local if index not in loopbacks else (not is_local or table != TABLE_LOCAL):
            continue
        yield KernelRoute(index, destination, _gateway(leg), metric, table, is_local)


def _gateway(leg: Any) -> str | None:
    gateway: str | None = leg.get_attr("RTA_GATEWAY")
    if gateway is None:
        via = leg.get_attr("RTA_VIA")  # IPv4 by an IPv6 next hop (RFC 8950)
        gateway = via["addr"] if via is not None else None
    return gateway


def _rule(message: Any) -> PolicyRule:
    action = message["action"]
    suppress = message.get_attr("FRA_SUPPRESS_PREFIXLEN")
    source, destination = message.get_attr("FRA_SRC"), message.get_attr("FRA_DST")
    mark = message.get_attr("FRA_FWMARK") or 0
    mask = message.get_attr("FRA_FWMASK")
    return PolicyRule(
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


def _rp_filters(data: bytes) -> Iterator[tuple[int, int]]:
    """NETCONFA_RP_FILTER by device, ``all`` under -1; pyroute2 has no codec for these messages."""
    at = 0
    while at + 16 <= len(data):
        length, kind = struct.unpack_from("=IH", data, at)
        end = at + max(length, 16)
        if kind == RTM_NEWNETCONF:
            values = dict(_integers(data, at + 20, end))
            if NETCONFA_IFINDEX in values and NETCONFA_RP_FILTER in values:
                yield values[NETCONFA_IFINDEX], values[NETCONFA_RP_FILTER]
        at = (end + 3) & ~3


def _integers(data: bytes, at: int, end: int) -> Iterator[tuple[int, int]]:
    """The attributes of one message; all of NETCONFA_* are 32-bit integers."""
    while at + 8 <= end:
        length, kind = struct.unpack_from("=HH", data, at)
        if length == 8:
            yield kind, struct.unpack_from("=i", data, at + 4)[0]
        at += (max(length, 4) + 3) & ~3
