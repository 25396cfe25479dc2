"""Keeps what a PvD answers from being dialled where the proxy must not go: before a packet is sent.

What a name resolves to is known in the race alone, and is another thing in each PvD: so it is the answers
that are looked at, each as it comes. An answer with nothing but such addresses is a failed lookup, with the
reason in the report; of a mixed one the others are left.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..dns.resolver import Answer, DnsFailure, PvdResolver
from ..model import parse_literal
from ..net.lingering import close_now
from .targets import TargetRefused, address_refused, name_refused, own_addresses, prefixes_of

if TYPE_CHECKING:
    from ..dns.conversations import Release
    from ..model import ProvisioningDomain, PvdSet, Resolver


class Guard:
    """What is refused while these PvDs are there."""

    def __init__(self) -> None:
        self._pvds: PvdSet | None = None
        self._own: frozenset[str] = frozenset()
        self._prefixes: tuple[str, ...] = ()

    def look(self, pvds: PvdSet) -> None:
        """The PvDs of this host are now these."""
        if pvds is not self._pvds:
            self._pvds, self._own, self._prefixes = pvds, own_addresses(pvds), prefixes_of(pvds)

    def check(self, host: str) -> None:
        """Raises `TargetRefused` for a host that is refused before anybody is asked."""
        literal = parse_literal(host)
        why = name_refused(host) if literal is None else self.refused(literal.address)
        if why is not None:
            raise TargetRefused(f"{why}: not a target of this proxy")

    def refused(self, address: str) -> str | None:
        """Why an address is refused, or None."""
        return address_refused(address, self._prefixes, self._own)


class GuardedResolver(PvdResolver):
    """A resolver whose answers have been looked at; all that it knows is the other one's."""

    def __init__(self, inner: PvdResolver, guard: Guard) -> None:
        self._inner = inner
        self._guard = guard

    def cached(self, pvd: ProvisioningDomain, name: str, type: str) -> Answer | None:
        """As the other's; nothing where `begin` has to say why."""
        answer = self._inner.cached(pvd, name, type)
        if answer is None or not any(map(self._guard.refused, answer.addresses)):
            return answer
        left = self._left(answer)
        return left if left.addresses else None

    def servers(self, pvd: ProvisioningDomain, families: tuple[int, ...] = (6, 4)) -> list[Resolver]:
        """As the other's."""
        return self._inner.servers(pvd, families)

    async def lookup(
        self,
        pvd: ProvisioningDomain,
        name: str,
        type: str,
        *,
        families: tuple[int, ...] = (6, 4),
        release: Release = close_now,
    ) -> Answer:
        """As the other's. Raises `DnsFailure` also for an answer that has only what is refused."""
        pending = self.begin(pvd, name, type, families=families, release=release)
        answer: Answer = await pending.answer()
        return answer

    def begin(
        self,
        pvd: ProvisioningDomain,
        name: str,
        type: str,
        *,
        families: tuple[int, ...] = (6, 4),
        release: Release = close_now,
    ) -> Any:
        """As the other's; the answer is looked at when it is there."""
        return _Guarded(self, self._inner.begin(pvd, name, type, families=families, release=release))

    def forget(self, pvd_name: str) -> None:
        """As the other's."""
        self._inner.forget(pvd_name)

    def _left(self, answer: Answer) -> Answer:
        allowed = tuple(a for a in answer.addresses if self._guard.refused(a) is None)
        return answer if allowed == answer.addresses else replace(answer, addresses=allowed)


class _Guarded:
    """A lookup under way."""

    def __init__(self, resolver: GuardedResolver, pending: Any) -> None:
        self._resolver = resolver
        self._pending = pending

    async def answer(self) -> Answer:
        answer: Answer = await self._pending.answer()
        left = self._resolver._left(answer)
        if answer.addresses and not left.addresses:
            why = self._resolver._guard.refused(answer.addresses[0])
            raise DnsFailure(f"{why}: not a target of this proxy", answer.server)
        return left

    def close(self) -> None:
        self._pending.close()
