"""What RFC 6724 knows about addresses: their scope, their common prefix, and the policy tables. Pure.

Both families are one kind of number here: 128 bits, IPv4 as ::ffff:0:0/96 (RFC 6724 s3.2). Parsing text is
slow, comparing numbers is not, so text is parsed once.
"""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ..model import AddressTable, ProvisioningDomain, ScopeRow

LINK_LOCAL_SCOPE = 0x2
SITE_LOCAL_SCOPE = 0x5
GLOBAL_SCOPE = 0xE

_MAPPED = 0xFFFF << 32


class Prefix(NamedTuple):
    """A prefix as numbers. ``length`` counts from the top of 128 bits: 10.0.0.0/8 has length 104."""

    value: int
    length: int

    def covers(self, address: int) -> bool:
        """Whether an address lies in this prefix."""
        return (address ^ self.value) >> (128 - self.length) == 0


class PolicyRow(NamedTuple):
    """A row of a policy table (RFC 6724 s2.1): higher precedence is better, equal labels belong together."""

    prefix: Prefix
    precedence: int
    label: int


PolicyTable = tuple[PolicyRow, ...]


@lru_cache(maxsize=16384)
def parse(address: str) -> int:
    """An address as 128 bits, its zone (``%eth0``) left out. Raises ValueError for what is not an address."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    return int(parsed) | (_MAPPED if parsed.version == 4 else 0)


@lru_cache(maxsize=4096)
def parse_prefix(text: str) -> Prefix:
    """A prefix such as ``10.0.0.0/8`` or ``192.168.1.7/24`` as numbers. Raises ValueError."""
    network = ipaddress.ip_network(text, strict=False)
    if network.version == 4:
        return Prefix(int(network.network_address) | _MAPPED, network.prefixlen + 96)
    return Prefix(int(network.network_address), network.prefixlen)


def is_ipv4(address: int) -> bool:
    """Whether the number stands for an IPv4 address."""
    return address >> 32 == 0xFFFF


def scope(address: int) -> int:
    """The scope of an address, as in RFC 4291 s2.7 (RFC 6724 s3.1 for unicast, s3.2 for IPv4).

    Private IPv4 (RFC 1918) and unique local IPv6 (RFC 4193) are global; 127.0.0.0/8, 169.254.0.0/16 and ::1
    are link-local.
    """
    if is_ipv4(address):
        low = address & 0xFFFFFFFF
        return LINK_LOCAL_SCOPE if low >> 24 == 127 or low >> 16 == 0xA9FE else GLOBAL_SCOPE
    if address >> 120 == 0xFF:
        return address >> 112 & 0xF
    if address >> 118 == 0xFE80 >> 6 or address == 1:
        return LINK_LOCAL_SCOPE
    if address >> 118 == 0xFEC0 >> 6:
        return SITE_LOCAL_SCOPE
    return GLOBAL_SCOPE


def common_prefix_length(a: int, b: int) -> int:
    """How many leading bits two addresses share, 0 to 128 (RFC 6724 s2.2 without its cap)."""
    return 128 - (a ^ b).bit_length()


def make_table(rows: Mapping[str, tuple[int, int]]) -> PolicyTable:
    """A policy table from prefix to (precedence, label). It needs a row for ::/0."""
    return _longest_first(PolicyRow(parse_prefix(prefix), *row) for prefix, row in rows.items())


def policy(table: PolicyTable, address: int) -> PolicyRow:
    """The row of the longest prefix that covers an address."""
    return next(row for row in table if row.prefix.covers(address))


def policy_table(pvd: ProvisioningDomain) -> PolicyTable:
    """The policy table of a PvD. Raises ValueError for a name that no table has."""
    if pvd.custom_table is not None and pvd.custom_table.name == pvd.address_table:
        return _custom(pvd.custom_table)
    table = POLICY_TABLES.get(pvd.address_table)
    if table is None:
        raise ValueError(
            f"{pvd.name}: no address table {pvd.address_table!r}, there are {', '.join(POLICY_TABLES)}"
        )
    if pvd.address_table == "rfc6724-update":
        local = [PolicyRow(prefix, 45, 14) for prefix in known_local_prefixes(pvd)]
        return _longest_first((*local, *table)) if local else table
    return table


class Variation(NamedTuple):
    """What of RFC 6724 s6 a table goes without: rule 3, and rule 9 between two IPv4 addresses."""

    rule_3: bool = True
    rule_9_ipv4: bool = True


def variation(pvd: ProvisioningDomain) -> Variation:
    """How the destination rules of a PvD differ from the RFC's, which is by the name of its table."""
    return _VARIATIONS.get(pvd.address_table, _AS_THE_RFC)


def scopes4(pvd: ProvisioningDomain) -> tuple[tuple[Prefix, int], ...]:
    """The scopes of IPv4 prefixes that a PvD's own table has, the longest prefix first; often none."""
    if pvd.custom_table is None or pvd.custom_table.name != pvd.address_table:
        return ()
    return _scopes(pvd.custom_table.scopes4)


def families_may_tie(table: PolicyTable) -> bool:
    """Whether an IPv4 and an IPv6 destination can have the same precedence."""
    four = {row.precedence for row in table if row.prefix.length >= 96 and is_ipv4(row.prefix.value)}
    four.add(policy(table, _MAPPED).precedence)
    six = {row.precedence for row in table if not (row.prefix.length >= 96 and is_ipv4(row.prefix.value))}
    return not four.isdisjoint(six)


@lru_cache(maxsize=64)
def _custom(table: AddressTable) -> PolicyTable:
    return make_table({row.prefix: (row.precedence, row.label) for row in table.rows})


@lru_cache(maxsize=64)
def _scopes(rows: tuple[ScopeRow, ...]) -> tuple[tuple[Prefix, int], ...]:
    found = ((parse_prefix(row.prefix), row.scope) for row in rows)
    return tuple(sorted(found, key=lambda row: -row[0].length))


def known_local_prefixes(pvd: ProvisioningDomain) -> tuple[Prefix, ...]:
    """The unique local prefixes that a host knows to be of its own site (draft-ietf-6man-rfc6724-update).

    Its own addresses and its on-link prefixes count as a /48; a route through a gateway counts as it is,
    from /40 on.
    """
    found = {_site(parse(a.address)) for a in pvd.addresses if _is_fd(parse(a.address))}
    for route in pvd.routes:
        prefix = parse_prefix(route.destination)
        if prefix.length >= 40 and _is_fd(prefix.value):
            on_link = route.gateway is None and prefix.length > 48
            found.add(_site(prefix.value) if on_link else prefix)
    return tuple(sorted(found))


def _is_fd(address: int) -> bool:
    return address >> 120 == 0xFD


def _site(address: int) -> Prefix:
    return Prefix(address >> 80 << 80, 48)


def _longest_first(rows: Iterable[PolicyRow]) -> PolicyTable:
    return tuple(sorted(rows, key=lambda row: (-row.prefix.length, row.prefix.value)))


_RFC_6724 = {
    "::1/128": (50, 0),
    "::/0": (40, 1),
    "::ffff:0:0/96": (35, 4),
    "2002::/16": (30, 2),
    "2001::/32": (5, 5),
    "fc00::/7": (3, 13),
    "::/96": (1, 3),
    "fec0::/10": (1, 11),
    "3ffe::/16": (1, 12),
}

_AS_THE_RFC = Variation()
_VARIATIONS = {"android-2.2": Variation(rule_3=False, rule_9_ipv4=False)}

#: The tables that a PvD may name in ``address_table``.
POLICY_TABLES: dict[str, PolicyTable] = {
    # RFC 6724 s2.1.
    "rfc6724": make_table(_RFC_6724),
    # RFC 6724 s10.3: IPv4 before IPv6 where both are equally suitable.
    "rfc6724-ipv4-first": make_table(_RFC_6724 | {"::ffff:0:0/96": (100, 4)}),
    # draft-ietf-6man-rfc6724-update-15: unique local before IPv4. `policy_table` adds the known local ones.
    "rfc6724-update": make_table(
        _RFC_6724 | {"::ffff:0:0/96": (20, 4), "2002::/16": (5, 2), "fc00::/7": (30, 13)}
    ),
    # glibc: the precedences of RFC 3484 s2.1 (gai.conf(5)), and the labels of its getaddrinfo, which tell
    # site-local, unique local and Teredo apart though they share the precedence of ::/0.
    "glibc": make_table(
        {
            "::1/128": (50, 0),
            "::/0": (40, 1),
            "2002::/16": (30, 2),
            "::/96": (20, 3),
            "::ffff:0:0/96": (10, 4),
            "fec0::/10": (40, 5),
            "fc00::/7": (40, 6),
            "2001::/32": (40, 7),
        }
    ),
    # RFC 3484 s2.1; `variation` knows the rules of s6 that Android 2.2 left out.
    "android-2.2": make_table(
        {
            "::1/128": (50, 0),
            "::/0": (40, 1),
            "2002::/16": (30, 2),
            "::/96": (20, 3),
            "::ffff:0:0/96": (10, 4),
        }
    ),
}
