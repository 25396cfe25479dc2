"""What a race says against a PvD, so that a probe should look. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ..race.events import Failed, LookupFailed
from ..race.outcome import Won

if TYPE_CHECKING:
    from ..race.report import RaceReport

#: How `pvdrace.drivers.stages` begins the words for a certificate that does not verify.
WRONG_CERTIFICATE = "wrong certificate"


class Suspect(NamedTuple):
    """A PvD with something against it, on a port. ``certificate``: somebody else answered in TLS."""

    pvd: str
    port: int
    certificate: bool = False


def suspects(report: RaceReport) -> tuple[Suspect, ...]:
    """The PvDs that a race speaks against: a wrong certificate, a failure, or no success in its time.

    A PvD that was ranked before the winner and had not done by then what the winner did may be slow, or may
    reach nothing: a probe can tell.
    """
    found: dict[str, Suspect] = {}
    if _smooth(report):
        return ()
    port = report.endpoint.port
    for attempt in report.attempts:
        if attempt.outcome == "failed":
            wrong = (attempt.error or "").startswith(WRONG_CERTIFICATE)
            known = found.get(attempt.pvd)
            found[attempt.pvd] = Suspect(
                attempt.pvd, port, wrong or (known is not None and known.certificate)
            )
    for lookup in report.lookups:
        if lookup.outcome == "failed":
            found.setdefault(lookup.pvd, Suspect(lookup.pvd, port))
    for name in _outrun(report):
        found.setdefault(name, Suspect(name, port))
    return tuple(found.values())


def _smooth(report: RaceReport) -> bool:
    """Whether the first in rank has won and nothing has failed: nearly always, so it is quick."""
    if not isinstance(report.result, Won) or not report.ranking.ranked:
        return False
    if report.ranking.ranked[0].pvd is not report.result.attempt.candidate.pvd:
        return False
    return not any(isinstance(entry, Failed | LookupFailed) for _, entry in report.log)


def _outrun(report: RaceReport) -> list[str]:
    if not isinstance(report.result, Won):
        return []
    winner = report.result.attempt.candidate.pvd.name
    ahead: list[str] = []
    for ranked in report.ranking.ranked:
        if ranked.pvd.name == winner:
            tried = {a.pvd for a in report.attempts} | {lookup.pvd for lookup in report.lookups}
            return [name for name in ahead if name in tried]
        ahead.append(ranked.pvd.name)
    return []
