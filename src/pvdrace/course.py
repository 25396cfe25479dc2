"""What a connector does with a race besides driving it: from what was asked to its report. Does; never waits.

The decisions are `Decisions`' and the core's; this brings them together, for connectors of every kind.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from .calls import check_endpoint, check_label, check_policy, check_timeout, failure, requirements
from .decisions import NO_PVDS
from .discovery.diff import PvdChange
from .holdings import Holding
from .model import is_loopback
from .net.lingering import close_now
from .paths import Path
from .race.race import Race, Won
from .race.report import RaceReport
from .ranking.order import rank
from .ranking.sources import from_source

if TYPE_CHECKING:
    import socket
    import weakref
    from collections.abc import Callable, Iterable

    from .answers import Origin
    from .changes import Attention
    from .decisions import Decision, Decisions
    from .dns.conversations import Release
    from .history_store import HistoryStore
    from .model import Endpoint, PvdSet, Ranking
    from .net.lingering import Lingering
    from .policy import Policy
    from .race.pacing import Pacing
    from .seen import Seen

    Hook = Callable[[RaceReport], object]
    Observer = Callable[[Race], object]

A = TypeVar("A", bound="Attention")

log = logging.getLogger("pvdrace")


class Asked(NamedTuple):
    """What a call asks for, checked. ``origin`` is there where the endpoint is an answer.

    ``local``: it never leaves the machine, so no PvD is asked. ``source``: the address of this host that the
    connection has to come from, if it matters.
    """

    endpoint: Endpoint
    policy: Policy | None
    label: str | None
    timeout: float | None
    local: bool
    origin: Origin | None = None
    source: str | None = None

    @classmethod
    def of(
        cls,
        host: str,
        port: int,
        policy: Policy | None,
        label: str | None,
        timeout: float | None,
        origin: Origin | None = None,
        source: str | None = None,
    ) -> Asked:
        """Raises ValueError if the arguments make no sense."""
        endpoint = check_endpoint(host, port)
        timeout = check_timeout(timeout)
        check_policy(policy)
        check_label(label)
        return cls(endpoint, policy, label, timeout, is_loopback(endpoint.host), origin, source)


class Course(Generic[A]):
    """One race: what it was asked for, how it was ranked, where its sockets go in the end.

    ``ready``: what a winner must have done, for the report. ``farewell`` takes sockets over where policy asks
    for silence; ``release`` closes the losers' either way.
    """

    __slots__ = ("asked", "changes", "decision", "farewell", "pvds", "race", "ready", "release")

    def __init__(
        self,
        asked: Asked,
        ready: str,
        pvds: PvdSet,
        decision: Decision,
        race: Race,
        changes: A | None,
        farewell: Lingering | None,
    ) -> None:
        self.asked = asked
        self.ready = ready
        self.pvds = pvds
        self.decision = decision
        self.race = race
        self.changes = changes
        self.farewell = farewell
        self.release: Release = farewell.release if farewell is not None else close_now

    @property
    def path(self) -> Path:
        """The way of the winner."""
        assert isinstance(self.race.outcome, Won)
        candidate = self.race.outcome.attempt.candidate
        asked = self.asked
        return Path(candidate.pvd, candidate.family, asked.endpoint, asked.policy, asked.label, self.ready)


class Courses(Generic[A]):
    """The races of one connector. ``heard`` gets the reports of those that left the machine.

    ``listen`` makes what tells a race of changes, from the snapshot it was ranked with and how to rank anew.
    """

    def __init__(
        self,
        decisions: Decisions,
        monitor: Seen,
        listen: Callable[[PvdSet, Race, Callable[[PvdSet], Ranking]], A],
        lingering: Lingering,
        pacing: Pacing,
        store: HistoryStore | None,
        heard: Callable[[RaceReport], object],
    ) -> None:
        self._decisions = decisions
        self._monitor = monitor
        self._listen = listen
        self._lingering = lingering
        self._pacing = pacing
        self._store = store
        self._heard = heard

    def decide(self, asked: Asked, ready: str, pvds: PvdSet) -> Decision:
        """The ranking, as of now."""
        now = time.monotonic()
        decision = self._decisions.decide(
            pvds, asked.endpoint, asked.policy, asked.label, ready, now, asked.origin
        )
        if asked.source is None:
            return decision
        return decision._replace(ranking=from_source(decision.ranking, asked.source))

    def begin(
        self, asked: Asked, ready: str, pvds: PvdSet, decision: Decision, *, hold: bool = False
    ) -> Course[A]:
        """A race that is ready to be driven."""
        race = Race(
            asked.endpoint,
            decision.ranking,
            self._pacing,
            hold=hold,
            timeout=asked.timeout,
            rtt=decision.rtt,
        )
        changes = None
        if pvds is not NO_PVDS:

            def rerank(new: PvdSet) -> Ranking:
                return self.decide(asked, ready, new).ranking

            changes = self._listen(pvds, race, rerank)
        self._lingering.sweep()
        farewell = self._lingering if decision.quiet else None
        return Course(asked, ready, pvds, decision, race, changes, farewell)

    def conclude(self, course: Course[A], hooks: Iterable[Hook]) -> RaceReport:
        """The race is over, or given up: learn from it, and tell the hooks."""
        report = self.learn(course)
        tell(hooks, report)
        return report

    def learn(self, course: Course[A]) -> RaceReport:
        """As `conclude`, and nobody is told."""
        report = RaceReport.of(course.race, course.ready)
        if not course.asked.local:
            self._decisions.history.learn(report, time.monotonic(), self._monitor.snapshot)
            self._heard(report)
            if self._store is not None:
                self._store.keep(self._decisions.history)
        return report

    def check(self, course: Course[A], report: RaceReport) -> None:
        """Raise what a race that was not won deserves."""
        if isinstance(course.race.outcome, Won):
            return
        origin = course.asked.origin
        needed = [*requirements(course.asked.policy), *(origin.layers() if origin is not None else ())]
        nobody = not course.decision.ranking.ranked
        free = nobody and rank(course.pvds, course.asked.endpoint, needed).ranked
        raise failure(report, prohibited=bool(free))

    def hold(
        self, course: Course[A], find_socket: Callable[[], weakref.ref[socket.socket]]
    ) -> Holding | None:
        """Where the winner's PvD is exclusive, its connection has it now; who loses it is told."""
        assert isinstance(course.race.outcome, Won)
        pvd = course.race.outcome.attempt.candidate.pvd
        if not pvd.exclusive:
            return None
        sock, asked = find_socket(), course.asked
        priority = self._decisions.priority(asked.endpoint, asked.policy, asked.label, asked.origin)
        holding = Holding(pvd.name, priority, lambda: (own := sock()) is not None and own.fileno() >= 0)
        if lost := self._decisions.holdings.take(holding):
            for other in lost:
                other.preempt()
            self._monitor.announce(PvdChange("preempted", pvd))
        return holding


def tell(hooks: Iterable[Hook], report: RaceReport) -> None:
    """Call the hooks; one that raises is logged."""
    for hook in hooks:
        try:
            hook(report)
        except KeyboardInterrupt:
            raise
        except BaseException:  # who looks on does not end a connection, nor the program with sys.exit()
            log.exception("hook %r failed on the report of %s", hook, report.endpoint)
