"""A connection whose next step can still lose, for threads: the hand-over to clients that make their TLS."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

from ..calls import check_timeout, tls_name
from ..drivers.blocking_stages import SocketStage
from ..race.report import RaceReport
from .leaving import quiet

if TYPE_CHECKING:
    import socket
    from types import TracebackType
    from typing import Self

    from ..course import Course
    from ..paths import Path
    from .monitor import ThreadsChanges
    from .races import Driver, Races, Stage, Take, Winner


class Provisional:
    """A race that is paused at its first transport handshake (`Connector.begin`), with all that it holds.

    The client says what comes next. `secure` and `finish`: TLS, or a stage of the client's own, which can
    still fail or stay silent; then the race goes on, in the same PvD and in the next ones, as if it had never
    paused. `settle`: the handshake was all. One of these, or `close`, has to be called, once, by one thread
    at a time. Each raises as `Connector.open_connection`, with the report of the whole race.

    While it is paused its clock stands still: neither the ``timeout`` of `Connector.begin` nor the patience
    with an attempt is used up by what its owner does meanwhile.
    """

    def __init__(self, races: Races, course: Course[ThreadsChanges], driver: Driver) -> None:
        self._races = races
        self._course = course
        self._driver: Driver | None = driver

    @property
    def report(self) -> RaceReport:
        """The report as it is now."""
        return RaceReport.of(self._course.race, self._course.ready)

    @property
    def path(self) -> Path:
        """The way of the winner, for `Connector.objection`, after one has won."""
        return self._course.path

    @property
    def over(self) -> bool:
        """Whether it was settled, secured or closed."""
        return self._driver is None

    def leader(self) -> socket.socket:
        """The socket that is connected, to look at: it is not the caller's. RuntimeError when it is over."""
        if self._driver is None:
            raise _over()
        return self._driver.leader()

    def secure(
        self, context: ssl.SSLContext, server_hostname: str | None = None, *, timeout: float | None = None
    ) -> tuple[ssl.SSLSocket, RaceReport]:
        """Make TLS a stage of the race; the winner, blocking, and the report.

        ``server_hostname`` is the name to verify, the host by default. ``timeout``: the seconds that are left
        for it, if that is less than what the whole race has.
        """
        name = server_hostname or tls_name(self._course.asked.endpoint.host)
        sock, report = self.finish(SocketStage(context, name), ready="tls", timeout=timeout)
        assert isinstance(sock, ssl.SSLSocket)
        return sock, report

    def finish(
        self, stage: Stage, *, ready: str = "stage", timeout: float | None = None
    ) -> tuple[socket.socket, RaceReport]:
        """Go on with a stage of one's own (`pvdrace.drivers.blocking_roles.BlockingStage`).

        Returns its product, which is a socket, blocking, and the report. ``ready`` is what the report calls
        the stage.
        """
        winner = self._go_on(stage, ready, check_timeout(timeout))
        return winner.sock, winner.report

    def settle(self) -> tuple[socket.socket, RaceReport]:
        """The transport handshake was all that was wanted: it has won, everything else is given up.

        The socket, blocking, and the report.
        """
        winner = self._go_on(None, "tcp", None)
        return winner.sock, winner.report

    def settle_into(self, take: Take) -> RaceReport:
        """As `settle`; ``take`` gets the socket, and where it goes in the end, and says what it becomes."""
        return self._go_on(None, "tcp", None, take).report

    def close(self) -> None:
        """Nothing of it is wanted any more. Harmless when done twice, or after the race is over."""
        driver, self._driver = self._driver, None
        if driver is not None:
            self._races.give_up(self._course, driver)

    def _go_on(self, stage: Stage | None, ready: str, timeout: float | None, take: Take = quiet) -> Winner:
        driver, self._driver = self._driver, None
        if driver is None:
            raise _over()
        self._course.ready = ready
        try:
            if timeout is not None:
                self._course.race.limit(driver.resume() + timeout)
            driver.go_on(stage)
            driver.run()
        except BaseException:
            self._races.give_up(self._course, driver)
            raise
        return self._races.conclude(self._course, driver, take)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self, *_: Any) -> None:
        driver = getattr(self, "_driver", None)
        if driver is not None:
            self._races.forget(driver)


def _over() -> RuntimeError:
    return RuntimeError("this race is over: a provisional connection is settled or secured once")
