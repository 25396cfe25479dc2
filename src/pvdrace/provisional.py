"""A connection whose next step can still lose: the hand-over to clients that make their TLS themselves."""

from __future__ import annotations

import weakref
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, TypeVar

from .calls import tls_name
from .connection import Connection
from .drivers.aio import drive_to_handshake
from .drivers.stages import Noting, StreamStage, discard, wrap
from .net.lingering import LeavingSocket
from .race.report import RaceReport

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Awaitable, Callable, Iterable

    from .answers import Answer
    from .changes import RaceChanges
    from .course import Course, Courses, Hook
    from .dns.resolver import PvdResolver
    from .drivers.aio import Paused
    from .drivers.roles import Stage
    from .drivers.warmup import OnNeed
    from .holdings import Holding
    from .model import Candidate
    from .net.lingering import Lingering
    from .policy import Policy

T = TypeVar("T")


class Provisional:
    """A race that is paused at its first transport handshake (`Connector.begin`), with all that it holds.

    The client says what comes next. `secure` and `finish`: TLS, or a stage of the client's own, which can
    still fail or stay silent; then the race goes on, in the same PvD and in the next ones, as if it had never
    paused. `settle`: the handshake was all. One of these, or `aclose`, has to be called, once; cancelling it
    closes everything. Each raises as `Connector.open_connection`, with the report of the whole race, whose
    timeout is that of `Connector.begin`.

    While it is paused its clock stands still: neither that timeout nor the patience with an attempt is used
    up by what its owner does meanwhile.
    """

    def __init__(
        self,
        course: Course[RaceChanges],
        courses: Courses[RaceChanges],
        paused: Paused,
        lingering: Lingering,
        hooks: Iterable[Hook],
    ) -> None:
        self._course = course
        self._courses = courses
        self._paused: Paused | None = paused
        self._lingering = lingering
        self._hooks = hooks

    @property
    def report(self) -> RaceReport:
        """The report as it is now."""
        return RaceReport.of(self._course.race, self._course.ready)

    async def secure(self, context: ssl.SSLContext, server_hostname: str | None = None) -> Connection:
        """Make TLS a stage of the race, and return the winner. ``server_hostname``: the host by default."""
        name = server_hostname or tls_name(self._course.asked.endpoint.host)
        stage = Noting(StreamStage(context, name, None))
        stream, report, held = await self._resume(stage, stage, discard, "tls")
        return Connection(stream, report, self._course.farewell, held, self._course.path)

    async def finish(
        self,
        stage: Stage[T],
        *,
        discard: Callable[[T], Awaitable[None]],
        ready: str = "stage",
    ) -> tuple[T, RaceReport]:
        """Go on with a stage of one's own, as `Connector.race_for`; returns the winner's product."""
        noting = Noting(stage)

        async def quietly(sock: socket.socket, candidate: Candidate) -> T:
            return await noting(LeavingSocket.of(sock, self._lingering), candidate)

        run = noting if self._course.farewell is None else quietly
        product, report, _ = await self._resume(run, noting, discard, ready)
        return product, report

    async def settle(self) -> Connection:
        """The transport handshake was all that was wanted: it has won, everything else is given up."""
        sock, report, held = await self._settle()
        return Connection(await wrap(sock), report, self._course.farewell, held, self._course.path)

    async def settle_socket(self) -> tuple[socket.socket, RaceReport]:
        """As `settle`: the connected, non-blocking socket, and the report. See `Connector.release`."""
        sock, report, _ = await self._settle()
        return sock, report

    async def aclose(self) -> None:
        """Nothing of it is wanted any more. Harmless when done twice, or after the race is over."""
        paused, self._paused = self._paused, None
        if paused is not None:
            try:
                await paused.close()
            finally:
                self._courses.conclude(self._course, self._hooks)

    async def _resume(
        self,
        stage: Stage[T],
        noting: Noting[T],
        discard: Callable[[T], Awaitable[None]],
        ready: str,
    ) -> tuple[T, RaceReport, Holding | None]:
        paused = self._take()
        self._course.ready = ready
        try:
            driven = await paused.resume(stage, discard)
        finally:
            report = self._courses.conclude(self._course, self._hooks)
        self._courses.check(self._course, report)
        assert driven.product is not None
        return driven.product, report, self._courses.hold(self._course, noting.socket_of(self._course.race))

    async def _settle(self) -> tuple[socket.socket, RaceReport, Holding | None]:
        paused = self._take()
        self._course.ready = "tcp"
        try:
            driven = await paused.settle()
        finally:
            report = self._courses.conclude(self._course, self._hooks)
        self._courses.check(self._course, report)
        sock = driven.sock
        assert sock is not None
        return sock, report, self._courses.hold(self._course, lambda: weakref.ref(sock))

    def _take(self) -> Paused:
        paused, self._paused = self._paused, None
        if paused is None:
            raise RuntimeError("this race is over: a provisional connection is settled or secured once")
        return paused


class Beginning(ABC):
    """The part of a `Connector` that hands a race over in the middle."""

    resolver: PvdResolver
    hooks: tuple[Hook, ...]
    on_need: OnNeed | None
    _courses: Courses[RaceChanges]
    _lingering: Lingering

    @abstractmethod
    async def _prepare(
        self,
        host: str | Answer,
        port: int,
        policy: Policy | None,
        label: str | None,
        timeout: float | None,
        ready: str,
        *,
        source: str | None = None,
    ) -> Course[RaceChanges]: ...

    async def begin(
        self,
        host: str | Answer,
        port: int,
        *,
        policy: Policy | None = None,
        label: str | None = None,
        timeout: float | None = None,
        ready: str = "tls",
        source: str | None = None,
    ) -> Provisional:
        """Race to the first transport handshake and pause there: for clients whose TLS comes later.

        What comes next can still lose, and the race goes on then: see `Provisional`, and call one of its
        methods in any case. ``timeout`` is for the whole race, in seconds. ``ready``: what will most likely
        be asked of a winner; history knows of times by it. ``source``: an address of this host that the
        connection has to come from. Raises as `open_connection`.
        """
        course = await self._prepare(host, port, policy, label, timeout, ready, source=source)
        paused: Paused | None = None
        try:
            paused = await drive_to_handshake(
                course.race,
                self.resolver,
                changes=course.changes,
                release=course.release,
                on_need=self.on_need,
            )
        finally:
            if paused is None or course.race.outcome is not None:
                report = self._courses.conclude(course, self.hooks)
        if course.race.outcome is not None:
            await paused.close()
            self._courses.check(course, report)
        return Provisional(course, self._courses, paused, self._lingering, self.hooks)
