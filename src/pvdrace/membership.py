"""What a new snapshot means for a race that runs: PvDs that came and went, as events. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .race.events import Event, PvdAdded, PvdWithdrawn

if TYPE_CHECKING:
    from .model import ProvisioningDomain, PvdSet, Ranking


def changes(old: PvdSet, new: PvdSet, ranking: Ranking) -> list[Event]:
    """The events that lead a race from the ``old`` snapshot to the ``new`` one, which ``ranking`` ranks.

    A PvD of another attachment (interface made anew, address changed) is another PvD: it is withdrawn and
    joins again, because what its sockets are bound to is gone. Other differences wait for the next race.
    """
    events: list[Event] = []
    gone: set[str] = set()
    for pvd in old:
        reason = _why_gone(pvd, new.get(pvd.name))
        if reason is not None:
            gone.add(pvd.name)
            if pvd.unusable is None:
                events.append(PvdWithdrawn(pvd.name, reason))
    for position, ranked in enumerate(ranking.ranked):
        if ranked.pvd.name not in old or ranked.pvd.name in gone:
            events.append(PvdAdded(ranked, position))
    return events


def _why_gone(before: ProvisioningDomain, after: ProvisioningDomain | None) -> str | None:
    if after is None:
        return "gone"
    if after.unusable is not None:
        return after.unusable
    if before.unusable is not None:
        return "usable again"
    if after.attachment != before.attachment:
        return "attached anew"
    return None
