"""The core in simulated time: a heap of events to come, and a clock that jumps.

For tests that read as timelines and for sweeps of many thousand races. What the network would do is a
`World`: a function from an action to the events that answer it.
"""

from __future__ import annotations

from heapq import heappop, heappush
from math import inf
from typing import TYPE_CHECKING, Protocol

from ..race.actions import Connect, Lookup

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ..race.actions import Action
    from ..race.events import Event
    from ..race.race import Race


class World(Protocol):
    """What the network does: each action's answers, as seconds from now and the event."""

    def lookup(self, action: Lookup) -> Iterable[tuple[float, Event]]:
        """What comes of a question; nothing for silence."""

    def connect(self, action: Connect) -> Iterable[tuple[float, Event]]:
        """What comes of an attempt; nothing for silence."""


class Stuck(AssertionError):
    """The race waits, and nothing will ever happen: a bug of the core (law 7) or a world without an end."""


def simulate(
    race: Race, world: World, *, now: float = 0.0, changes: Sequence[tuple[float, Event]] = ()
) -> float:
    """Run a race to its end; returns the time of it. ``changes`` happen by themselves at the given times.

    Events of the same instant reach the core in the order in which they were caused, all before a timer.
    """
    coming: list[tuple[float, int, Event]] = []
    serial = 0
    for time, event in changes:
        serial += 1
        heappush(coming, (time, serial, event))
    actions: Sequence[Action] = race.start(now)
    while True:
        for action in actions:
            kind = type(action)
            if kind is Connect:
                answers = world.connect(action)  # type: ignore[arg-type]
            elif kind is Lookup:
                answers = world.lookup(action)  # type: ignore[arg-type]
            else:
                continue  # cancelled: its answer comes late, which is legal
            for delay, event in answers:
                serial += 1
                heappush(coming, (now + delay, serial, event))
        if race.outcome is not None:
            return now
        due = race.deadline
        if due < now:
            due = now
        if coming and coming[0][0] <= due:
            now, _, event = heappop(coming)
            actions = race.handle(event, now)
        elif due < inf:
            now = due
            actions = race.tick(now)
        else:
            raise Stuck(f"{race!r} waits for ever")
