"""What a connector says of the PvDs while no connection is asked for: what changes, and when there is one."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from contextlib import aclosing
from typing import TYPE_CHECKING

import anyio

from .best import ANYWHERE, Best, usable
from .calls import check_endpoint, check_label, check_policy, check_timeout, nobody_yet
from .decisions import NO_PVDS
from .model import is_loopback
from .ranking.explanation import explain

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from .decisions import Decisions
    from .discovery.diff import PvdChange
    from .dns.resolver import PvdResolver
    from .model import Endpoint, ProvisioningDomain, PvdSet, Ranking
    from .monitor import Monitor
    from .paths import Path
    from .policy import Policy
    from .ranking.explanation import Explanation

#: General traffic is over TLS: history knows by what a winner must have done.
READY = "tls"


class Following(ABC):
    """The part of a `Connector` that follows the PvDs."""

    _decisions: Decisions
    _monitor: Monitor
    _label: str | None
    resolver: PvdResolver

    @abstractmethod
    async def snapshot(self) -> PvdSet:
        """The PvDs of this host, as they are now."""

    async def explain(
        self,
        host: str,
        port: int,
        *,
        policy: Policy | None = None,
        label: str | None = None,
        ready: str = READY,
    ) -> Explanation:
        """Which PvDs a connection would run in, in which order, and why. Nothing is sent, and nobody asked.

        ``ready``: what a winner would have to do, as in a report: ``"tls"``, ``"tcp"`` or the name of a
        check. What history knows of times is kept apart by it.

        Raises ValueError if the arguments make no sense.
        """
        endpoint = check_endpoint(host, port)
        check_policy(policy)
        label = check_label(label) or self._label
        pvds = NO_PVDS if is_loopback(host) else await self.snapshot()
        ranking = self._decisions.decide(pvds, endpoint, policy, label, ready, time.monotonic()).ranking
        layers = [name for name, _ in self._decisions.layers(endpoint, policy, label)]
        return explain(endpoint, ranking, layers, self.resolver.servers)

    def objection(self, path: Path) -> str | None:
        """Why a connection may not be used any more, in a few words; None if it may.

        Its PvD has gone or is another attachment, is behind a captive portal now, or policy as it stands
        forbids it: for pools, before a connection is used again. It looks at the last `snapshot`: await that
        first. Nothing is said against what is only worse than another. Raises RuntimeError if there was none.
        """
        if is_loopback(path.endpoint.host):
            return None  # no PvD is asked for it
        label = path.label or self._label
        return self._decisions.objection(path, self._monitor.snapshot, label, time.monotonic())

    def stale(self) -> bool:
        """Whether something has changed since the last `snapshot`, for who cannot await another one.

        Never waits. False before the first one.
        """
        return self._monitor.stale()

    async def watch(self) -> AsyncGenerator[PvdChange, None]:
        """What happens to the PvDs after the last `snapshot`, until the caller stops asking.

        They come, go and change. *better* is the one that general traffic would use first from now on, where
        another one was first before that could still be used; *preempted* one that is exclusive and that a
        connection of this connector with a higher priority has taken. What is open stays where it is: to move
        is the application's decision.

        Close it when you stop before its end (`contextlib.aclosing`), as trio asks of every async generator.
        """
        best = Best(self._rank_anywhere, await self._seen())
        async with aclosing(self._monitor.changes(best.look)) as changes:
            async for change in changes:
                yield change

    async def wait_for(
        self,
        policy: Policy | None = None,
        *,
        host: str | None = None,
        port: int | None = None,
        label: str | None = None,
        timeout: float | None = None,
    ) -> tuple[ProvisioningDomain, ...]:
        """Wait until policy leaves a PvD that can be used; returns all of them, the best first.

        ``host`` and ``port`` (443 by default): for that destination, else for general traffic. It sends
        nothing, and all who wait share one look at the kernel. ``timeout`` is in seconds.

        Raises `WaitTimeout` when the time is over; ValueError if the arguments make no sense.
        """
        endpoint = ANYWHERE if host is None else check_endpoint(host, 443 if port is None else port)
        if host is None and port is not None:
            endpoint = check_endpoint(ANYWHERE.host, port)
        timeout = check_timeout(timeout)
        check_policy(policy)
        label = check_label(label) or self._label
        ranking = self._ranking(await self.snapshot(), endpoint, policy, label)
        if not ranking.ranked:
            with anyio.move_on_after(timeout):
                async with aclosing(self._monitor.changes()) as changes:
                    async for _ in changes:
                        ranking = self._ranking(self._monitor.snapshot, endpoint, policy, label)
                        if ranking.ranked:
                            break
        if not ranking.ranked:
            raise nobody_yet(endpoint if host else None, ranking, timeout)
        return usable(ranking)

    def _ranking(self, pvds: PvdSet, endpoint: Endpoint, policy: Policy | None, label: str | None) -> Ranking:
        return self._decisions.decide(pvds, endpoint, policy, label, READY, time.monotonic()).ranking

    def _rank_anywhere(self, pvds: PvdSet) -> Ranking:
        """For general traffic; ``pvds`` may be some of the snapshot's, of which history is not to learn."""
        now, snapshot = time.monotonic(), self._monitor.snapshot
        if pvds is snapshot:
            return self._decisions.decide(pvds, ANYWHERE, None, self._label, READY, now).ranking
        return self._decisions.among(pvds, snapshot, ANYWHERE, self._label, READY, now).ranking

    async def _seen(self) -> PvdSet:
        """The last snapshot, or the first."""
        try:
            return self._monitor.snapshot
        except RuntimeError:
            return await self.snapshot()
