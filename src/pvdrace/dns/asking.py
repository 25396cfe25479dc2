"""Lookups for who waits by means of a loop of its own: the same exchanges, and no event loop.

Safe from several threads at once: each lookup belongs to the thread that began it, and what is remembered is
behind a lock that nobody holds while waiting.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from .cache import AnswerCache
from .conversations import Performer
from .memory import Memory
from .messages import Answer, DnsFailure
from .servers import Server, Standings

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..model import ProvisioningDomain
    from .conversations import Release


class BlockingResolver(Memory):
    """Looks names up as `PvdResolver`, for threads.

    Two threads that want the same at the same time ask twice: to wait for another thread's lookup is to
    depend on when that thread runs.
    """

    def __init__(self, *, timeout: float = 5.0, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(timeout=timeout, clock=clock, cache=_SharedCache(), standings=_SharedStandings())

    def begin(
        self,
        pvd: ProvisioningDomain,
        name: str,
        type: str,
        *,
        families: tuple[int, ...],
        release: Release,
    ) -> Asking:
        """Ask the resolvers of ``pvd``, at once; arguments as in `PvdResolver.begin`.

        Raises ValueError for what is no name, and OSError where the process has no descriptor left.
        """
        exchange = self.exchange(pvd, name, type, families)
        asking = Asking(self, pvd, name, type, Performer(pvd, exchange, self.clock, release))
        try:
            asking.start()
        except BaseException:
            asking.close()
            raise
        return asking


class Asking:
    """A question that has left: watch `fileno` until `due`, `proceed` until it has an outcome; `close` it."""

    __slots__ = ("_memory", "_name", "_performer", "_pvd", "_type", "due", "fileno")

    def __init__(
        self, memory: Memory, pvd: ProvisioningDomain, name: str, type: str, performer: Performer
    ) -> None:
        self._memory = memory
        self._pvd = pvd
        self._name = name
        self._type = type
        self._performer = performer
        self.fileno = performer.fileno
        self.due = performer.due

    @property
    def outcome(self) -> Answer | DnsFailure | None:
        """What came of it, once there is something."""
        return self._performer.exchange.outcome

    def start(self) -> None:
        """Send the first question."""
        self._performer.start()
        self._keep()

    def proceed(self) -> None:
        """Take in what has come. Never waits. Raises ValueError for an alias that is no name."""
        self._performer.proceed()
        self._keep()

    def close(self) -> None:
        """Give up what it holds."""
        self._performer.end()

    def _keep(self) -> None:
        outcome = self.outcome
        if isinstance(outcome, Answer):
            self._memory.keep(self._pvd, self._name, self._type, outcome)


class _SharedCache(AnswerCache):
    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()

    def get(self, pvd: ProvisioningDomain, name: str, type: str, now: float) -> Answer | None:
        with self._lock:
            return super().get(pvd, name, type, now)

    def put(self, pvd: ProvisioningDomain, name: str, type: str, answer: Answer, now: float) -> None:
        with self._lock:
            super().put(pvd, name, type, answer, now)

    def forget(self, pvd_name: str) -> None:
        with self._lock:
            super().forget(pvd_name)


class _SharedStandings(Standings):
    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()

    def order(self, pvd: ProvisioningDomain, now: float, families: tuple[int, ...] = (6, 4)) -> list[Server]:
        with self._lock:
            return super().order(pvd, now, families)

    def has_answered(self, pvd: ProvisioningDomain, server: Server) -> bool:
        with self._lock:
            return super().has_answered(pvd, server)

    def answered(self, pvd: ProvisioningDomain, server: Server, now: float) -> None:
        with self._lock:
            super().answered(pvd, server, now)

    def was_silent(self, pvd: ProvisioningDomain, server: Server, now: float) -> None:
        with self._lock:
            super().was_silent(pvd, server, now)

    def forget(self, pvd_name: str) -> None:
        with self._lock:
            super().forget(pvd_name)
