"""Which targets a proxy must not reach: this host itself, and what means something on one link only. Pure.

Whoever can talk to the proxy would otherwise reach what listens on the loopback of its host for good reason,
and the metadata services of clouds on 169.254.0.0/16.
"""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from typing import TYPE_CHECKING

from ..model import is_loopback, parse_literal
from ..race.nat64 import WELL_KNOWN_PREFIX, extract

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..model import ProvisioningDomain

#: 0.0.0.0/8 (RFC 1122 s3.2.1.3) and ::, which Linux takes for the host itself.
_THIS_HOST = (ipaddress.ip_network("0.0.0.0/8"), ipaddress.ip_network("::/128"))
#: RFC 8215: for NAT64 inside a site; which part of it is the prefix is not known here.
_LOCAL_NAT64 = ("64:ff9b:1::/48", "64:ff9b:1::/96")
_COMPATIBLE = ipaddress.ip_network("::/96")  # RFC 4291 s2.5.5.1


class TargetRefused(Exception):
    """The proxy does not connect there; ``str()`` is one line."""


def prefixes_of(pvds: Iterable[ProvisioningDomain]) -> tuple[str, ...]:
    """The NAT64 prefixes by which these PvDs might carry an IPv4 address."""
    return tuple(dict.fromkeys(prefix for pvd in pvds for prefix in pvd.pref64))


def own_addresses(pvds: Iterable[ProvisioningDomain]) -> frozenset[str]:
    """The addresses of this host."""
    return frozenset(own.address for pvd in pvds for own in pvd.addresses)


def name_refused(host: str) -> str | None:
    """Why a host is refused by its name alone; None: it depends on its addresses."""
    if parse_literal(host) is None and is_loopback(host):
        return f"{host} is this host itself"
    return None


@lru_cache(maxsize=4096)
def address_refused(address: str, prefixes: tuple[str, ...], own: frozenset[str]) -> str | None:
    """Why an address is refused, in a few words, or None. ``prefixes``: NAT64's; ``own``: of this host."""
    for each in (address, *_within(address, prefixes)):
        why = _refused(ipaddress.ip_address(each), own)
        if why is not None:
            return f"{address} is {why}"
    return None


def _refused(address: ipaddress.IPv4Address | ipaddress.IPv6Address, own: frozenset[str]) -> str | None:
    if address.is_loopback or any(address in net for net in _THIS_HOST if net.version == address.version):
        return "this host itself"
    if address.is_link_local:
        return "link-local"
    if address.is_multicast or address == ipaddress.ip_address("255.255.255.255"):
        return "for many, not for one"
    return "an address of this host" if str(address) in own else None


def _within(address: str, prefixes: tuple[str, ...]) -> list[str]:
    """The IPv4 addresses that an IPv6 one may stand for."""
    parsed = ipaddress.ip_address(address)
    if not isinstance(parsed, ipaddress.IPv6Address):
        return []
    found = [str(inner) for inner in (parsed.ipv4_mapped, parsed.sixtofour) if inner is not None]
    if parsed in _COMPATIBLE and int(parsed) > 1:
        found.append(str(ipaddress.IPv4Address(int(parsed) & 0xFFFFFFFF)))
    for prefix in (WELL_KNOWN_PREFIX, *_LOCAL_NAT64, *prefixes):
        inner = extract(prefix, address)
        if inner is not None:
            found.append(inner)
    return found
