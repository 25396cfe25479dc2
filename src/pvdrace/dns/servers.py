"""Which resolver of a provisioning domain is asked first, and from which address. Pure.

RFC 8305 s3.1: resolvers with IPv6 addresses come first *among equals*, silent ones are penalised, the one
that answered last stays first. What is known of a resolver belongs to one attachment of one PvD.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from ..model import is_link_local

if TYPE_CHECKING:
    from ..model import ProvisioningDomain, Resolver

PENALTY = 30.0
"""Seconds for which a silent resolver is asked last. Doubles with each time that it is silent again."""
MAX_PENALTY = 600.0
MAX_REMEMBERED = 1024
"""Resolvers that are remembered; beyond it the oldest is forgotten."""


class Server(NamedTuple):
    """A resolver and the source address for its queries (None: the kernel's choice)."""

    resolver: Resolver
    local: str | None

    def __str__(self) -> str:
        return str(self.resolver)


@dataclass(slots=True)
class _Standing:
    """What is known of one resolver: silent ``level`` times in a row, asked last until ``until``."""

    level: int = 0
    until: float = 0.0
    answered: float = 0.0


class Standings:
    """What is known of the resolvers of all PvDs: who answered, and who was silent."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, int, Resolver], _Standing] = {}

    def order(self, pvd: ProvisioningDomain, now: float, families: tuple[int, ...] = (6, 4)) -> list[Server]:
        """The resolvers of ``pvd`` that can be asked, best first.

        Left out are those of a family in which the PvD has no address: the kernel would send from another
        interface's address. Also those that are not of the ``families`` that policy leaves to connections, as
        long as others can be asked.

        Deliberate: no more than that. ``require=["family:ipv6"]`` speaks of where the connection goes, and
        most networks name their resolvers by IPv4 alone: it would fail everywhere.
        """
        resolvers = [r for r in pvd.resolvers if (6 if ":" in r.address else 4) in families]
        resolvers = resolvers or list(pvd.resolvers)
        if pvd.is_loopback or not pvd.addresses:
            servers = [Server(resolver, None) for resolver in resolvers]
        else:
            servers = [
                Server(resolver, source)
                for resolver in resolvers
                if (source := choose_source(pvd, resolver.address)) is not None
            ]
        if len(servers) > 1:
            servers.sort(key=lambda server: self._rank(pvd, server.resolver, now))
        return servers

    def has_answered(self, pvd: ProvisioningDomain, server: Server) -> bool:
        """Whether the resolver has answered in this attachment, and was not silent since."""
        standing = self._known.get((pvd.name, pvd.attachment, server.resolver))
        return standing is not None and standing.answered > 0.0

    def answered(self, pvd: ProvisioningDomain, server: Server, now: float) -> None:
        """The resolver answered: its penalty is over, and it is asked first."""
        standing = self._get(pvd, server)
        standing.level, standing.until, standing.answered = 0, 0.0, now

    def was_silent(self, pvd: ProvisioningDomain, server: Server, now: float) -> None:
        """The resolver did not answer in its time: it is asked last for a while, longer every time."""
        standing = self._get(pvd, server)
        if now < standing.until:
            return  # lookups that run at once are one silence
        standing.level += 1
        standing.until = now + min(PENALTY * 2.0 ** (standing.level - 1), MAX_PENALTY)
        standing.answered = 0.0

    def forget(self, pvd_name: str) -> None:
        """Drop what is known of the resolvers of one PvD."""
        for key in [key for key in self._known if key[0] == pvd_name]:
            del self._known[key]

    def _rank(self, pvd: ProvisioningDomain, resolver: Resolver, now: float) -> tuple[float, float, bool]:
        standing = self._known.get((pvd.name, pvd.attachment, resolver))
        if standing is None:
            return 0.0, 0.0, ":" not in resolver.address
        penalised_until = standing.until if now < standing.until else 0.0
        return penalised_until, -standing.answered, ":" not in resolver.address

    def _get(self, pvd: ProvisioningDomain, server: Server) -> _Standing:
        key = (pvd.name, pvd.attachment, server.resolver)
        standing = self._known.get(key)
        if standing is None:
            if len(self._known) >= MAX_REMEMBERED:
                del self._known[next(iter(self._known))]
            standing = self._known[key] = _Standing()
        return standing


def choose_source(pvd: ProvisioningDomain, server: str) -> str | None:
    """The address of ``pvd`` that queries to ``server`` come from; None if it has none of that family.

    A short RFC 6724 s5: same scope (rule 2), not deprecated (rule 3), longest matching prefix (rule 8).
    """
    family = 6 if ":" in server else 4
    usable = [own for own in pvd.addresses if own.family == family]
    if len(usable) <= 1:
        return usable[0].address if usable else None
    link_local = is_link_local(server)
    best = max(
        usable,
        key=lambda own: (
            is_link_local(own.address) == link_local,
            not own.deprecated,
            min(_common_bits(own.address, server), own.prefix_length),
        ),
    )
    return best.address


@lru_cache(maxsize=1024)
def _common_bits(one: str, other: str) -> int:
    a, b = ipaddress.ip_address(one), ipaddress.ip_address(other)
    return a.max_prefixlen - (int(a) ^ int(b)).bit_length()
