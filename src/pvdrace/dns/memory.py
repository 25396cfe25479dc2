"""What is known of the names and the resolvers of all PvDs; who asks, and waits, is another matter."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from .cache import AnswerCache
from .exchange import Exchange, search_names
from .servers import Standings

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..model import ProvisioningDomain, Resolver
    from .messages import Answer


class Memory:
    """The answers that still hold, and how the resolvers behaved. The settings are those of `PvdResolver`.

    ``cache`` and ``standings`` are its own, of a class that the owner may choose.
    """

    def __init__(
        self,
        *,
        timeout: float = 5.0,
        ndots: int = 1,
        cache_size: int = 4096,
        clock: Callable[[], float] = time.monotonic,
        cache: AnswerCache | None = None,
        standings: Standings | None = None,
    ) -> None:
        self._timeout = timeout
        self._ndots = ndots
        self.clock = clock
        self._cache = AnswerCache(cache_size) if cache is None else cache
        self._standings = Standings() if standings is None else standings

    def cached(self, pvd: ProvisioningDomain, name: str, type: str) -> Answer | None:
        """What ``pvd`` said about the name before, if that still holds. No I/O."""
        return self._cache.get(pvd, name, type, self.clock())

    def keep(self, pvd: ProvisioningDomain, name: str, type: str, answer: Answer) -> None:
        """Remember an answer for as long as it holds."""
        self._cache.put(pvd, name, type, answer, self.clock())

    def servers(self, pvd: ProvisioningDomain, families: tuple[int, ...] = (6, 4)) -> list[Resolver]:
        """The resolvers of ``pvd`` in the order in which they would be asked now. No I/O."""
        return [server.resolver for server in self._standings.order(pvd, self.clock(), families)]

    def exchange(self, pvd: ProvisioningDomain, name: str, type: str, families: tuple[int, ...]) -> Exchange:
        """The lookup of a name, not yet begun. Raises ValueError for what is no name."""
        names = search_names(pvd, name, self._ndots)
        return Exchange(pvd, names, type, self._standings, timeout=self._timeout, families=families)

    def forget(self, pvd_name: str) -> None:
        """Drop what was learnt in a PvD: its answers, and how its resolvers behaved."""
        self._cache.forget(pvd_name)
        self._standings.forget(pvd_name)
