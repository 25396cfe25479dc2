"""The words of the project as immutable values. Pure: nothing here reads the world.

The nouns are the standards': a *provisioning domain* is RFC 7556 s2's consistent set of configuration,
an *endpoint* and a *preference* are RFC 9622's, a *candidate* is a leaf of RFC 9623 s4's tree.
"""

from __future__ import annotations

import enum
import ipaddress
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, NamedTuple

from .names import fold

if TYPE_CHECKING:
    from collections.abc import Iterator

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

#: The PvD of the host itself: ``localhost`` and 127.0.0.0/8 never leave it.
LOOPBACK = "loopback"


class CostClass(enum.StrEnum):
    """What traffic on a PvD costs. *Unknown* is its own value, never a synonym of unmetered."""

    UNMETERED = "unmetered"
    FIXED = "fixed"
    VARIABLE = "variable"
    UNKNOWN = "unknown"


#: The circumstances that Windows, Apple, Android and NetworkManager attach to a cost.
COST_FLAGS = frozenset({"roaming", "over_limit", "near_limit", "congested", "constrained", "temp_unmetered"})


class Cost(NamedTuple):
    """A cost class and its flags, e.g. ``Cost(CostClass.VARIABLE, frozenset({"roaming"}))``."""

    kind: CostClass = CostClass.UNKNOWN
    flags: frozenset[str] = frozenset()


class Reachability(enum.StrEnum):
    """What a PvD is known to reach. UNKNOWN is where everything starts."""

    UNKNOWN = "unknown"
    VALIDATED = "validated"
    PORTAL = "portal"
    PARTIAL = "partial"
    NONE = "none"


UNKNOWN_COST = Cost()


class Reached(NamedTuple):
    """What one family of a PvD is known to reach, and how that is known.

    ``family`` is 4 or 6. ``evidence`` is a few words for people. ``at`` is when it was seen: seconds on the
    monotonic clock of this machine. ``portal`` is the page to show to the user (RFC 8908 s5
    ``user-portal-url``), where one is known.

    ``ports`` are those that are known to pass, ``blocked`` those that a probe has tried in vain, and ``lost``
    those on which connections were lost to other PvDs lately; the state is PARTIAL if there are any of these
    two. Of a port in none of them nothing is known, but where PARTIAL comes with ``ports`` alone: then
    nothing else passes.
    """

    family: int
    state: Reachability
    evidence: str
    at: float
    portal: str | None = None
    ports: tuple[int, ...] = ()
    blocked: tuple[int, ...] = ()
    lost: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class LocalAddress:
    """An address of the host in one PvD, with what RFC 6724 s5 asks of a source address."""

    address: str
    prefix_length: int
    deprecated: bool = False
    temporary: bool = False

    @property
    def family(self) -> int:
        """4 or 6."""
        return 6 if ":" in self.address else 4

    def __str__(self) -> str:
        return f"{self.address}/{self.prefix_length}"


@dataclass(frozen=True, slots=True)
class Route:
    """A route out of a PvD's device. ``destination`` is a prefix in text, ``gateway`` None on the link.

    ``source`` is the address that the route prefers to be used from (``ip route ... src``), if it names one.
    """

    destination: str
    gateway: str | None = None
    metric: int = 0
    source: str | None = None

    @property
    def family(self) -> int:
        """4 or 6."""
        return 6 if ":" in self.destination else 4

    @property
    def is_default(self) -> bool:
        """Whether this is 0.0.0.0/0 or ::/0."""
        return self.destination in ("0.0.0.0/0", "::/0")


@dataclass(frozen=True, slots=True)
class Resolver:
    """A DNS server as a PvD gives it. Not ``scoped``: it came from a host-wide list, not from this PvD."""

    address: str
    port: int = 53
    scoped: bool = True

    def __str__(self) -> str:
        if self.port == 53:
            return self.address
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"


class AddressRow(NamedTuple):
    """A row of an RFC 6724 policy table (s2.1): a prefix in text, its precedence and its label."""

    prefix: str
    precedence: int
    label: int


class ScopeRow(NamedTuple):
    """The scope of an IPv4 prefix: 2 link-local, 5 site-local, 14 global (RFC 4291 s2.7)."""

    prefix: str
    scope: int


@dataclass(frozen=True, slots=True)
class AddressTable:
    """An RFC 6724 policy table of one's own (as RFC 7078 hands them out), with a row for ::/0.

    ``scopes4`` replaces what RFC 6724 s3.2 says of the scopes of IPv4 addresses, where it is not empty; an
    address in none of its rows is global.
    """

    name: str
    rows: tuple[AddressRow, ...]
    scopes4: tuple[ScopeRow, ...] = ()


@dataclass(frozen=True)
class ProvisioningDomain:
    """One consistent set of network configuration from one provider (RFC 7556 s2).

    ``name`` is unique in a `PvdSet`. ``attachment`` counts the times that the PvD was attached or changed
    address: nothing learnt in one attachment (DNS answers, round-trip times) is used in another.
    ``unusable`` says why the PvD can carry nothing now, and is None for a PvD that can.
    ``pref64`` are its NAT64 prefixes (RFC 6052), ``address_table`` names its RFC 6724 policy table, and
    ``custom_table`` is that table where it is none of the built-in ones.
    ``notes`` say what was left out of a PvD that works, and why. ``configured_metric`` wins over its routes'.

    ``identity`` recognises the network again, also in another process (a PvD ID, or what no other network
    has); None: it cannot be told from another one like it. ``reachability`` sums up ``reached``, which has a
    member for each family that something is known of. The zones of a PvD that is not ``trusted`` count for
    nothing (RFC 7556 s7.1). ``captive_api`` is the URI of its Captive Portal API (RFC 8910). ``proxy`` is the
    URL of the proxy that its connections go through; ``proxy_or_direct``: where that fails they may go
    without it. ``pin`` is how its sockets are kept in it: ``device``, ``source`` or ``mark:NUMBER``. ``rate``
    is its speed in bits a second, ``warmup`` the seconds that it takes to be brought up, ``exclusive`` that
    it serves one priority at a time. ``secure``: whether the link itself is encrypted, None where that is not
    known; ``link_quality``: 0.0 to 1.0, as the link layer has it. ``route_preference``: RFC 4191 s2.1's, 1
    high, 0 medium, -1 low.
    """

    name: str
    interface: str | None = None
    ifindex: int = 0
    addresses: tuple[LocalAddress, ...] = ()
    routes: tuple[Route, ...] = ()
    resolvers: tuple[Resolver, ...] = ()
    zones: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    type: str = "unknown"
    cost: Cost = UNKNOWN_COST
    groups: tuple[str, ...] = ()
    pref64: tuple[str, ...] = ()
    address_table: str = "rfc6724"
    reachability: Reachability = Reachability.UNKNOWN
    unusable: str | None = None
    attachment: int = 0
    sources: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    configured_metric: int | None = None
    identity: str | None = None
    reached: tuple[Reached, ...] = ()
    trusted: bool = True
    captive_api: str | None = None
    proxy: str | None = None
    proxy_or_direct: bool = False
    pin: str = "device"
    rate: float | None = None
    warmup: float = 0.0
    exclusive: bool = False
    secure: bool | None = None
    link_quality: float | None = None
    route_preference: int = 0
    custom_table: AddressTable | None = None

    @cached_property
    def families(self) -> tuple[int, ...]:
        """The families (6, 4) that have a non-link-local address here, IPv6 first (HEv3 s4.1)."""
        found = {a.family for a in self.addresses if not is_link_local(a.address)}
        return tuple(f for f in (6, 4) if f in found)

    @cached_property
    def metric(self) -> int:
        """The configured one, else the lowest of its default routes, else of any route; 0 without routes."""
        if self.configured_metric is not None:
            return self.configured_metric
        defaults = [r.metric for r in self.routes if r.is_default]
        return min(defaults or [r.metric for r in self.routes], default=0)

    @property
    def is_loopback(self) -> bool:
        """Whether this is the host itself."""
        return self.interface == "lo"

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class PvdSet:
    """The PvDs of a host at one moment. ``generation`` grows with every change."""

    pvds: tuple[ProvisioningDomain, ...] = ()
    generation: int = 0
    _by_name: dict[str, ProvisioningDomain] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        by_name = {pvd.name: pvd for pvd in self.pvds}
        if len(by_name) != len(self.pvds):
            names = [pvd.name for pvd in self.pvds]
            twice = sorted({name for name in names if names.count(name) > 1})
            raise ValueError(f"two provisioning domains are named {', '.join(twice)}")
        object.__setattr__(self, "_by_name", by_name)

    def __iter__(self) -> Iterator[ProvisioningDomain]:
        return iter(self.pvds)

    def __len__(self) -> int:
        return len(self.pvds)

    def __contains__(self, name: object) -> bool:
        return name in self._by_name

    def __getitem__(self, name: str) -> ProvisioningDomain:
        return self._by_name[name]

    def get(self, name: str) -> ProvisioningDomain | None:
        """The PvD of that name, or None."""
        return self._by_name.get(name)


class Endpoint(NamedTuple):
    """What was asked for: a host (a name, or an IP literal with an optional ``%zone``) and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Literal(NamedTuple):
    """An IP literal taken apart: canonical text without its zone, the zone (a device or index), 4 or 6."""

    address: str
    zone: str | None
    family: int


@lru_cache(maxsize=4096)
def parse_literal(host: str) -> Literal | None:
    """Take an IP literal apart; None for a name. RFC 4007 s11 zones (``fe80::1%eth0``) are kept apart."""
    text = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    address, percent, zone = text.partition("%")
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return None
    if percent and (parsed.version == 4 or not zone):
        return None
    return Literal(str(parsed), zone or None, parsed.version)


@lru_cache(maxsize=4096)
def is_link_local(address: str) -> bool:
    """Whether an address means something on its link only (fe80::/10, 169.254.0.0/16)."""
    return ipaddress.ip_address(address).is_link_local


@lru_cache(maxsize=4096)
def is_loopback(host: str) -> bool:
    """Whether a host never leaves the machine: ``localhost`` (RFC 6761 s6.3), 127.0.0.0/8 and ::1."""
    literal = parse_literal(host)
    if literal is not None:
        return ipaddress.ip_address(literal.address).is_loopback
    name = fold(host)
    return name == "localhost" or name.endswith(".localhost")


class Candidate(NamedTuple):
    """One leaf of the tree: where from and where to, in one PvD (RFC 9623 s4).

    ``local`` is None where the source address is left to the kernel; ``family`` is 4 or 6.
    """

    pvd: ProvisioningDomain
    local: str | None
    remote: str
    port: int
    family: int

    def __str__(self) -> str:
        return f"{self.pvd.name} {self.remote}"


class Reason(NamedTuple):
    """Why a PvD stands where it stands: the ranking rule, and what it saw, in a few words."""

    rule: str
    text: str

    def __str__(self) -> str:
        return self.text


class Ranked(NamedTuple):
    """A PvD in a race.

    ``head_start`` is how many seconds after the race's start its own attempts may begin, None: only when
    all PvDs before it have failed. ``families`` are the families (6, 4) that policy lets it use here, the one
    to be tried first first.
    ``excluded`` says why the PvD does not run at all.
    """

    pvd: ProvisioningDomain
    head_start: float | None = 0.0
    because: tuple[Reason, ...] = ()
    families: tuple[int, ...] = (6, 4)
    excluded: Reason | None = None


class Ranking(NamedTuple):
    """The outcome of ranking: who runs, in order, and who was left out."""

    ranked: tuple[Ranked, ...]
    excluded: tuple[Ranked, ...] = ()
