"""What the kernel says, as values: links, addresses, routes, rules. Pure.

Families are 4 and 6 throughout; flags of the kernel's that matter here have become words.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, replace
from functools import cached_property

#: The routing tables that every host has (linux/rtnetlink.h, enum rt_class_t).
TABLE_DEFAULT, TABLE_MAIN, TABLE_LOCAL = 253, 254, 255

IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Link:
    """A network device. ``carrier``: it can carry packets now; ``master``: index of its bridge or bond.

    ``carrier_changes`` counts how often it has got or lost its carrier since it was made.
    """

    index: int
    name: str
    up: bool = True
    carrier: bool = True
    loopback: bool = False
    master: int | None = None
    other_names: tuple[str, ...] = ()
    kind: str | None = None
    vrf_table: int | None = None
    carrier_changes: int = 0


@dataclass(frozen=True, slots=True)
class Address:
    """An address on a device. ``peer`` is the far end of a point-to-point link, the address itself elsewhere.

    ``usable`` is False while duplicate address detection runs, or after it has failed (RFC 4862 s5.4).
    """

    index: int
    address: str
    prefix_length: int
    peer: str | None = None
    usable: bool = True
    deprecated: bool = False
    temporary: bool = False
    secondary: bool = False

    @property
    def family(self) -> int:
        """4 or 6."""
        return 6 if ":" in self.address else 4

    @property
    def network(self) -> IPNetwork:
        """The prefix that is on the link."""
        return ipaddress.ip_network((self.peer or self.address, self.prefix_length), strict=False)


@dataclass(frozen=True, slots=True)
class KernelRoute:
    """A unicast route out of a device (one for each next hop of a multipath route). Lower metrics win.

    ``local`` marks what is delivered to the host itself. ``source`` is the address that it prefers to be used
    from, ``copied`` that a rule manager of pvdrace's has made it: the kernel follows it, but nobody else said
    that it is so.
    """

    index: int
    destination: str
    gateway: str | None = None
    metric: int = 0
    table: int = TABLE_MAIN
    local: bool = False
    source: str | None = None
    copied: bool = False

    @property
    def family(self) -> int:
        """4 or 6."""
        return 6 if ":" in self.destination else 4

    @property
    def network(self) -> IPNetwork:
        """The destination as a network."""
        return ipaddress.ip_network(self.destination)


@dataclass(frozen=True, slots=True)
class PolicyRule:
    """A line of ``ip rule``. ``table`` None: an action other than a lookup, ``terminal`` if that ends it all.

    ``conditional``: it looks at what a connection has not yet (ports, protocol, user, type of service).
    ``suppress_length``: a route whose prefix is no longer than this does not count.
    """

    family: int
    priority: int = 0
    table: int | None = TABLE_MAIN
    terminal: bool = False
    source: str | None = None
    destination: str | None = None
    input_device: str | None = None
    output_device: str | None = None
    mark: int = 0
    mark_mask: int = 0
    invert: bool = False
    conditional: bool = False
    l3mdev: bool = False
    suppress_length: int = -1


@dataclass(frozen=True)
class KernelState:
    """One dump. ``rp_filter``: the IPv4 reverse path filter by device index, ``all`` under -1.

    ``link_layer``: of the neighbours that the kernel has spoken with, by device index and address.
    """

    links: tuple[Link, ...] = ()
    addresses: tuple[Address, ...] = ()
    routes: tuple[KernelRoute, ...] = ()
    rules: tuple[PolicyRule, ...] = ()
    rp_filter: tuple[tuple[int, int], ...] = ()
    link_layer: tuple[tuple[int, str, str], ...] = ()

    def link_named(self, name: str) -> Link | None:
        """The link that has that name, or that alternative name; or None."""
        return self._links_by_name.get(name)

    def link_of_address(self, address: str) -> Link | None:
        """The one link that carries an address; None where no link does, or several (overlapping PvDs)."""
        indexes = {a.index for a in self.addresses if a.address == address}
        return self.links_by_index.get(indexes.pop()) if len(indexes) == 1 else None

    def is_strict(self, index: int) -> bool:
        """Whether the effective rp_filter of a device is strict: max(all, device) is 1 (ip-sysctl)."""
        filters = dict(self.rp_filter)
        return max(filters.get(-1, 0), filters.get(index, 0)) == 1

    def without_ours(self) -> KernelState:
        """The state as others have made it, with nothing filtered: what policy routing is to be made for."""
        routes = tuple(route for route in self.routes if not route.copied)
        return replace(self, routes=routes, rp_filter=())

    @cached_property
    def neighbours(self) -> dict[tuple[int, str], str]:
        """The link-layer address of each neighbour, by device index and IP address."""
        return {(index, address): link_layer for index, address, link_layer in self.link_layer}

    @cached_property
    def links_by_index(self) -> dict[int, Link]:
        """The links by their index."""
        return {link.index: link for link in self.links}

    @cached_property
    def addresses_by_index(self) -> dict[int, list[Address]]:
        """The addresses of each link."""
        found: dict[int, list[Address]] = {}
        for address in self.addresses:
            found.setdefault(address.index, []).append(address)
        return found

    @cached_property
    def routes_by_table(self) -> dict[tuple[int, int], list[KernelRoute]]:
        """The routes of each (family, table)."""
        found: dict[tuple[int, int], list[KernelRoute]] = {}
        for route in self.routes:
            found.setdefault((route.family, route.table), []).append(route)
        return found

    @cached_property
    def _links_by_name(self) -> dict[str, Link]:
        others = {name: link for link in self.links for name in link.other_names}
        return others | {link.name: link for link in self.links}
