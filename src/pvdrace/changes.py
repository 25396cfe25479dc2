"""The monitor as a running race sees it. Does: it waits and asks; `membership` decides what is to be said."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import membership

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .model import PvdSet, Ranking
    from .monitor import Monitor
    from .race.events import Event
    from .race.race import Race


class RaceChanges:
    """What came and went since the snapshot ``pvds`` that the race was ranked with, as events."""

    def __init__(
        self, monitor: Monitor, pvds: PvdSet, race: Race, rerank: Callable[[PvdSet], Ranking]
    ) -> None:
        self.monitor = monitor
        self.pvds = pvds
        self.race = race
        self.rerank = rerank

    def fileno(self) -> int:
        """Readable when PvDs may have come or gone."""
        return self.monitor.fileno()

    async def events(self) -> Sequence[Event]:
        """What changed since the last call."""
        if self.monitor.stale():
            await self.monitor.refresh()
        old, self.pvds = self.pvds, self.monitor.snapshot
        if self.pvds is old:
            return ()
        return membership.changes(self.race.running, self.pvds, self.rerank(self.pvds))
