"""What is expected of PvDs for one destination, from what is known of each. Pure: time comes in.

Times compare only with times of the same level (this host, this port, anything): a far host through one PvD
is not slower than a near one through another. So the closest level counts at which two PvDs are known.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, NamedTuple

from ..expectation import Expectation
from .places import NO_RTTS, WHOLE, levels

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..model import ProvisioningDomain
    from .estimates import Times
    from .places import Known, Place, PlaceKey

#: Seconds after which a PvD that is expected to be slower than another is tried in its place again.
EXPLORE_AFTER = 300.0
#: At most so many seconds is one expected to take that is tried again: its followers wait no longer.
PROBE_SOON = 0.1
#: From which on one is noticeably slower than another.
NOTICEABLE = 1.25
#: How often to look how far a share of failures has faded, in seconds.
FADING = 60.0


class Subject(NamedTuple):
    """A PvD, what is known of it (None: nothing), how often it flapped, whether it is the incumbent."""

    pvd: ProvisioningDomain
    known: Known | None
    flaps: int = 0
    incumbent: bool = False


class Prospects(NamedTuple):
    """What is expected, by name. ``until``: how long that holds at most; ``exploring``: what is set aside."""

    expected: dict[str, Expectation]
    until: float
    exploring: tuple[Place, ...]


def prospects(subjects: Sequence[Subject], host: str, port: int, ready: str, now: float) -> Prospects:
    """What is expected of these PvDs, at ``host``:``port`` with this readiness.

    HEv3 s5: what is known is set aside now and then, so that a path that has healed is found. That is so when
    a PvD that was blocked may be tried again, and when one that was slower than another was not tried for
    `EXPLORE_AFTER`. Then no times and no incumbent are given for this destination, so that each is in its
    place; after one race (`Place.explored`) they are back.
    """
    keys = levels(host, port)
    views = [_View(subject, keys, ready, now) for subject in subjects if subject.known is not None]
    level = _comparable(views)
    exploring: dict[str, Place] = {}
    until = inf
    times = [view.times[level] for view in views]
    best = min((t.ready for t in times if t is not None), default=inf)
    for view, t in zip(views, times, strict=True):
        due = view.released()
        if t is not None and t.ready > best * NOTICEABLE:
            due = min(due, max(t.at, view.explored()) + EXPLORE_AFTER)
        if due <= now and (place := view.closest()):
            exploring[view.name] = place
        else:
            until = min(until, due)
        until = min(until, view.until())
    expected = {
        pvd.name: Expectation(flaps=flaps, incumbent=incumbent and not exploring)
        for pvd, known, flaps, incumbent in subjects
        if known is None and (flaps or (incumbent and not exploring))
    }
    for view, t in zip(views, times, strict=True):
        known = t.ready if t is not None and not exploring else None
        expectation = view.expectation(known, view.name in exploring)
        if exploring and expectation.incumbent:
            expectation = expectation._replace(incumbent=False)
        if expectation != _NOTHING:
            expected[view.name] = expectation
    return Prospects(expected, until, tuple(exploring.values()))


_NOTHING = Expectation()


def _comparable(views: Sequence[_View]) -> int:
    """The closest level at which times are known of two PvDs, else of one."""
    counts = [sum(view.times[level] is not None for view in views) for level in range(3)]
    for least in (2, 1):
        for level, count in enumerate(counts):
            if count >= least:
                return level
    return 0


class _View:
    """One PvD as this destination sees it: the places of the three levels, and what holds of them now."""

    __slots__ = (
        "blocks",
        "errors",
        "here",
        "name",
        "now",
        "places",
        "port",
        "subject",
        "times",
        "tried_anew",
    )

    def __init__(self, subject: Subject, keys: tuple[PlaceKey, ...], ready: str, now: float) -> None:
        pvd, known = subject.pvd, subject.known
        assert known is not None
        self.subject = subject
        self.name = pvd.name
        self.now = now
        self.places = [known.places.get(key) for key in keys]
        self.here, self.port, _ = self.places
        self.times: list[Times | None] = [
            place.current(ready, now) if place is not None else None for place in self.places
        ]
        # What blocked another attachment of the same network is to be tried again in this one.
        self.tried_anew = known.attachment is not None and known.attachment != pvd.attachment
        self.blocks = {family: end for family in (WHOLE, 6, 4) if (end := self._blocked(family)) > now}
        # Of this host, else of this port: another port is no evidence.
        place = self.here or self.port
        self.errors = place.rate.share(now) if place is not None else 0.0

    def _blocked(self, family: int) -> float:
        """Until when a family (or the whole) is blocked for this destination; -inf if it is not.

        What failed at this port counts for each host, but for one where it has worked since.
        """
        here, port = self.here, self.port
        if self.tried_anew:
            return -inf
        end = here.blocked(family, self.now) if here is not None else -inf
        if port is not None and (of_port := port.blocked(family, self.now)) > end:
            worked = here.won.get(family, -inf) if here is not None else -inf
            if worked <= port.holes[family].failed_at:
                end = of_port
        return end

    def closest(self) -> Place | None:
        """The closest place of which anything is known."""
        return next((place for place in self.places if place is not None), None)

    def explored(self) -> float:
        """When this PvD was last given its chance, whether it was tried or not."""
        return max([place.explored for place in self.places if place is not None], default=-inf)

    def released(self) -> float:
        """When the PvD as a whole may be tried again, having been blocked; inf if there is nothing to try."""
        if WHOLE in self.blocks:
            return inf  # a look after its end will tell
        end = -inf
        for place in (self.here, self.port):
            if place is not None and (hole := place.holes.get(WHOLE)) and hole.on_probation(self.now):
                end = max(end, hole.until)
        if self.tried_anew:
            end = min(end, self.now)
        return end if end > self.explored() else inf

    def until(self) -> float:
        """When something that is known ends by itself."""
        ends = [*self.blocks.values(), *[times.expires() for times in self.times if times is not None]]
        if self.errors:
            ends.append(self.now + FADING)
        return min(ends, default=inf)

    def expectation(self, ready: float | None, retried: bool) -> Expectation:
        """What is expected of it. ``retried``: it is tried again, at a price that is known."""
        closest = next((times for times in self.times if times is not None), None)
        soon = closest.soon if closest is not None else None
        if retried:
            soon = PROBE_SOON if soon is None else min(soon, PROBE_SOON)
        _, _, flaps, incumbent = self.subject
        blocks = self.blocks
        return Expectation(
            ready,
            soon,
            WHOLE in blocks,
            tuple([family for family in blocks if family != WHOLE]),
            self.errors,
            flaps,
            incumbent,
            self.here.shown_rtts if self.here is not None else NO_RTTS,
        )
