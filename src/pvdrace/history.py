"""What the races taught: which PvDs to try later than usual, for a while. Pure: time comes in.

RFC 8305 s4: what is learnt is not used across networks. So it is kept by PvD, attachment and port. The
evidence is comparative: another PvD did in the same race what this one, ranked before it, had not done in
the time that it was given. A race that nobody won says as much of the server as of the PvDs, and teaches
nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from .expectation import EXPECT_NOTHING, Expectation
from .race.events import PvdWithdrawn
from .race.outcome import Won
from .race.race import DEFAULT_PACING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .expectation import Expectations
    from .model import ProvisioningDomain
    from .race.pacing import Pacing
    from .race.records import AttemptRecord, LookupRecord
    from .race.report import RaceReport

#: How long a PvD is distrusted, in seconds: at first, and at the longest; each repetition doubles it. So this
#: is the exploration interval: after it a PvD is tried in its place again, and one that works is back there.
FIRST_DISTRUST = 10.0
LONGEST_DISTRUST = 300.0
KEYS_KEPT = 1024
NOBODY: frozenset[str] = frozenset()

#: A PvD's name, its attachment, and the port.
_Key = tuple[str, int, int]


class _Distrust(NamedTuple):
    span: float
    until: float


class History:
    """What one connector has learnt. ``now`` is in seconds, always on the same clock."""

    def __init__(self) -> None:
        self._known: dict[_Key, _Distrust] = {}  # the oldest evidence first

    def __len__(self) -> int:
        """How many pairs of a PvD and a port something is known against."""
        return len(self._known)

    def learn(self, report: RaceReport, now: float) -> None:
        """Take in a race that has ended ``now``.

        The winner is trusted again on this port. A PvD that the race speaks against (see `outdone`) is
        distrusted, twice as long as the last time if it has not won since. What began before a distrust
        ran out adds nothing to it: many races at once are one piece of evidence.
        """
        if type(report.result) is not Won:
            return
        winner, ranked = report.result.attempt.candidate.pvd, report.ranking.ranked
        if not self._known and ranked and ranked[0].pvd is winner:
            return  # as nearly always, and then it should cost nothing
        port = report.endpoint.port
        self._known.pop(_key(winner, port), None)
        for pvd in outdone(report):
            self._distrust(_key(pvd, port), now - report.elapsed, now)

    def expected(self, pvds: Iterable[ProvisioningDomain], port: int, now: float) -> Expectations:
        """What is to be expected of these PvDs on this port, by name."""
        names = self.distrusted(pvds, port, now)
        return {name: Expectation(distrusted=True) for name in names} if names else EXPECT_NOTHING

    def distrusted(self, pvds: Iterable[ProvisioningDomain], port: int, now: float) -> frozenset[str]:
        """The names of those of these PvDs that should be tried later than usual on this port."""
        if not self._known:
            return NOBODY
        known = [(pvd.name, self._known.get(_key(pvd, port))) for pvd in pvds]
        return frozenset([name for name, distrust in known if distrust and now < distrust.until])

    def _distrust(self, key: _Key, began: float, now: float) -> None:
        span = FIRST_DISTRUST
        if last := self._known.get(key):
            if began < last.until:
                return
            span = min(2 * last.span, LONGEST_DISTRUST)
            del self._known[key]
        elif len(self._known) >= KEYS_KEPT:
            del self._known[next(iter(self._known))]
        self._known[key] = _Distrust(span, now + span)


def _key(pvd: ProvisioningDomain, port: int) -> _Key:
    return pvd.name, pvd.attachment, port


def outdone(report: RaceReport) -> list[ProvisioningDomain]:
    """The PvDs that a race speaks against: ranked before the winner, given their chance, without success.

    Not one that was withdrawn: it is not there to be tried again. Nothing is learnt from a winner that came
    in mid-race, for it was ranked behind nobody; nor of the loopback.
    """
    if type(report.result) is not Won:
        return []
    winner = report.result.attempt.candidate.pvd
    ahead: list[ProvisioningDomain] = []
    for ranked in report.ranking.ranked:
        if ranked.pvd.name == winner.name and ranked.pvd.attachment == winner.attachment:
            break
        ahead.append(ranked.pvd)
    else:
        return []
    if not ahead:
        return ahead
    gone = {entry.pvd for _, entry in report.log if type(entry) is PvdWithdrawn}
    return [
        pvd for pvd in ahead if not pvd.is_loopback and pvd.name not in gone and _had_its_chance(pvd, report)
    ]


def _had_its_chance(pvd: ProvisioningDomain, report: RaceReport) -> bool:
    """Whether it had all of a head start, or all that it tried has failed before that.

    One that was cancelled sooner was only slower. One whose resolvers say that there is no such address,
    or none that it has a route to, has said something of the name and nothing of itself.
    """
    lookups = [lookup for lookup in report.lookups if lookup.pvd == pvd.name]
    attempts = [attempt for attempt in report.attempts if attempt.pvd == pvd.name]
    if not attempts and all(lookup.outcome == "answered" for lookup in lookups):
        return False
    records: list[LookupRecord | AttemptRecord] = [*lookups, *attempts]
    began = min(record.started for record in records)
    if report.elapsed - began >= _path_delay(report):
        return True
    return all(record.outcome in ("answered", "failed") for record in records)


def _path_delay(report: RaceReport) -> float:
    pacing: Pacing = report.settings.get("pacing", DEFAULT_PACING)
    return pacing.path_delay
