"""What a connector answers who looks up names without connecting, and how it dials what it has answered."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from inspect import isawaitable
from typing import TYPE_CHECKING

import anyio

from .answers import Answer, origin_of
from .calls import check_endpoint, check_label, check_policy, requirements
from .dns.messages import DnsFailure
from .errors import NoUsablePvd, PolicyProhibited, ResolutionFailed
from .model import Endpoint
from .net.lingering import close_now
from .race.branch import addresses_without_lookup, candidates_for, record_types
from .ranking.order import rank

if TYPE_CHECKING:
    from .answers import Origin
    from .decisions import Decisions
    from .dns.conversations import Release
    from .dns.resolver import PvdResolver
    from .drivers.warmup import OnNeed
    from .model import PvdSet, Ranked
    from .net.lingering import Lingering
    from .policy import Policy


class Resolving(ABC):
    """The part of a `Connector` that looks up names for the application."""

    resolver: PvdResolver
    on_need: OnNeed | None
    _decisions: Decisions
    _label: str | None
    _lingering: Lingering

    @abstractmethod
    async def snapshot(self) -> PvdSet:
        """The PvDs of this host, as they are now."""

    async def resolve(
        self, name: str, *, policy: Policy | None = None, label: str | None = None
    ) -> list[Answer]:
        """Ask every PvD that policy and the zones leave for a name, all at once, each its own resolvers.

        The addresses that can be dialled, those of the best PvD first and inside a PvD in the order of
        RFC 6724; each knows its PvD, and is dialled there when it is given to `open_connection` for a host.
        PvDs with a proxy are not asked: there, names are the proxy's.

        Raises `NoUsablePvd` (or `PolicyProhibited`) if nobody may be asked, `ResolutionFailed` if nobody has
        an address; ValueError for what is no name.
        """
        host = check_endpoint(name, 1).host
        if addresses_without_lookup(host) is not None:
            raise ValueError(f"{name} needs no lookup: no PvD is asked for it")
        check_policy(policy)
        endpoint = Endpoint(host, 0)  # rules for a port say nothing of a mere question
        pvds = await self.snapshot()
        label = check_label(label) or self._label
        decision = self._decisions.decide(pvds, endpoint, policy, label, "tcp", time.monotonic())
        ranking = decision.ranking
        asked = [ranked for ranked in ranking.ranked if ranked.pvd.proxy is None]
        if not asked:
            free = not ranking.ranked and rank(pvds, endpoint, requirements(policy)).ranked
            reasons = [f"{r.pvd.name} skipped ({r.excluded})" for r in ranking.excluded]
            reasons += [f"{r.pvd.name} leaves names to its proxy" for r in ranking.ranked]
            kind = PolicyProhibited if free else NoUsablePvd
            raise kind(f"{host}: {', '.join(reasons) or 'no usable provisioning domain'}")
        release = self._lingering.release if decision.quiet else close_now
        found: list[list[Answer]] = [[] for _ in asked]
        errors: list[str] = []
        async with anyio.create_task_group() as tasks:
            for ranked, answers in zip(asked, found, strict=True):
                tasks.start_soon(self._ask, ranked, host, answers, errors, release)
        if not any(found):
            raise ResolutionFailed(" ".join(f"{host}: {', '.join(errors)}".split()))
        return [answer for answers in found for answer in answers]

    async def _ask(
        self, ranked: Ranked, host: str, answers: list[Answer], errors: list[str], release: Release
    ) -> None:
        """All questions to one PvD; its answers in the order of dialling, or what went wrong."""
        pvd = ranked.pvd
        by_address: dict[str, Answer] = {}

        async def ask(type_: str) -> None:
            try:
                said = await self.resolver.lookup(pvd, host, type_, families=ranked.families, release=release)
            except (DnsFailure, OSError, ValueError) as error:
                errors.append(f"{pvd.name} {type_} {error}")
                return
            for address in said.addresses:
                by_address[address] = Answer(host, address, pvd.name, pvd.attachment, said.server, said.ttl)
            if not said.addresses:
                errors.append(f"{pvd.name} {type_} {said.negative or 'no address'}")

        if pvd.warmup and self.on_need is not None:
            try:
                result = self.on_need(pvd)
                if isawaitable(result):
                    await result
            except Exception as error:  # as in a race: the end of this PvD
                errors.append(f"{pvd.name} not brought up: {error}")
                return
        async with anyio.create_task_group() as tasks:
            for type_ in record_types(ranked):
                tasks.start_soon(ask, type_)
        dialled, skipped = candidates_for(ranked, tuple(by_address), 0, 1, None)
        errors += [f"{pvd.name} {skip.address} {skip.reason}" for skip in skipped]
        # What is dialled for an IPv4 answer behind NAT64 is another address: the answer is the PvD's own.
        order = {candidate.remote: n for n, candidate in enumerate(dialled)}
        left_out = {skip.address for skip in skipped}
        usable = [answer for answer in by_address.values() if answer.address not in left_out]
        answers += sorted(usable, key=lambda answer: order.get(answer.address, len(order)))

    async def _dial(self, answer: Answer, port: int, policy: Policy | None, label: str | None) -> Origin:
        """Where an answer comes from and has to stay; raises `NoUsablePvd` if it has no PvD any more."""
        endpoint = check_endpoint(answer.name, port)
        policies = self._decisions.layers(endpoint, check_policy(policy), label)
        return origin_of(answer, endpoint, policies, await self.snapshot())
