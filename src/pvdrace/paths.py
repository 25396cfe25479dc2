"""The way that a connection took, and why it is not to be used any more: what pools ask. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from .membership import why_left
from .model import is_loopback
from .race.outcome import Won

if TYPE_CHECKING:
    from .model import Endpoint, ProvisioningDomain, PvdSet, Ranking
    from .policy import Policy
    from .race.report import RaceReport


class Path(NamedTuple):
    """The way that a connection took: the PvD, as it was then, and the family; and what it was asked for.

    ``policy`` and ``label`` are the call's, ``ready`` what a winner had to have done. With another policy
    (`Path.under`) it is a question about that one.
    """

    pvd: ProvisioningDomain
    family: int
    endpoint: Endpoint
    policy: Policy | None = None
    label: str | None = None
    ready: str = "tcp"

    @classmethod
    def of(cls, report: RaceReport, *, policy: Policy | None = None, label: str | None = None) -> Path:
        """The way of a report's winner. Raises ValueError for a race that nobody won."""
        if not isinstance(report.result, Won):
            raise ValueError(f"nobody won the race to {report.endpoint}")
        candidate = report.result.attempt.candidate
        return cls(candidate.pvd, candidate.family, report.endpoint, policy, label, report.ready)

    def under(self, policy: Policy | None) -> Path:
        """The same way, asked about under another policy of the call."""
        return self if policy is self.policy else self._replace(policy=policy)


def objection(path: Path, pvds: PvdSet, ranking: Ranking) -> str | None:
    """Why a connection on this path may not be used any more; None if it may.

    Its PvD is gone or cannot be used, is another attachment, or is behind a captive portal now; or policy
    (``ranking``, for the path's endpoint) forbids it or its family. That another PvD would be better is no
    reason.
    """
    if is_loopback(path.endpoint.host):
        return None
    if reason := why_left(path.pvd, pvds, ranking):
        return reason
    for ranked in ranking.ranked:
        if ranked.pvd.name == path.pvd.name and path.family not in ranked.families:
            return f"IPv{path.family} is not to be used in {path.pvd.name} any more"
    return None
