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
    from .seen import Seen


class Attention:
    """Listens to a monitor for a race that was ranked with its snapshot ``pvds``."""

    def __init__(self, monitor: Seen, pvds: PvdSet, race: Race, rerank: Callable[[PvdSet], Ranking]) -> None:
        self.monitor = monitor
        self.pvds = pvds
        self.race = race
        self.rerank = rerank
        self.bell = -1

    def open(self) -> Sequence[int]:
        """Begin to listen: the descriptors of which one is readable when PvDs may have come or gone.

        The kernel's socket alone would not do: all races share it, and whoever looks first has read it.
        """
        self.bell = self.monitor.bell(self.pvds)
        kernel = self.monitor.fileno()
        return (self.bell,) if kernel < 0 else (self.bell, kernel)

    def news(self) -> Sequence[Event]:
        """What the monitor's snapshot says that is new since the last call."""
        if self.pvds is self.monitor.snapshot:
            return ()
        self.pvds = self.monitor.snapshot
        return membership.changes(self.race.running, self.pvds, self.rerank(self.pvds))

    def close(self) -> None:
        """Listen no more. Harmless when done twice, or without `open`."""
        if self.bell >= 0:
            self.monitor.mute(self.bell)
            self.bell = -1


class RaceChanges(Attention):
    """What came and went, as events for a race on an event loop."""

    monitor: Monitor

    async def events(self) -> Sequence[Event]:
        """What changed since the last call. Raises OSError where the kernel refuses to say."""
        self.monitor.heard(self.bell)
        if self.monitor.stale():
            try:
                await self.monitor.refresh()
            except RuntimeError:
                if self.monitor.fileno() >= 0:
                    raise
                return ()  # closed meanwhile: the race goes on with what it has
        return self.news()
