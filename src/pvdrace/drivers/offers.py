"""A race whose last stage is made by a client that takes one connected socket at a time. asyncio's alone.

For clients that connect in a place of their own, and make TLS where nobody can be in between.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING, Any

import anyio

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from ..model import Candidate
    from ..race.report import RaceReport
    from .roles import Stage

    RaceFor = Callable[..., Coroutine[Any, Any, tuple["Lent", RaceReport]]]


class Lent(socket.socket):
    """A connected socket for who would connect it: `connect` has nothing left to do.

    It has the descriptor of the race's own socket, and closes that one in the way that that one is closed.
    """

    def __init__(self, within: socket.socket, pvd: str) -> None:
        super().__init__(fileno=within.fileno())
        self.setblocking(False)
        self.within: socket.socket | None = within
        self.pvd = pvd
        self.verdict: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.taken = False
        self.withdrawn = False

    def connect(self, address: Any) -> None:
        """It is."""

    def close(self) -> None:
        """Close the race's socket."""
        within, self.within = self.within, None
        if within is not None:
            super().detach()
            within.close()

    def detach(self) -> int:
        """The descriptor, which is nobody's any more: so uvloop closes."""
        within, self.within = self.within, None
        if within is not None:
            within.detach()
        return super().detach()

    def withdraw(self) -> None:
        """The client finds it at its end, and closes it; what no client has is closed here."""
        self.withdrawn = True
        if not self.taken:
            self.close()
        elif self.within is not None:
            with contextlib.suppress(OSError):
                self.shutdown(socket.SHUT_RDWR)

    def __del__(self) -> None:
        self.close()


class Offers:
    """A race that goes on until the client has accepted a path, all of which are connected.

    One path is in the client's hands at a time (`next`, `take`, then `accept` or `refuse`). Where another one
    waits, it has ``patience`` seconds before it is withdrawn. A PvD that was refused comes after the others.
    ``task`` is the race; its result is the path that was accepted and the report.
    """

    def __init__(self, race_for: RaceFor, patience: float) -> None:
        """``race_for`` is called with ``stage`` and ``discard``, as those of `Connector.race_for`."""
        self._patience = patience
        self._waiting: list[Lent] = []
        self._bell = asyncio.Event()
        self._failed: set[str] = set()
        self._offered: Lent | None = None
        self._taken: Lent | None = None
        self._timer: asyncio.TimerHandle | None = None
        stage: Stage[Lent] = self._stage
        self.task = asyncio.get_running_loop().create_task(race_for(stage=stage, discard=_withdraw))
        self.task.add_done_callback(lambda _: self._bell.set())

    async def next(self) -> Lent | None:
        """The next path that is connected; None if there will be none: the race is lost."""
        while True:
            self._waiting = [lent for lent in self._waiting if not lent.verdict.done()]
            if self._waiting:
                self._offered = min(self._waiting, key=lambda lent: lent.pvd in self._failed)
                self._waiting.remove(self._offered)
                return self._offered
            if self.task.done():
                return None
            self._bell.clear()
            await self._bell.wait()

    def take(self) -> Lent | None:
        """The path that `next` gave, for the client; None if it is taken already."""
        lent, self._offered = self._offered, None
        if lent is not None:
            lent.taken = True
            self._taken = lent
            self._hurry()
        return lent

    @property
    def in_use(self) -> bool:
        """Whether the client has one in its hands."""
        return self._taken is not None

    def accept(self) -> None:
        """The path in the client's hands has done all that was wanted."""
        self._end_timer()
        if self._taken is not None and not self._taken.verdict.done():
            self._taken.verdict.set_result(None)

    def refuse(self, error: BaseException) -> None:
        """The path in the client's hands has failed. The race has it so, and goes on."""
        self._end_timer()
        lent, self._taken = self._taken, None
        if lent is not None and not lent.verdict.done():
            self._failed.add(lent.pvd)
            lent.verdict.set_exception(
                TimeoutError(f"silent for {self._patience} s") if lent.withdrawn else error
            )
            lent.verdict.exception()  # the race looks at it, unless it is over in this very step

    async def aclose(self) -> None:
        """End the race; what was accepted is the client's."""
        self._end_timer()
        if not self.task.done():
            self.task.cancel()
            with anyio.CancelScope(shield=True):
                await asyncio.wait([self.task])
        if not self.task.cancelled():
            self.task.exception()

    async def _stage(self, sock: socket.socket, candidate: Candidate) -> Lent:
        lent = Lent(sock, candidate.pvd.name)
        self._waiting.append(lent)
        self._bell.set()
        self._hurry()
        try:
            await lent.verdict
        except BaseException:
            lent.withdraw()
            raise
        return lent

    def _hurry(self) -> None:
        """The path in the client's hands has so long, now that another one is there."""
        if self._taken is not None and self._timer is None and self._waiting:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._patience, self._taken.withdraw)

    def _end_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()


async def _withdraw(lent: Lent) -> None:
    lent.withdraw()
