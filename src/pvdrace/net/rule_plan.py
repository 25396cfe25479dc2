"""Policy routing for PvDs: which routes and rules they want, which of the present ones go. Pure.

Each PvD has a table of its own, with the routes out of its device. Each of its addresses has a rule
``from ADDRESS lookup TABLE``, a PvD that is pinned by a mark a rule ``fwmark N lookup TABLE``. Then what
comes from an address of the PvD leaves by the PvD, whoever sent it, and strict reverse path filtering finds
the device that it asks for.
"""

from __future__ import annotations

import ipaddress
import zlib
from typing import TYPE_CHECKING, NamedTuple

from ..model import is_link_local, is_loopback
from .pins import own_routes, parse_pin
from .rtnetlink import RouteEntry, RuleEntry

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from ..model import ProvisioningDomain
    from .rtnetlink import Entry, Present

#: What our routes and rules carry as their origin, and the only thing by which they are known: rtnetlink.h
#: and iproute2's rt_protos give 112 to nobody.
PROTOCOL = 112
#: The tables of PvDs are 0x70760000 to 0x7076ffff ("pv"), chosen by the PvD's name.
TABLES = 0x70760000
#: Before the kernel's own main table (32766) and what ``ip rule add`` puts just before it, after the rules
#: that VPNs keep for themselves (Tailscale's 5210 to 5270). Marks come before addresses.
MARK_PRIORITY, SOURCE_PRIORITY = 31000, 31001


class RuleChanges(NamedTuple):
    """What is to be done, in this order: take away, then install."""

    remove: tuple[Present, ...]
    add: tuple[Entry, ...]


def rule_changes(pvds: Iterable[ProvisioningDomain], present: Iterable[Present]) -> RuleChanges:
    """What makes the present routes and rules of ours the wanted ones; nothing where they are already.

    Rules go before the routes that they lead to, and come after them.
    """
    want = wanted(pvds)
    ours = [one for one in present if one.protocol == PROTOCOL]
    kept: set[Entry] = set()
    remove = []
    for one in ours:
        if one.entry in want and one.entry not in kept:
            kept.add(one.entry)
        else:
            remove.append(one)
    remove.sort(key=lambda one: isinstance(one.entry, RouteEntry))
    return RuleChanges(tuple(remove), tuple(entry for entry in want if entry not in kept))


def wanted(pvds: Iterable[ProvisioningDomain]) -> dict[Entry, None]:
    """The routes and rules that these PvDs want, in the order in which they can be installed.

    The order of the PvDs makes no difference. Where two have the same address or the same mark, the one whose
    name comes first has the traffic that no device keeps apart.
    """
    usable = sorted((pvd for pvd in pvds if _has_ways(pvd)), key=lambda pvd: pvd.name)
    tables = table_numbers([pvd.name for pvd in usable])
    routes: dict[Entry, None] = {}
    rules: dict[Entry, None] = {}
    for pvd in usable:
        table = tables[pvd.name]
        own = _routes(pvd, table)
        routes |= dict.fromkeys(own)
        families = {route.family for route in own}
        rules |= dict.fromkeys(rule for rule in _rules(pvd, table) if rule.family in families)
    return routes | rules


def table_numbers(names: Collection[str]) -> dict[str, int]:
    """A table for each name: the same in every process, and different ones for different names."""
    found: dict[str, int] = {}
    for name in sorted(names):
        slot = zlib.crc32(name.encode()) & 0xFFFF
        while TABLES + slot in found.values():
            slot = (slot + 1) & 0xFFFF
        found[name] = TABLES + slot
    return found


def _has_ways(pvd: ProvisioningDomain) -> bool:
    return pvd.unusable is None and pvd.ifindex > 0 and not pvd.is_loopback


def _routes(pvd: ProvisioningDomain, table: int) -> list[RouteEntry]:
    """The routes of a PvD, those on the link first: a gateway must be within reach to be accepted.

    Of several to one prefix with one metric there can be one: the first, as the kernel would take it. A route
    that prefers an address of another is not of this PvD: so two PvDs on one link get each its router.
    """
    found: dict[tuple[str, int], RouteEntry] = {}
    for route in own_routes(pvd):
        network = ipaddress.ip_network(route.destination)
        if network.is_multicast:
            continue
        # The kernel knows no IPv6 route without a metric.
        metric = route.metric or (1024 if route.family == 6 else 0)
        entry = RouteEntry(
            route.family, table, str(network), route.gateway, pvd.ifindex, metric, route.source
        )
        found.setdefault((entry.destination, metric), entry)
    if all(_on_every_link(destination) for destination, _ in found):
        return []  # there is nothing that another link would not have too
    return sorted(found.values(), key=lambda entry: entry.gateway is not None)


def _on_every_link(destination: str) -> bool:
    network = ipaddress.ip_network(destination)
    return network.prefixlen > 0 and network.is_link_local


def _rules(pvd: ProvisioningDomain, table: int) -> list[RuleEntry]:
    rules = []
    if mark := parse_pin(pvd.pin).mark:
        rules += [RuleEntry(family, MARK_PRIORITY, table, mark=mark) for family in (4, 6)]
    for own in pvd.addresses:
        if not is_link_local(own.address) and not is_loopback(own.address):
            prefix = str(ipaddress.ip_network(own.address))
            rules.append(RuleEntry(own.family, SOURCE_PRIORITY, table, prefix))
    return rules
