"""IPv4 addresses inside IPv6 ones: the algorithm of RFC 6052 and where a race uses it. Pure."""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..model import ProvisioningDomain

WELL_KNOWN_PREFIX = "64:ff9b::/96"

_LENGTHS = (32, 40, 48, 56, 64, 96)
_U_OCTET = 0xFF << 56
"""Bits 64 to 71, which must be zero (RFC 6052 s2.2)."""


@lru_cache(maxsize=4096)
def embed(prefix: str, ipv4: str) -> str:
    """The IPv6 address that stands for an IPv4 address behind a NAT64 prefix (RFC 6052 s2.2).

    Raises ValueError for a prefix that RFC 6052 does not allow, and for an address that is not global where
    the prefix is the well-known one (s3.1: 64:ff9b::/96 MUST NOT represent non-global IPv4 addresses).
    """
    network = _prefix(prefix)
    address = ipaddress.IPv4Address(ipv4)
    if network == _WELL_KNOWN and not address.is_global:
        raise ValueError(f"{ipv4} is not global: {WELL_KNOWN_PREFIX} must not carry it (RFC 6052 s3.1)")
    before = min(max(64 - network.prefixlen, 0), 32)
    head, tail = int(address) >> (32 - before), int(address) & (1 << (32 - before)) - 1
    value = int(network.network_address) | head << 64
    value |= tail if network.prefixlen == 96 else tail << (24 + before)
    return str(ipaddress.IPv6Address(value))


@lru_cache(maxsize=4096)
def extract(prefix: str, ipv6: str) -> str | None:
    """The IPv4 address inside an IPv6 one; None if it is not made from this prefix (RFC 6052 s2.3).

    The suffix is ignored, bits 64 to 71 are not. Raises ValueError for a prefix that RFC 6052 does not allow.
    """
    network = _prefix(prefix)
    address = ipaddress.IPv6Address(ipv6)
    value = int(address)
    if address not in network or value & _U_OCTET:
        return None
    if network.prefixlen == 96:
        return str(ipaddress.IPv4Address(value & 0xFFFFFFFF))
    before = 64 - network.prefixlen
    head = value >> 64 & (1 << before) - 1
    tail = value >> (24 + before) & (1 << (32 - before)) - 1
    return str(ipaddress.IPv4Address(head << (32 - before) | tail))


def synthesise(pvd: ProvisioningDomain, addresses: Iterable[str]) -> list[str]:
    """The addresses as this PvD can reach them: IPv4 through its NAT64 (RFC 8305 s7.1, RFC 7050 s3).

    On a PvD with IPv6, no IPv4 and NAT64 prefixes, an IPv4 address becomes one IPv6 address per prefix, the
    first prefix's first. All others stay, AAAA records from a DNS64 among them; nothing appears twice. An
    IPv4 address that no prefix may carry stays as it is.

    Deliberate: RFC 8305 s7.1 would find the prefixes by RFC 7050, from the answer to ipv4only.arpa. Here they
    are configured: whoever forges that one answer has all IPv4 traffic, and it is one more thing to wait for.

    Deliberate: RFC 8305 s7.2 asks for A only as a last resort, where the AAAA records are broken. As in HEv3,
    which dropped that, A is asked for beside AAAA, and its answer is a candidate at once.

    Deliberate: RFC 8305 s7.3 would carry the A answer of a VPN's resolver over the NAT64 of the network
    below. An answer is dialled only in the PvD that gave it (RFC 7556 s5.2.1), so only its prefixes count.
    """
    given = list(addresses)
    if not needs_synthesis(pvd) or all(":" in address for address in given):
        return given
    found = [a for a in given if ":" in a]
    for prefix in pvd.pref64:
        found += [_embed_or_keep(prefix, a) for a in given if ":" not in a]
    return list(dict.fromkeys(found))


def needs_synthesis(pvd: ProvisioningDomain) -> bool:
    """Whether IPv4 destinations are reached through the NAT64 of this PvD."""
    return bool(pvd.pref64) and pvd.families == (6,)


def _embed_or_keep(prefix: str, ipv4: str) -> str:
    try:
        return embed(prefix, ipv4)
    except ValueError:
        return ipv4


@lru_cache(maxsize=256)
def _prefix(text: str) -> ipaddress.IPv6Network:
    network = ipaddress.IPv6Network(text)
    if network.prefixlen not in _LENGTHS:
        lengths = ", ".join(f"/{length}" for length in _LENGTHS)
        raise ValueError(f"{text} is no NAT64 prefix: its length must be one of {lengths} (RFC 6052 s2.2)")
    if int(network.network_address) & _U_OCTET:
        raise ValueError(f"{text} is no NAT64 prefix: its bits 64 to 71 must be zero (RFC 6052 s2.2)")
    return network


_WELL_KNOWN = ipaddress.IPv6Network(WELL_KNOWN_PREFIX)
