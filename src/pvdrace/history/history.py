"""What the races taught of each PvD, and what is therefore to be expected of it. Pure: time comes in.

RFC 8305 s4: what is learnt is not used across networks. So it is kept by PvD *instance*: its name and
identity, or its name and attachment where nothing tells the network from another one; by host and port, by
port, and in general. `evidence` reads the report of a race, `places` keeps what it says, `prospects` makes
expectations of it.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, NamedTuple

from ..expectation import EXPECT_NOTHING
from ..race.outcome import Won
from .evidence import courses, doubts, failed_families
from .flaps import Flaps
from .places import WHOLE, Known, levels
from .prospects import Subject, prospects

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..discovery.diff import PvdChange
    from ..expectation import Expectations
    from ..model import Endpoint, ProvisioningDomain, PvdSet
    from ..race.report import RaceReport
    from .evidence import Course, Doubt
    from .places import Place

#: So many PvD instances are known, and so many answers remembered: the longest unused go.
INSTANCES_KEPT = 64
ANSWERS_KEPT = 1024
#: RFC 6298 s3 takes one sample in a round trip: a burst of connections is one piece of evidence. Seconds.
SAMPLE_INTERVAL = 0.1
#: Seconds for which the PvD that carried the last connection to a host and port is the incumbent; for a new
#: host, the one that carried the last connection to that port.
INCUMBENT_AGE = 3600.0
#: Seconds for which a port on which a connection worked is one that passes.
PASSED_LATELY = 3600.0

#: A PvD's name, and its identity or else its attachment.
Instance = tuple[str, "str | int"]


def instance(pvd: ProvisioningDomain) -> Instance:
    """What a PvD is known by: what is learnt of one instance is used for no other."""
    return pvd.name, pvd.attachment if pvd.identity is None else pvd.identity


class KnownPorts(NamedTuple):
    """The ports on which connections worked lately, those that are blocked now, and until when that holds."""

    passed: tuple[int, ...] = ()
    blocked: tuple[int, ...] = ()
    until: float = inf


NO_PORTS = KnownPorts()


class _Answer(NamedTuple):
    """What `History.expected` said last, and for how long it holds."""

    pvds: object
    version: int
    since: float
    until: float
    expected: Expectations
    exploring: tuple[Place, ...]


class History:
    """What one connector has learnt. ``now`` is in seconds, always on the same clock."""

    def __init__(self) -> None:
        self.known: dict[Instance, Known] = {}  # the longest unused first
        self._flaps = Flaps()
        self._incumbents: dict[tuple[str, int], tuple[Instance, float]] = {}
        self._answers: dict[tuple[str, int, str], _Answer] = {}
        self._sampled: dict[tuple[str, int, str], float] = {}
        self._version = 0  # grows when expectations may have changed

    def __len__(self) -> int:
        """How many destinations are known, each counted for every PvD and at every level."""
        return sum(len(known.places) for known in self.known.values())

    def __bool__(self) -> bool:
        return bool(self.known) or bool(self._flaps)

    # ------------------------------------------------------------------ what happened

    def learn(self, report: RaceReport, now: float, current: PvdSet | None = None) -> None:
        """Take in a race that has ended ``now``.

        A race that nobody won teaches nothing: it says as much of the server as of the PvDs. With the
        ``current`` PvDs, what it says of an older attachment of one is ignored; so is what it says of the
        loopback. Of races to one destination that went as expected, one in `SAMPLE_INTERVAL` is taken in.
        """
        if type(report.result) is not Won:
            return
        winner = report.result.attempt.candidate.pvd
        if winner.is_loopback:
            return
        ranked = report.ranking.ranked
        key = (report.endpoint.host, report.endpoint.port, report.ready)
        if self._sampled.get(key, -inf) > now - SAMPLE_INTERVAL and ranked and ranked[0].pvd is winner:
            answer = self._answers.get(key)
            if answer is not None and answer.version == self._version and not answer.exploring:
                expectation = answer.expected.get(winner.name)
                if expectation is not None and report.elapsed <= (expectation.soon or 0.0):
                    return
        if len(self._sampled) >= ANSWERS_KEPT:
            self._sampled.clear()
        self._sampled[key] = now
        seen = courses(report)
        against = {}
        if len(seen) > 1 or not ranked or ranked[0].pvd is not winner:
            against = {instance(doubt.pvd): doubt for doubt in doubts(report, seen)}
        changed = self._explored(report, now)
        for course in seen.values():
            pvd = course.pvd
            if current is not None and not _is_here(pvd, current):
                continue
            changed = self._learn_of(report, course, against.get(instance(pvd)), now) or changed
        if current is None or _is_here(winner, current):
            changed = self._won(report.endpoint, instance(winner), now) or changed
        if changed:
            self._version += 1

    def moved(self, changes: Sequence[PvdChange], now: float) -> None:
        """Take in that PvDs came, went or changed (`discovery.diff`)."""
        changed = self._flaps.moved(changes, now)
        for kind, pvd in changes:
            for other in [one for one in self.known if one[0] == pvd.name and type(one[1]) is int]:
                if kind != "withdrawn" and other[1] == pvd.attachment:
                    if pvd.identity is not None:  # now it can be recognised
                        known = self.known.pop(other)
                        self.known.setdefault(instance(pvd), known)
                        changed = True
                else:
                    del self.known[other]  # it will not be recognised again
                    changed = True
        if changed:
            self._version += 1

    def forget_answers(self) -> None:
        """What is known was changed from outside: see `facts.restore`. Keep within the bounds."""
        while len(self.known) > INSTANCES_KEPT:
            del self.known[next(iter(self.known))]
        self._version += 1

    # ------------------------------------------------------------------ what is to be expected

    def expected(self, pvds: PvdSet, endpoint: Endpoint, ready: str, now: float) -> Expectations:
        """What is to be expected of these PvDs at this destination, with this readiness, by name.

        The same object as the last time for as long as it says the same. A PvD of which nothing is to be
        said is not in it.
        """
        key = (endpoint.host, endpoint.port, ready)
        last = self._answers.get(key)
        if last is not None and last.version == self._version and now < last.until and last.pvds is pvds:
            return last.expected
        if not pvds or not (self.known or self._flaps):
            return EXPECT_NOTHING
        subjects, until = self._subjects(pvds, endpoint, now)
        found = prospects(subjects, endpoint.host, endpoint.port, ready, now)
        expected: Expectations = found.expected or EXPECT_NOTHING
        if last is not None and last.expected == expected:
            expected = last.expected
        elif last is None and len(self._answers) >= ANSWERS_KEPT:
            del self._answers[next(iter(self._answers))]
        until = min(until, found.until)
        self._answers[key] = _Answer(pvds, self._version, now, until, expected, found.exploring)
        return expected

    @property
    def version(self) -> int:
        """Another one when expectations, and what `ports` says, may have changed; time apart."""
        return self._version

    def ports(self, pvd: ProvisioningDomain, family: int, now: float) -> KnownPorts:
        """What is known of the ports of one family of a PvD, whatever the host."""
        known = self.known.get(instance(pvd))
        if known is None or known.attachment not in (None, pvd.attachment):
            return NO_PORTS
        passed, blocked, until = [], [], inf
        for (host, port), place in known.places.items():
            if host or not port:
                continue
            end = max(place.blocked(each, now) for each in (WHOLE, family))
            if end > now:
                blocked.append(port)
                until = min(until, end)
            elif place.won.get(family, -inf) > now - PASSED_LATELY:
                passed.append(port)
        return KnownPorts(tuple(sorted(passed)), tuple(sorted(blocked)), until)

    def _subjects(self, pvds: PvdSet, endpoint: Endpoint, now: float) -> tuple[list[Subject], float]:
        """The PvDs with what is known of each, and when the number of flaps or the incumbent changes."""
        carried = self._incumbents.get((endpoint.host, endpoint.port))
        if carried is None:
            carried = self._incumbents.get(("", endpoint.port))
        until = inf
        incumbent: Instance | None = None
        # Who won while another was not there has not won against it: that one may have its place back.
        if carried is not None and self._flaps.came_at < carried[1] > now - INCUMBENT_AGE:
            incumbent, until = carried[0], carried[1] + INCUMBENT_AGE
        subjects = []
        for pvd in pvds:
            flaps, calmer = self._flaps.of(pvd, now)
            until = min(until, calmer)
            one = instance(pvd)
            subjects.append(Subject(pvd, self.known.get(one), flaps, one == incumbent))
        return subjects, until

    # ------------------------------------------------------------------ learning, piece by piece

    def _learn_of(self, report: RaceReport, course: Course, doubt: Doubt | None, now: float) -> bool:
        """What a race says of one PvD; whether that changes what is expected."""
        endpoint, ready = report.endpoint, report.ready
        against = doubt.weight if doubt is not None else 0.0
        elapsed = report.elapsed
        took = report.started + elapsed - course.began
        known = self._known(course.pvd, now)
        changed = known.attached(course.pvd.attachment)
        here, port, _ = places = known.learning(levels(endpoint.host, endpoint.port), now)
        if course.dns is not None:
            known.resolved(course.dns, now)
        failures = 0
        won = None
        for tried in course.attempts:
            failures += tried.failed
            if tried.rtt is not None:
                changed = here.answered(tried.remote, tried.rtt, now) or changed
            if tried.won:
                won = tried.family
        began = now - elapsed
        elsewhere = port.host not in ("", endpoint.host)
        if won is not None:
            for place in places:
                changed = place.took(ready, took, now) or changed
            for place in (here, port):
                changed = place.worked(won, now) or changed
        elif against == 1.0:
            changed = here.took_longer(ready, took, now, alone=True) or changed
            failures = failures or 1
        else:
            for place in places:
                changed = place.took_longer(ready, took, now, alone=False) or changed
        if doubt is not None:
            changed = here.failed(WHOLE, began, now, against) or changed
            # One host that is out of reach here sends no other to a network that costs more.
            if elsewhere or not doubt.dearer:
                changed = port.failed(WHOLE, began, now, against) or changed
        if against or failures or len(course.attempts) > 1:
            for family in failed_families(course, bool(against)):
                changed = here.failed(family, began, now, against or 1.0) or changed
                # In this PvD the server was reached all the same: only with another server is it the PvD.
                if elsewhere or (won is None and (doubt is None or not doubt.dearer)):
                    changed = port.failed(family, began, now, against or 1.0) or changed
                port.host = endpoint.host
        for place in (here, port):
            changed = place.counted(int(won is not None), failures, now) or changed
        return changed

    def _won(self, endpoint: Endpoint, winner: Instance, now: float) -> bool:
        """It carried a connection; whether there is a new incumbent, of the destination or of the port."""
        changed = False
        for key in ((endpoint.host, endpoint.port), ("", endpoint.port)):
            last = self._incumbents.pop(key, None)
            if last is None and len(self._incumbents) >= ANSWERS_KEPT:
                del self._incumbents[next(iter(self._incumbents))]
            self._incumbents[key] = winner, now
            changed = changed or last is None or last[0] != winner or last[1] <= self._flaps.came_at
        return changed

    def _explored(self, report: RaceReport, now: float) -> bool:
        """What was set aside for this race is back; whether anything is set aside."""
        answer = self._answers.get((report.endpoint.host, report.endpoint.port, report.ready))
        if answer is None or not answer.exploring:
            return False
        if now - report.elapsed >= answer.since:
            for place in answer.exploring:
                place.explored = now
        return True

    def _known(self, pvd: ProvisioningDomain, now: float) -> Known:
        one = instance(pvd)
        known = self.known.pop(one, None)
        if known is None:
            if len(self.known) >= INSTANCES_KEPT:
                del self.known[next(iter(self.known))]
            known = Known(pvd.attachment)
        self.known[one] = known
        return known


def _is_here(pvd: ProvisioningDomain, current: PvdSet) -> bool:
    here = current.get(pvd.name)
    return here is not None and here.attachment == pvd.attachment
