"""The races of a blocking connector: each in the thread that asks; what they share is behind a lock."""

from __future__ import annotations

import socket
import threading
import time
import weakref
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from ..answers import Answer, origin_of
from ..calls import check_endpoint, check_label, check_policy
from ..course import Asked, Courses, tell
from ..decisions import NO_PVDS, Decisions
from ..dns.asking import BlockingResolver
from ..drivers.blocking import BlockingDriver
from ..errors import PvdRaceError
from ..history import History
from ..race.race import Won
from .leaving import SharedLingering, quiet
from .monitor import BlockingMonitor, ThreadsChanges

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..config.configuration import Configuration
    from ..course import Course, Hook, Observer
    from ..drivers.blocking_roles import BlockingStage
    from ..history_store import HistoryStore
    from ..holdings import Holding
    from ..model import PvdSet
    from ..policy import Policy
    from ..race.pacing import Pacing
    from ..race.report import RaceReport

    Driver = BlockingDriver[socket.socket]
    Stage = BlockingStage[socket.socket]
    Take = Callable[[socket.socket, SharedLingering | None], socket.socket]


class Winner(NamedTuple):
    """What a race has brought. ``holding`` is there where the PvD is exclusive."""

    sock: socket.socket
    report: RaceReport
    holding: Holding | None


class Races:
    """What races share: the snapshot, what was learnt, the caches. ``lock`` is held for all of it.

    Never while anything waits for the network, and never while the application's code runs.
    """

    def __init__(
        self,
        configuration: Configuration,
        policy: Policy | None,
        label: str | None,
        pacing: Pacing,
        hooks: tuple[Hook, ...],
        observe: Observer | None,
        dns_timeout: float,
        store: HistoryStore | None,
    ) -> None:
        self.lock = threading.RLock()
        self.label = label
        self.hooks = hooks
        self.observe = observe
        self.resolver = BlockingResolver(timeout=dns_timeout)
        self.lingering = SharedLingering(time.monotonic, self.lock)
        self.monitor = BlockingMonitor(configuration)
        self.decisions = Decisions(configuration, policy, pacing, History())
        self._store = store
        self._forgotten: deque[Driver] = deque()
        self._opened = False
        self._courses: Courses[ThreadsChanges] = Courses(
            self.decisions,
            self.monitor,
            partial(ThreadsChanges, self.lock, self.monitor),
            self.lingering,
            pacing,
            store,
            _nobody_probes,
        )

    def snapshot(self) -> PvdSet:
        """The PvDs of this host, as they are now."""
        with self.lock:
            self._close_forgotten()
            if self._opened:
                return self.monitor.catch_up()
            self.lingering.reopen()
            self.monitor.open()
            self._opened = True
            if self._store is not None and self._store.is_new():
                self._store.restore(self.decisions.history, self._store.load())
            return self.monitor.snapshot

    def close(self) -> None:
        """Give back what is held, after the losers of races under a prohibition have gone quietly."""
        with self.lock:
            self._close_forgotten()
        self.lingering.wait()
        with self.lock:
            self._opened = False
            try:
                self.lingering.close()
            finally:
                try:
                    self.monitor.close()
                finally:
                    if self._store is not None:
                        self._store.close(self.decisions.history)

    def abandon(self) -> None:
        """In the child of a fork: let go of the descriptors, and touch nothing that the parent shares."""
        self.lingering.abandon()
        self.monitor.close()

    def prepare(
        self,
        host: str | Answer,
        port: int,
        policy: Policy | None,
        label: str | None,
        timeout: float | None,
        ready: str,
        *,
        hold: bool = False,
        source: str | None = None,
    ) -> Course[ThreadsChanges]:
        """All that comes before the first packet. Raises ValueError if the arguments make no sense."""
        label = check_label(label) or self.label
        with self.lock:
            self._close_forgotten()
            origin = None
            if isinstance(host, Answer):
                endpoint = check_endpoint(host.name, port)
                layers = self.decisions.layers(endpoint, check_policy(policy), label)
                origin = origin_of(host, endpoint, layers, self.snapshot())
                host = host.address
            asked = Asked.of(host, port, policy, label, timeout, origin, source)
            pvds = NO_PVDS if asked.local else self.snapshot()
            decision = self._courses.decide(asked, ready, pvds)
            course = self._courses.begin(asked, ready, pvds, decision, hold=hold)
        if self.observe is not None:
            self.observe(course.race)
        return course

    def drive(self, course: Course[ThreadsChanges], stage: Stage | None = None) -> Winner:
        """One race from its start to its end."""
        driver = self._driver(course, stage)
        try:
            driver.start()
            driver.run()
        except BaseException:
            self.give_up(course, driver)
            raise
        return self.conclude(course, driver)

    def begin(self, course: Course[ThreadsChanges]) -> Driver:
        """One race from its start to its first transport handshake."""
        driver = self._driver(course, None, provisional=True)
        try:
            driver.start()
            driver.run(pause=True)
        except BaseException:
            self.give_up(course, driver)
            raise
        if course.race.outcome is not None:
            self.conclude(course, driver)  # nobody wins without a stage: this raises
        return driver

    def conclude(self, course: Course[ThreadsChanges], driver: Driver, take: Take = quiet) -> Winner:
        """The race is over: close what is left of it, learn, tell the hooks; the winner, or its exception.

        ``take`` makes the winner's socket what the caller gets: with a `SharedLingering` it has to go quietly
        in the end.
        """
        sock: socket.socket | None = None
        try:
            if isinstance(course.race.outcome, Won):
                sock = driver.winner() if driver.stage is None else driver.product()
                sock.settimeout(socket.getdefaulttimeout())
        finally:
            report = self.give_up(course, driver)
        try:
            return self._won(course, sock, report, take)
        except PvdRaceError as error:
            raise error from next(reversed(driver.errors.values()), None)

    def give_up(self, course: Course[ThreadsChanges], driver: Driver) -> RaceReport:
        """Close all that a race holds, learn what there is to learn, and tell the hooks."""
        driver.close()
        with self.lock:
            report = self._courses.learn(course)
        tell(self.hooks, report)
        return report

    def forget(self, driver: Driver) -> None:
        """Close a race that its owner has forgotten, now or soon: nobody learns from it.

        The garbage collector calls this, in any thread and in the midst of anything: so it waits for no lock,
        and does nothing where this thread itself is at work on what races share.
        """
        self._forgotten.append(driver)
        if not self.lock._is_owned() and self.lock.acquire(blocking=False):  # type: ignore[attr-defined]
            try:
                self._close_forgotten()
            finally:
                self.lock.release()

    def _close_forgotten(self) -> None:
        while self._forgotten:
            self._forgotten.popleft().close()

    def _won(
        self, course: Course[ThreadsChanges], sock: socket.socket | None, report: RaceReport, take: Take
    ) -> Winner:
        with self.lock:
            self._courses.check(course, report)
            assert sock is not None
            own = take(sock, None if course.farewell is None else self.lingering)
            return Winner(own, report, self._courses.hold(course, lambda: weakref.ref(own)))

    def _driver(
        self, course: Course[ThreadsChanges], stage: Stage | None, *, provisional: bool = False
    ) -> Driver:
        return BlockingDriver(
            course.race,
            self.resolver,
            changes=course.changes,
            stage=stage,
            provisional=provisional,
            release=course.release,
        )


def _nobody_probes(report: RaceReport) -> None:
    """Probes go on in the background, and here is nobody who could."""
