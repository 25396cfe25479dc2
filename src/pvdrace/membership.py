"""What a new snapshot means for a race that runs: PvDs that came and went, as events. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .model import Reachability
from .race.actions import ATTACHED_ANEW
from .race.events import Event, PvdAdded, PvdWithdrawn
from .reachability import portal_words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .model import ProvisioningDomain, PvdSet, Ranking, Reason

#: The rules of ranking that leave a PvD out for what may not be sent into it.
FORBIDDING = frozenset({"prohibit", "require", "zone"})


def changes(running: Sequence[ProvisioningDomain], new: PvdSet, ranking: Ranking) -> list[Event]:
    """The events that bring a race over ``running`` PvDs to the ``new`` snapshot, which ``ranking`` ranks.

    A PvD of another attachment (interface made anew, address changed) is another PvD and takes the place of
    the first, because what its sockets are bound to is gone. One that turns out to be behind a captive portal
    leaves, unless it is required: what is sent there goes to the portal. So does one that policy now forbids
    (a selector can be of its cost, say), or to which the name does not belong any more: it must see nothing
    from then on. Other differences wait for the next race.

    RFC 9623 s4: who comes is said before who goes: a race whose last PvD has gone is lost, and stays so.
    """
    here = {pvd.name: pvd for pvd in running}
    leaving = {pvd.name: reason for pvd in running if (reason := why_left(pvd, new, ranking))}
    order = list(here)
    events: list[Event] = []
    position = 0  # behind the last PvD that the new ranking has before this one
    for ranked in ranking.ranked:
        name = ranked.pvd.name
        if name in here and name not in leaving:
            position = order.index(name) + 1
            continue
        if leaving.pop(name, None):
            # It leaves its place first; those behind it move up.
            position -= order.index(name) < position
            order.remove(name)
        events.append(PvdAdded(ranked, position))
        order.insert(position, name)
        position += 1
    return [*events, *(PvdWithdrawn(name, reason) for name, reason in leaving.items())]


def why_left(pvd: ProvisioningDomain, new: PvdSet, ranking: Ranking) -> str | None:
    """Why a PvD in which something runs is to be left after the ``new`` snapshot; None if it is not."""
    required = any(ranked.pvd.name == pvd.name for ranked in ranking.ranked)
    if reason := _why_gone(pvd, new.get(pvd.name), required=required):
        return reason
    forbidden = (ranked.excluded for ranked in ranking.excluded if ranked.pvd.name == pvd.name)
    return _why_forbidden(next(forbidden, None))


def _why_forbidden(excluded: Reason | None) -> str | None:
    return str(excluded) if excluded is not None and excluded.rule in FORBIDDING else None


def _why_gone(before: ProvisioningDomain, after: ProvisioningDomain | None, *, required: bool) -> str | None:
    if after is None:
        return "gone"
    if after.unusable is not None:
        return after.unusable
    if after.reachability is Reachability.PORTAL and not required:
        return portal_words(after)
    return ATTACHED_ANEW if after.attachment != before.attachment else None
