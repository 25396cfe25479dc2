"""Which PvD general traffic uses first, and when another one is better. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .discovery.diff import PvdChange
from .model import Endpoint, PvdSet
from .ranking.rules import ADVICE

if TYPE_CHECKING:
    from collections.abc import Callable

    from .model import ProvisioningDomain, Ranking

#: Any destination: a name that is in nobody's zone but everybody's (RFC 6761 s6.4 keeps it free), over HTTPS.
ANYWHERE = Endpoint("general.invalid", 443)
#: Ranking rules that are no reason to move: advice, and that one carries traffic already.
NO_REASON = ADVICE | {"incumbent"}


class Best:
    """The PvD that general traffic would use first, from one snapshot to the next.

    ``rank`` ranks the PvDs for `ANYWHERE`.
    """

    def __init__(self, rank: Callable[[PvdSet], Ranking], pvds: PvdSet) -> None:
        self._rank = rank
        self._name = _first(rank(pvds))

    def look(self, pvds: PvdSet) -> tuple[PvdChange, ...]:
        """That another one is better now than the one that was first, which is still there; else nothing.

        Better by what is known of them, cost or reachability, say: what the networks hint at moves nobody.
        """
        before, self._name = self._name, _first(self._rank(pvds))
        if before is None or self._name is None or before == self._name:
            return ()
        pair = PvdSet(tuple(pvd for pvd in pvds if pvd.name in (before, self._name)))
        ranked = self._rank(pair).ranked if len(pair) == 2 else ()
        if len(ranked) < 2 or not {reason.rule for reason in ranked[0].because} - NO_REASON:
            return ()
        return (PvdChange("better", ranked[0].pvd),)


def _first(ranking: Ranking) -> str | None:
    return ranking.ranked[0].pvd.name if ranking.ranked else None


def usable(ranking: Ranking) -> tuple[ProvisioningDomain, ...]:
    """The PvDs that may run, in order."""
    return tuple(ranked.pvd for ranked in ranking.ranked)
