"""Which routes a socket of ours would find: ``ip rule`` and the tables, applied on paper. Pure.

The lookup of a socket starts on the host itself (``iif lo``). It has a source address, and a device that it
is bound to, or a mark. What a rule asks beyond that (ports, protocol, user, a destination) is not known yet:
such a rule does not count. Nor is ``goto`` followed.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, NamedTuple

from ..net.pins import Pin
from .state import TABLE_DEFAULT, TABLE_LOCAL, TABLE_MAIN

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .state import IPNetwork, KernelRoute, KernelState, Link, PolicyRule


BOUND = Pin(device=True)


class TableLookup(NamedTuple):
    """A table that is searched; routes with a prefix no longer than ``suppress_length`` do not count."""

    table: int
    suppress_length: int = -1


def tables_searched(
    state: KernelState, family: int, sources: Sequence[str], link: Link | None, mark: int = 0
) -> list[TableLookup]:
    """The tables, in order, for a packet from one of ``sources``; bound to ``link`` where one is given.

    Without any rule (a dump that had none), the kernel's own three tables.
    """
    rules = sorted((rule for rule in state.rules if rule.family == family), key=lambda rule: rule.priority)
    if not rules:
        return [TableLookup(TABLE_MAIN), TableLookup(TABLE_DEFAULT)]
    found: list[TableLookup] = []
    addresses = [ipaddress.ip_address(source) for source in sources]
    for rule in rules:
        if not _applies(rule, addresses, link, mark):
            continue
        if rule.terminal:
            break
        table = _vrf_table(state, link) if rule.l3mdev else rule.table
        if table is None or table == TABLE_LOCAL:
            continue
        if all(known.table != table for known in found):
            found.append(TableLookup(table, rule.suppress_length))
    return found


def device_routes(
    state: KernelState, family: int, sources: Sequence[str], link: Link, pin: Pin = BOUND
) -> list[KernelRoute]:
    """The routes out of ``link`` that its own sockets find, the first table's first, then by metric."""
    found: list[KernelRoute] = []
    for table, suppress_length in tables_searched(
        state, family, sources, link if pin.device else None, pin.mark
    ):
        candidates = [
            route
            for route in state.routes_by_table.get((family, table), ())
            if route.index == link.index and not route.local and _length(route) > suppress_length
        ]
        found += sorted(candidates, key=_route_key)
    return found


def best_devices(state: KernelState, network: IPNetwork, source: str) -> set[int]:
    """The devices over which the host would answer ``network`` from ``source``: what strict rp_filter asks.

    It asks without the mark: what comes in has none, whatever the socket that it is for has.

    Empty where no route covers the network. Several: an equal-cost multipath route, any leg of which will do.
    """
    for table, suppress_length in tables_searched(state, network.version, [source], None):
        routes = state.routes_by_table.get((network.version, table), ())
        covering = [
            route
            for route in routes
            if suppress_length < _length(route) <= network.prefixlen and _covers(route, network)
        ]
        if covering:
            longest = max(_length(route) for route in covering)
            covering = [route for route in covering if _length(route) == longest]
            lowest = min(route.metric for route in covering)
            return {route.index for route in covering if route.metric == lowest}
    return set()


def _applies(
    rule: PolicyRule,
    addresses: Iterable[ipaddress.IPv4Address | ipaddress.IPv6Address],
    link: Link | None,
    mark: int,
) -> bool:
    if rule.conditional or rule.destination is not None:
        return False
    matches = (
        rule.input_device in (None, "lo")
        and (rule.mark ^ mark) & rule.mark_mask == 0
        and (rule.output_device is None or (link is not None and rule.output_device == link.name))
        and (rule.source is None or _any_inside(addresses, rule.source))
    )
    return matches != rule.invert


def _any_inside(addresses: Iterable[ipaddress.IPv4Address | ipaddress.IPv6Address], prefix: str) -> bool:
    network = ipaddress.ip_network(prefix)
    return any(address in network for address in addresses)


def _vrf_table(state: KernelState, link: Link | None) -> int | None:
    if link is None or link.master is None:
        return link.vrf_table if link is not None else None
    master = state.links_by_index.get(link.master)
    return master.vrf_table if master is not None else None


def _covers(route: KernelRoute, network: IPNetwork) -> bool:
    # A default route covers all, and is by far the most frequent question.
    if route.destination in ("0.0.0.0/0", "::/0"):
        return True
    return network.network_address in route.network


def _length(route: KernelRoute) -> int:
    return int(route.destination.rpartition("/")[2])


def _route_key(route: KernelRoute) -> tuple[int, int, str, str]:
    return (route.metric, -_length(route), route.destination, route.gateway or "")
