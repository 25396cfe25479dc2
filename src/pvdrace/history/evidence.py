"""What a race says of the PvDs that were in it. Pure.

The evidence is comparative: another PvD did in the same race what this one, ranked before it, had not done in
the time that it was given. A race that nobody won says as much of the server as of the PvDs, and teaches
nothing.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, NamedTuple

from ..capacity import cost_key, is_metered
from ..race.actions import TIMEOUT, Cancel, Connect, Lookup
from ..race.events import Connected, Failed, LookupAnswered, LookupFailed, PvdWithdrawn, Ready
from ..race.outcome import Won
from ..race.race import DEFAULT_PACING

if TYPE_CHECKING:
    from ..model import ProvisioningDomain
    from ..race.pacing import Pacing
    from ..race.report import RaceReport


class Tried:
    """One attempt. ``rtt`` is its handshake's, in seconds. Not ``failed`` and not ``won``: cancelled."""

    __slots__ = ("failed", "family", "remote", "rtt", "won")

    def __init__(self, remote: str, family: int) -> None:
        self.remote = remote
        self.family = family
        self.rtt: float | None = None
        self.failed = self.won = False


class Course:
    """How a race went in one PvD. ``began``: its first question or attempt, on the race's clock.

    ``dns``: seconds to the last answer that did not come from the cache. ``unanswered``: questions still open
    or failed; ``open``: lookups and attempts that had neither succeeded nor failed when the race ended.
    ``heard``: when it last answered anything, at first when it began.
    """

    __slots__ = ("attempts", "began", "dns", "heard", "open", "pvd", "unanswered")

    def __init__(self, pvd: ProvisioningDomain, began: float) -> None:
        self.pvd = pvd
        self.began = self.heard = began
        self.dns: float | None = None
        self.unanswered = 0
        self.open = 0
        self.attempts: list[Tried] = []


#: Seconds without any answer after which a network is taken for dead, though only one that costs more did
#: better: the second SYN leaves after 1 s (RFC 6298 s2), and has half a second for its answer.
SILENCE = 1.5

#: By the name and the attachment of each PvD.
Courses = dict[tuple[str, int], Course]


def courses(report: RaceReport) -> Courses:
    """How the race went in each PvD in which anything was tried. One pass over the log."""
    found: Courses = {}
    begun: dict[int, tuple[Course, Tried | None]] = {}
    for time, entry in report.log:
        kind = type(entry)
        if kind is Lookup or kind is Connect:
            pvd: ProvisioningDomain
            pvd = entry.pvd if kind is Lookup else entry.candidate.pvd  # type: ignore[union-attr,assignment]
            key = pvd.name, pvd.attachment
            course = found.get(key)
            if course is None:
                course = found[key] = Course(pvd, time)
            course.open += 1
            tried = None
            if kind is Connect:
                candidate = entry.candidate  # type: ignore[union-attr]
                tried = Tried(candidate.remote, candidate.family)
                course.attempts.append(tried)
            else:
                course.unanswered += 1
            begun[entry.id] = course, tried  # type: ignore[union-attr]
        elif kind is LookupAnswered:
            course, _ = begun[entry.id]  # type: ignore[union-attr]
            course.open -= 1
            course.unanswered -= 1
            course.heard = time
            if not entry.cached:  # type: ignore[union-attr]
                course.dns = time - course.began
        elif kind is Connected or kind is Ready:
            course, tried = begun[entry.id]  # type: ignore[union-attr]
            assert tried is not None
            course.heard = time
            if entry.rtt is not None:  # type: ignore[union-attr]
                tried.rtt = entry.rtt  # type: ignore[union-attr]
            if kind is Ready:
                tried.won = True
                course.open -= 1
        elif kind is Failed or kind is LookupFailed or kind is Cancel:
            if kind is Cancel:
                if not entry.reason.startswith(TIMEOUT):  # type: ignore[union-attr]
                    continue
                course, tried = begun[entry.target.id]  # type: ignore[union-attr]
            else:
                course, tried = begun[entry.id]  # type: ignore[union-attr]
            course.open -= 1
            if tried is not None:
                tried.failed = True
    return found


def outdone(report: RaceReport) -> list[ProvisioningDomain]:
    """The PvDs that a race speaks against: ranked before the winner, given their chance, without success.

    Not one that was withdrawn: it is not there to be tried again. Nothing is learnt from a winner that came
    in mid-race, for it was ranked behind nobody; nor of the loopback.
    """
    return [doubt.pvd for doubt in doubts(report, courses(report)) if doubt.weight == 1.0]


class Doubt(NamedTuple):
    """A race speaks against a PvD, and how much. ``dearer``: it lost to one that costs more."""

    pvd: ProvisioningDomain
    weight: float
    dearer: bool = False


def doubts(report: RaceReport, seen: Courses, weak: float = 0.5) -> list[Doubt]:
    """The PvDs that a race speaks against, and how much: 1.0 as `outdone` says, or ``weak``.

    Weak is the evidence where a PvD had the head start that the ranking gave it, but that was a short one:
    what it has been so far may be slow for once.

    To have lost to a PvD that costs more is held against one only if it has failed, or was silent for
    `SILENCE`: whatever a caller was ready to pay for, a network that answers may be adequate for all others,
    and evidence stands above cost.
    """
    if type(report.result) is not Won:
        return []
    winner, ranked = report.result.attempt.candidate.pvd, report.ranking.ranked
    place = next(
        (
            n
            for n, r in enumerate(ranked)
            if (r.pvd.name, r.pvd.attachment) == (winner.name, winner.attachment)
        ),
        0,
    )
    if not place:
        return []
    gone = {entry.pvd for _, entry in report.log if type(entry) is PvdWithdrawn}
    patience = _path_delay(report)
    end = report.started + report.elapsed
    found = []
    for number, (pvd, head_start, *_) in enumerate(ranked[:place]):
        course = seen.get((pvd.name, pvd.attachment))
        if pvd.is_loopback or pvd.name in gone or course is None:
            continue
        if not course.attempts and not course.unanswered:
            # Its resolvers say that there is no such address, or none that it has a route to: that says
            # something of the name and nothing of itself.
            continue
        waited = end - course.began
        if _costs_more(winner, pvd):
            if end - course.heard >= SILENCE or not course.open:
                found.append(Doubt(pvd, 1.0, dearer=True))
        elif waited >= patience or not course.open:
            found.append(Doubt(pvd, 1.0))
        elif waited >= _given(head_start, ranked[number + 1].head_start):
            found.append(Doubt(pvd, weak))
    return found


def _costs_more(one: ProvisioningDomain, other: ProvisioningDomain) -> bool:
    key = cost_key(one.cost)
    return is_metered(key) and key > cost_key(other.cost)


def _given(own: float | None, followers: float | None) -> float:
    """The seconds that the ranking gave a PvD alone."""
    if own is None or followers is None or followers <= own:
        return inf
    return followers - own


def _path_delay(report: RaceReport) -> float:
    pacing: Pacing = report.settings.get("pacing", DEFAULT_PACING)
    return pacing.path_delay


def failed_families(course: Course, doubted: bool) -> list[int]:
    """The families that did not work here: without success, though it was there to be had.

    Every attempt of the family failed; or gave way to a later one of the other family that won, in this PvD;
    or the race speaks against the whole PvD (``doubted``).
    """
    attempts = course.attempts
    won = next((number for number, tried in enumerate(attempts) if tried.won), None)
    before = attempts[:won]  # what began after the winner had no time to fail
    families = []
    for family in dict.fromkeys([tried.family for tried in before]):
        if won is not None and attempts[won].family == family:
            continue
        if doubted or won is not None or all(tried.failed for tried in attempts if tried.family == family):
            families.append(family)
    return families
