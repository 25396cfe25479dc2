"""Look a name up in one provisioning domain: from the cache, with who asks already, or by asking.

The hosts file is not consulted: a name means what the PvD says. (``localhost`` never comes here.)
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import anyio
from anyio.lowlevel import current_token

from ..net.lingering import close_now
from .conversations import Performer
from .memory import Memory
from .messages import TYPES, Answer, DnsFailure

if TYPE_CHECKING:
    from collections.abc import Callable

    from anyio.lowlevel import EventLoopToken

    from ..model import ProvisioningDomain
    from .conversations import Release

__all__ = ["Answer", "DnsFailure", "Pending", "PvdResolver"]

_Key = tuple[str, int, str, str, tuple[int, ...]]


class PvdResolver(Memory):
    """Looks names up, each lookup inside one PvD, and remembers the answers per PvD.

    ``timeout`` is the time in seconds that one lookup may take, with all its resolvers, search domains and
    CNAMEs. Names with fewer dots than ``ndots`` are tried below the PvD's search domains first. ``clock``
    is a monotonic clock in seconds. One resolver serves any number of concurrent lookups of one event loop,
    and may outlive it.
    """

    def __init__(
        self,
        *,
        timeout: float = 5.0,
        ndots: int = 1,
        cache_size: int = 4096,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(timeout=timeout, ndots=ndots, cache_size=cache_size, clock=clock)
        self._running: dict[_Key, _Running] = {}

    async def lookup(
        self,
        pvd: ProvisioningDomain,
        name: str,
        type: str,
        *,
        families: tuple[int, ...] = (6, 4),
        release: Release = close_now,
    ) -> Answer:
        """`begin`, and wait for the answer. Cancelling it closes all that it holds.

        A negative answer is an `Answer`. Raises `DnsFailure` when there is none, or the name is no name, and
        ValueError for another type.
        """
        return await self.begin(pvd, name, type, families=families, release=release).answer()

    def begin(
        self,
        pvd: ProvisioningDomain,
        name: str,
        type: str,
        *,
        families: tuple[int, ...] = (6, 4),
        release: Release = close_now,
    ) -> Pending:
        """Ask the resolvers of ``pvd``, on sockets pinned to it, for the addresses of ``name``.

        ``type`` is ``A`` or ``AAAA``. The question has left when this returns, so that those that are begun
        one after the other leave in that order (RFC 8305 s3: AAAA, then A). The same lookup is not made twice
        at a time: who comes second waits for the first. ``families`` are those (6, 4) in which questions may
        go out; what the cache knows is given however it came. ``release`` closes the sockets on which a reply
        may still come, at once or after it has (see `pvdrace.net.lingering`); it is told how many may, for a
        question that was sent twice is answered twice.

        Await `Pending.answer`, or call `Pending.close`. Raises ValueError for another type, and OSError where
        the process has no descriptor left.
        """
        if type not in TYPES:
            raise ValueError(f"{type!r} is no record type that is looked up: {', '.join(TYPES)}")
        return Pending(self, pvd, name, type, families, release)


class Pending:
    """A lookup that was begun (see `PvdResolver.begin`): await `answer`, or call `close`."""

    __slots__ = (
        "_families",
        "_name",
        "_outcome",
        "_performer",
        "_pvd",
        "_release",
        "_resolver",
        "_running",
        "_type",
    )

    def __init__(
        self,
        resolver: PvdResolver,
        pvd: ProvisioningDomain,
        name: str,
        type: str,
        families: tuple[int, ...],
        release: Release,
    ) -> None:
        self._resolver = resolver
        self._pvd = pvd
        self._name = name
        self._type = type
        self._families = families
        self._release = release
        self._performer: Performer | None = None  # where this is who asks
        self._running: _Running | None = None  # the lookup that is under way, its own or another's
        self._outcome: Answer | DnsFailure | None = None
        self._begin()

    async def answer(self) -> Answer:
        """Wait for the answer; cancelling it is `close`. Raises `DnsFailure`."""
        while self._outcome is None:
            if self._performer is not None:
                await self._ask(self._performer)
            elif self._running is not None:
                self._outcome = await self._running.wait()
                if self._outcome is None:  # it was cancelled, and somebody else has to ask
                    self._begin()
        if isinstance(self._outcome, DnsFailure):  # raised anew, as several may wait for one lookup
            raise DnsFailure(str(self._outcome), self._outcome.server)
        return self._outcome

    def close(self) -> None:
        """Give up what this holds. Who waits for the same gets its outcome, or asks for itself."""
        performer, self._performer = self._performer, None
        if performer is None or self._running is None:
            return
        try:
            performer.end()
        finally:
            if self._resolver._running.get(self._key) is self._running:
                del self._resolver._running[self._key]
            self._running.end(self._outcome)

    @property
    def _key(self) -> _Key:
        return self._pvd.name, self._pvd.attachment, self._name.lower(), self._type, self._families

    def _begin(self) -> None:
        """It is known, or somebody asks already, or this is who asks."""
        resolver = self._resolver
        self._outcome = resolver.cached(self._pvd, self._name, self._type)
        if self._outcome is not None:
            return
        key = self._key
        self._running = resolver._running.get(key)
        if self._running is not None and self._running.loop == current_token():
            return  # one of another loop was abandoned with it: nobody will end that
        try:
            exchange = resolver.exchange(self._pvd, self._name, self._type, self._families)
            self._performer = Performer(self._pvd, exchange, resolver.clock, self._release)
            self._running = resolver._running[key] = _Running()
            self._performer.start()
        except ValueError as error:
            self._outcome = DnsFailure(str(error))
            self.close()
        except BaseException:
            self.close()
            raise

    async def _ask(self, performer: Performer) -> None:
        resolver = self._resolver
        try:
            self._outcome = outcome = await performer.run()
            if isinstance(outcome, Answer):
                resolver.keep(self._pvd, self._name, self._type, outcome)
        except ValueError as error:
            self._outcome = DnsFailure(str(error))
        finally:
            self.close()


class _Running:
    """A lookup that is under way. Who wants the same meanwhile waits for it instead of asking again."""

    __slots__ = ("_event", "loop", "outcome")

    def __init__(self) -> None:
        self.loop = current_token()
        self.outcome: Answer | DnsFailure | None = None
        self._event: anyio.Event | None = None

    async def wait(self) -> Answer | DnsFailure | None:
        if self._event is None:
            self._event = anyio.Event()
        await self._event.wait()
        return self.outcome

    def end(self, outcome: Answer | DnsFailure | None) -> None:
        self.outcome = outcome
        if self._event is not None and self.loop == _loop_that_runs():
            self._event.set()  # those who waited in a loop that was abandoned wait no more


def _loop_that_runs() -> EventLoopToken | None:
    """None where the garbage collector ends what was abandoned with its loop."""
    try:
        return current_token()
    except anyio.NoEventLoopError:
        return None
