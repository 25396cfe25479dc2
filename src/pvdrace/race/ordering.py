"""In which order to try the addresses of a name, inside one PvD: RFC 6724, then RFC 8305 s4. Pure.

What depends on the PvD and the destination alone (Source(D), and rules 1 to 8 of RFC 6724 s6 as one number)
is worked out once and kept with the PvD: a connect that has seen its destination before only sorts numbers.
"""

from __future__ import annotations

from itertools import groupby
from math import inf
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

from ..model import Candidate
from .addresses import (
    GLOBAL_SCOPE,
    LINK_LOCAL_SCOPE,
    PolicyTable,
    Prefix,
    common_prefix_length,
    families_may_tie,
    is_ipv4,
    parse,
    parse_prefix,
    policy,
    policy_table,
    scope,
    scopes4,
    variation,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..model import LocalAddress, ProvisioningDomain


def order(
    pvd: ProvisioningDomain,
    addresses: Sequence[str],
    port: int,
    *,
    preferred_address_family_count: int = 1,
    rtt: Mapping[str, float] | None = None,
    ipv4_first: bool = False,
) -> list[Candidate]:
    """The candidates of a PvD for these addresses, best first.

    Sorted by RFC 6724 s6 with the source addresses of this PvD, then interleaved by family (RFC 8305 s4).
    ``rtt`` is what this PvD's history knows, address to seconds: between rules 8 and 9 the quicker comes
    first, and any that was used before one that was not (RFC 8305 s4). Addresses that cannot work here are
    left out (rule 1): `unusable` says why. Raises ValueError for what is not an address.

    ``ipv4_first``: IPv6 has failed here lately, so IPv4 comes before it.
    """
    known = _destinations(pvd)
    found = [d for a in addresses if (d := known[a]).unusable is None]
    if len(found) > 1:
        if known.families_may_tie:
            found = _sorted_within_families(found, rtt or {})
        elif rtt:
            found.sort(key=lambda d: (d.rules_2_to_8, rtt.get(d.address, inf), d.rule_9))
        else:
            found.sort(key=_rules_2_to_9)
        if ipv4_first:
            # Deliberate: RFC 6724 s6 prefers IPv6 by precedence (rule 6), and RFC 8305 s4 lets history speak
            # only behind rule 8. An IPv6 that does not work here would cost a Connection Attempt Delay each
            # time: RFC 6555 s4.2 remembers the family that worked, and so does this.
            found.sort(key=_family)
        if len(found) > 2:
            candidates = [Candidate(pvd, d.source, d.address, port, d.family) for d in found]
            return interleave(candidates, preferred_address_family_count)
    return [Candidate(pvd, d.source, d.address, port, d.family) for d in found]


def interleave(candidates: Sequence[Candidate], preferred_address_family_count: int = 1) -> list[Candidate]:
    """Alternate the families, the first one's first (RFC 8305 s4).

    ``preferred_address_family_count`` of the first family stand before the first of the other. The order
    inside a family stays. Raises ValueError for a count below 1.
    """
    if preferred_address_family_count < 1:
        raise ValueError(
            f"preferred_address_family_count is {preferred_address_family_count}, it must be at least 1"
        )
    first = [c for c in candidates if c.family == candidates[0].family]
    other = [c for c in candidates if c.family != candidates[0].family]
    if not other:
        return first
    woven = first[: preferred_address_family_count - 1]
    first = first[preferred_address_family_count - 1 :]
    for pair in zip(first, other, strict=False):
        woven += pair
    both = min(len(first), len(other))
    return woven + first[both:] + other[both:]


def source_address(pvd: ProvisioningDomain, destination: str) -> str | None:
    """Source(D): the address of this PvD that packets to a destination should come from (RFC 6724 s5).

    None where the PvD has no address of that family, or where its addresses are not known.
    The candidate set is this PvD's addresses (RFC 7556 s5.2.2).
    """
    return _destinations(pvd)[destination].source


def prefers_ipv4(pvd: ProvisioningDomain) -> bool:
    """Whether its policy table puts IPv4 before global IPv6 (RFC 6724 s10.3)."""
    return _destinations(pvd).ipv4_first


def unusable(pvd: ProvisioningDomain, address: str) -> str | None:
    """Why a destination cannot be reached in this PvD (RFC 6724 s6 rule 1), in a few words, or None.

    What is not known excludes nothing: a PvD without addresses or without routes is one of which they are
    unknown.
    """
    return _destinations(pvd)[address].unusable


def route_length(pvd: ProvisioningDomain, address: str) -> int:
    """The prefix length of the most specific route of this PvD to an address; -1 if none is known.

    A default route has length 0 in both families, so that they compare.
    """
    return _destinations(pvd)[address].route_length


class _Destination(NamedTuple):
    """What one PvD knows about one destination; the rules are RFC 6724 s6's, smaller is better."""

    address: str
    family: int
    source: str | None
    unusable: str | None
    route_length: int
    rules_2_to_8: int
    rule_9: int
    rules_2_to_9: int


_family = attrgetter("family")
_rules_2_to_9 = attrgetter("rules_2_to_9")
_rule_9 = attrgetter("rule_9")
_PRECEDENCES = (1 << 31) - 1  # as many as glibc takes; RFC 7078 has 8 bits


def _sorted_within_families(found: list[_Destination], rtt: Mapping[str, float]) -> list[_Destination]:
    """Sort where a table gives both families one precedence: rule 9 then compares inside each (s6).

    It is no order among all of them: so among equals the places of a family stay its own (rule 10).
    """

    def rules_2_to_8(destination: _Destination) -> tuple[int, float]:
        return destination.rules_2_to_8, rtt.get(destination.address, inf)

    woven: list[_Destination] = []
    for _, equals in groupby(sorted(found, key=rules_2_to_8), rules_2_to_8):
        run = list(equals)
        by_rule_9 = {
            family: iter(sorted((d for d in run if d.family == family), key=_rule_9)) for family in (4, 6)
        }
        woven += [next(by_rule_9[d.family]) for d in run]
    return woven


class _Source(NamedTuple):
    """A local address as numbers."""

    local: LocalAddress
    value: int
    on_link: Prefix
    scope: int
    label: int


def _destinations(pvd: ProvisioningDomain) -> _Destinations:
    # Kept in the PvD's own __dict__, as a cached_property would: hashing the whole value costs more than
    # sorting.
    try:
        known: _Destinations = pvd.__dict__["_destinations"]
    except KeyError:
        known = pvd.__dict__["_destinations"] = _Destinations(pvd)
    return known


class _Destinations(dict[str, _Destination]):
    """All that was worked out for one PvD, by destination. Filled on demand, emptied when it grows large."""

    LIMIT = 4096

    def __init__(self, pvd: ProvisioningDomain) -> None:
        self.table: PolicyTable = policy_table(pvd)
        self.families_may_tie = families_may_tie(self.table)
        self.variation = variation(pvd)
        self.scopes4 = scopes4(pvd)
        ipv4, ipv6 = (policy(self.table, parse(address)).precedence for address in ("0.0.0.0", "2000::"))
        self.ipv4_first = ipv4 > ipv6
        self.routes = [parse_prefix(route.destination) for route in pvd.routes]
        self.hops = [(parse_prefix(r.destination), r.gateway, r.source) for r in pvd.routes if r.family == 4]
        self.sources = [self._local(local) for local in pvd.addresses]

    def __missing__(self, address: str) -> _Destination:
        if len(self) >= self.LIMIT:
            self.clear()
        found = self[address] = self._work_out(address)
        return found

    def _work_out(self, address: str) -> _Destination:
        value = parse(address)
        family = 6 if ":" in address else 4
        source = self._source(value, family)
        route = self._route_length(value, family)
        row = policy(self.table, value)
        reach = self._scope(value)
        # Deliberate: no rule 4 (s6), there are no home addresses without mobile IP; and no rule 7 (s6), all
        # destinations of a PvD leave by its one interface, so none is more encapsulated than another.
        rule_2 = source is not None and source.scope != reach
        rule_3 = source is not None and source.local.deprecated and self.variation.rule_3
        rule_5 = source is not None and source.label != row.label
        rule_6 = _PRECEDENCES - row.precedence
        rules_2_to_8 = rule_2 << 37 | rule_3 << 36 | rule_5 << 35 | rule_6 << 4 | reach
        # Rule 9 compares within one family. One number is enough for that where no two families tie at rule
        # 6: the built-in tables give no precedence of IPv4's to anything else.
        counts = source is not None and (family == 6 or self.variation.rule_9_ipv4)
        rule_9 = 128 - (_common_prefix(source, value) if counts and source else 0)
        return _Destination(
            address,
            family,
            source.local.address if source else None,
            self._unusable(value, family, source, route),
            route,
            rules_2_to_8,
            rule_9,
            rules_2_to_8 << 8 | rule_9,
        )

    def _unusable(self, value: int, family: int, source: _Source | None, route: int) -> str | None:
        if _is_unspecified(value):
            return "0.0.0.0 is no destination" if family == 4 else ":: is no destination"
        if family == 6 and is_ipv4(value):
            return "an IPv4-mapped address is not for the wire"
        if _is_multicast(value):
            return "a multicast address is no destination"
        if self.sources and source is None:
            return f"no IPv{family} address"
        if _is_loopback(value) and self.sources and not any(_is_loopback(s.value) for s in self.sources):
            return "a loopback address never leaves the host"
        # fe80::/10 is on every link, whether a route or an address says so or not (RFC 4291 s2.5.6).
        if self.routes and route < 0 and not (family == 6 and scope(value) == LINK_LOCAL_SCOPE):
            return "no route"
        return None

    def _route_length(self, value: int, family: int) -> int:
        prefixes = [*self.routes, *(s.on_link for s in self.sources)]
        offset = 96 if family == 4 else 0
        # A prefix shorter than IPv4's own 96 bits is an IPv6 route, ::/0 say, and covers no IPv4 address.
        return max(
            (p.length - offset for p in prefixes if p.length >= offset and p.covers(value)), default=-1
        )

    def _source(self, value: int, family: int) -> _Source | None:
        of_family = [s for s in self.sources if s.local.family == family]
        if not of_family:
            return None
        reach, label = self._scope(value), policy(self.table, value).label
        if family == 4:
            hop, preferred = self._next_hop(value)
            return min(of_family, key=lambda s: _ipv4_source_rules(s, value, reach, hop, preferred))
        return min(of_family, key=lambda s: _source_rules(s, value, reach, label))

    def _next_hop(self, value: int) -> tuple[int | None, str | None]:
        """Of the most specific route to an IPv4 address: its gateway, and the source that it prefers."""
        covering = [hop for hop in self.hops if hop[0].covers(value)]
        if not covering:
            return None, None
        _, gateway, preferred = max(covering, key=lambda hop: hop[0].length)
        return None if gateway is None else parse(gateway), preferred

    def _local(self, local: LocalAddress) -> _Source:
        value = parse(local.address)
        on_link = parse_prefix(str(local))
        return _Source(local, value, on_link, self._scope(value), policy(self.table, value).label)

    def _scope(self, value: int) -> int:
        if self.scopes4 and is_ipv4(value):
            return next((reach for prefix, reach in self.scopes4 if prefix.covers(value)), GLOBAL_SCOPE)
        return scope(value)


def _source_rules(source: _Source, destination: int, reach: int, label: int) -> tuple[object, ...]:
    """RFC 6724 s5 as a key, smaller is better.

    Rule 5 holds by construction: the candidates are those of one interface.
    """
    # Deliberate: no rule 4, there are no home addresses without mobile IP; no rule 5.5, which is for those
    # who know the router of each prefix, and a PvD does not say; and no switch to reverse rule 7, since the
    # addresses that a PvD is to use can be configured.
    return (
        source.value != destination,  # rule 1
        _scope_rule(source.scope, reach),  # rule 2
        source.local.deprecated,  # rule 3
        source.label != label,  # rule 6
        not source.local.temporary,  # rule 7
        -_common_prefix(source, destination),  # rule 8
    )


def _ipv4_source_rules(
    source: _Source, destination: int, reach: int, next_hop: int | None, preferred: str | None
) -> tuple[object, ...]:
    """RFC 6724 s5 leaves IPv4 open: as the kernel does it, then.

    The address that the route prefers; else one that shares its link with the destination, or with the next
    hop; else one of the right scope that is not deprecated; else the first.
    """
    near = source.on_link.covers(destination if next_hop is None else next_hop)
    return (
        source.value != destination,
        source.local.address != preferred,
        -source.on_link.length if source.on_link.covers(destination) else 0,
        not near,
        _scope_rule(source.scope, reach),
        source.local.deprecated,
    )


def _scope_rule(source_scope: int, reach: int) -> tuple[bool, int]:
    """RFC 6724 s5 rule 2: the smallest scope that still reaches; else the largest there is."""
    return (False, source_scope) if source_scope >= reach else (True, -source_scope)


def _common_prefix(source: _Source, destination: int) -> int:
    """CommonPrefixLen(S, D), never longer than S's prefix (RFC 6724 s2.2)."""
    return min(common_prefix_length(source.value, destination), source.on_link.length)


def _is_unspecified(value: int) -> bool:
    return value in (0, 0xFFFF << 32)


def _is_loopback(value: int) -> bool:
    return value == 1 or value >> 24 == 0xFFFF << 8 | 127


def _is_multicast(value: int) -> bool:
    return value >> 120 == 0xFF or value >> 28 == 0xFFFF << 4 | 0xE
