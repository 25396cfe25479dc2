"""Implicit PvDs: what the kernel knows of each interface, as one PvD each (RFC 7556 s2.2, s2.5). Pure.

A PvD that cannot work is listed with the reason. One that works in one family only keeps that family, and a
note says what became of the other.
"""

from __future__ import annotations

import ipaddress
from dataclasses import replace
from typing import TYPE_CHECKING

from ..model import LocalAddress, ProvisioningDomain, Route, is_link_local
from ..net.pins import parse_pin
from .routing import best_devices, device_routes
from .state import TABLE_LOCAL

if TYPE_CHECKING:
    from collections.abc import Collection

    from .state import Address, KernelRoute, KernelState, Link

SOURCE = "netlink"


def implicit_pvds(state: KernelState) -> tuple[ProvisioningDomain, ...]:
    """One PvD for each interface but the loopback, IPv4 and IPv6 joined, in the order of their names."""
    return tuple(
        interface_pvd(state, link)
        for link in sorted(state.links, key=lambda link: link.name)
        if not link.loopback
    )


def interface_pvd(
    state: KernelState, link: Link, only: Collection[str] | None = None, pin: str = "device"
) -> ProvisioningDomain:
    """The PvD of one interface, ``unusable`` with the reason where it can carry nothing.

    ``only``: the addresses that belong to it, where it does not have the interface to itself. ``pin`` is how
    its sockets will be kept in it, which decides what routes they find.
    """
    usable = _usable_addresses(state, link, only)
    notes: list[str] = []
    addresses: list[Address] = []
    routes: list[KernelRoute] = []
    for family in (6, 4):
        own = sorted((address for address in usable if address.family == family), key=_address_key)
        if link.loopback:
            addresses += own
            routes += _loopback_routes(state, link, family)
        elif any(not is_link_local(address.address) for address in own):
            found = device_routes(state, family, [address.address for address in own], link, parse_pin(pin))
            if family == 4 and state.is_strict(link.index):
                found, blocked = _without_filtered(state, link, found, own)
                notes += blocked
                if blocked and not _lead_beyond(found, own):
                    continue  # the note stands for the whole family
            addresses += own
            routes += found
        else:
            addresses += own
    return ProvisioningDomain(
        name=link.name,
        interface=link.name,
        ifindex=link.index,
        addresses=tuple(map(_local_address, addresses)),
        routes=tuple(dict.fromkeys(Route(r.destination, r.gateway, r.metric, r.source) for r in routes)),
        unusable=_why_unusable(state, link, addresses, routes, notes),
        sources=(SOURCE,),
        notes=tuple(notes),
        pin=pin,
    )


def _usable_addresses(state: KernelState, link: Link, only: Collection[str] | None) -> list[Address]:
    usable = [address for address in state.addresses_by_index.get(link.index, ()) if address.usable]
    if only is None:
        return usable
    chosen = [address for address in usable if address.address in only]
    if link.loopback:
        # The whole of 127.0.0.0/8 is the host, though only 127.0.0.1 is on the device.
        for text in sorted(set(only) - {address.address for address in chosen}):
            parsed = ipaddress.ip_address(text)
            chosen += [replace(own, address=text) for own in usable if parsed in own.network][:1]
    return chosen


def _why_unusable(
    state: KernelState, link: Link, addresses: list[Address], routes: list[KernelRoute], notes: list[str]
) -> str | None:
    if not link.up:
        return "link down"
    if not link.carrier:
        return "no carrier"
    if link.loopback:
        return None
    master = state.links_by_index.get(link.master) if link.master is not None else None
    if master is not None and master.vrf_table is None:
        return f"part of {master.name}"
    if all(is_link_local(address.address) for address in addresses):
        return notes[0] if notes else "no address"
    if not _lead_beyond(routes, addresses):
        return notes[0] if notes else "no route beyond the link"
    return None


def _lead_beyond(routes: list[KernelRoute], addresses: list[Address]) -> bool:
    """Whether a route leads further than to the prefixes of the link itself.

    A gateway does, a default route does, and so does a point-to-point device's route to a foreign prefix.
    """
    on_link = [address.network for address in addresses]
    for route in routes:
        if route.gateway is not None:
            return True
        network = route.network
        if network.is_multicast or (network.is_link_local and network.prefixlen > 0):
            continue
        if not any(network.version == own.version and network.subnet_of(own) for own in on_link):  # type: ignore[arg-type]
            return True
    return False


def _without_filtered(
    state: KernelState, link: Link, routes: list[KernelRoute], addresses: list[Address]
) -> tuple[list[KernelRoute], list[str]]:
    """Drop the routes whose replies strict reverse path filtering (RFC 3704 s2.2) would throw away.

    The kernel accepts a packet on a device only if it would answer its sender over the same device. IPv6 has
    no such filter.
    """
    source = addresses[0].address
    kept: list[KernelRoute] = []
    dropped: dict[int, list[KernelRoute]] = {}
    for route in routes:
        best = best_devices(state, route.network, source)
        if not best or link.index in best:
            kept.append(route)
        else:
            dropped.setdefault(min(best), []).append(route)
    notes = []
    for index, filtered in sorted(dropped.items()):
        other = state.links_by_index.get(index)
        what = ", ".join(
            "the default route" if r.destination == "0.0.0.0/0" else r.destination for r in filtered
        )
        better = other.name if other else f"device {index}"
        notes.append(f"IPv4: rp_filter is strict here, and {better} is the better device for {what}")
    return kept, notes


def _loopback_routes(state: KernelState, link: Link, family: int) -> list[KernelRoute]:
    routes = state.routes_by_table.get((family, TABLE_LOCAL), ())
    return [route for route in routes if route.local and route.index == link.index]


def _local_address(address: Address) -> LocalAddress:
    return LocalAddress(address.address, address.prefix_length, address.deprecated, address.temporary)


def _address_key(address: Address) -> tuple[bool, bool, bool, int]:
    """Primary addresses first; among equals by value, so that the order of bring-up does not show."""
    packed = int(ipaddress.ip_address(address.address))
    return (address.secondary, address.deprecated, is_link_local(address.address), packed)
