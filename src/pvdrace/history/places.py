"""What is known of one PvD: of a host and port, of a port, of the PvD in general. Pure: time comes in.

Each level is learnt for itself; a closer one is asked first.
"""

from __future__ import annotations

from functools import lru_cache
from math import inf
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from ..names import fold
from .blackholes import BlackHole
from .estimates import Rate, Times, noticeable

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Hosts and ports that are known of a PvD, and addresses that are known of a host: the longest unused go.
PLACES_KEPT = 1024
ADDRESSES_KEPT = 16
#: The families whose failures are told apart; WHOLE: the PvD, whatever the family.
WHOLE = 0
#: So many failures of one family, and it is blocked here. A PvD as a whole makes do with one: nothing is left
#: to try in it.
FAILURES_OF_A_FAMILY = 2.0

NO_RTTS: Mapping[str, float] = MappingProxyType({})


class PlaceKey(NamedTuple):
    """Host and port; no host: any; no port: any."""

    host: str = ""
    port: int = 0


ANYWHERE = PlaceKey()


class Place:
    """What is known of one PvD for one destination, at one level.

    ``times`` by readiness; ``holes``, and ``won``, the moment of the last connection, by family; ``rtts`` by
    address. ``touched``: when anything was learnt. ``explored``: when a race last set aside what is known
    here. ``host``: where the last failure of a family was.
    """

    __slots__ = ("explored", "holes", "host", "rate", "rtts", "shown_rtts", "times", "touched", "won")

    def __init__(self, now: float) -> None:
        self.times: dict[str, Times] = {}
        self.holes: dict[int, BlackHole] = {}
        self.rate = Rate(now)
        self.rtts: dict[str, Times] = {}
        self.shown_rtts = NO_RTTS
        self.won: dict[int, float] = {}
        self.explored = -inf
        self.touched = now
        self.host = ""

    def took(self, ready: str, seconds: float, now: float) -> bool:
        """It was ready after so many seconds; whether that changes what is expected."""
        times = self.times.get(ready)
        if times is None:
            self.times[ready] = Times(seconds, now)
            return True
        return times.measured(seconds, now)

    def took_longer(self, ready: str, seconds: float, now: float, *, alone: bool) -> bool:
        """It was not ready after so many seconds, when the race ended: a lower bound, if it is long.

        ``alone``: also where nothing is known to compare it with. Whether that changes what is expected.
        """
        times = self.times.get(ready)
        if times is None or times.expires() <= now:
            if alone:
                self.times[ready] = Times(seconds, now, bound=True)
            return alone
        return seconds > times.mean and times.measured(seconds, now, bound=True)

    def answered(self, remote: str, rtt: float, now: float) -> bool:
        """A handshake with an address took a round trip so long; whether that changes what is expected."""
        known = self.rtts.pop(remote, None)
        if known is None:
            if len(self.rtts) >= ADDRESSES_KEPT:
                del self.rtts[next(iter(self.rtts))]
            known = Times(rtt, now)
        else:
            known.measured(rtt, now)
        self.rtts[remote] = known
        shown = self.shown_rtts.get(remote)
        if shown is not None and not noticeable(shown, known.mean):
            return False
        self.shown_rtts = MappingProxyType({address: times.mean for address, times in self.rtts.items()})
        return True

    def failed(self, family: int, began: float, now: float, weight: float = 1.0) -> bool:
        """A family (or the whole) did not work; whether that changes what is expected."""
        hole = self.holes.get(family)
        if hole is None:
            hole = self.holes[family] = BlackHole(1.0 if family == WHOLE else FAILURES_OF_A_FAMILY)
        return hole.failed(began, now, weight)

    def worked(self, family: int, now: float) -> bool:
        """A family (and so the whole) did what was asked; whether that changes what is expected."""
        changed = False
        for each in (WHOLE, family):
            self.won[each] = now
            if hole := self.holes.get(each):
                changed = hole.worked(now) or changed
        return changed

    def counted(self, good: int, bad: int, now: float) -> bool:
        """So many attempts went well and so many failed; whether that changes what is expected."""
        rate = self.rate
        if not bad and not rate.bad:
            rate.count(good, 0, now)
            return False
        before = rate.share(now)
        rate.count(good, bad, now)
        return rate.share(now) != before

    def blocked(self, family: int, now: float) -> float:
        """Until when a family (or the whole) is blocked here; -inf if it is not."""
        hole = self.holes.get(family)
        return hole.until if hole is not None and now < hole.until else -inf

    def current(self, ready: str, now: float) -> Times | None:
        """The times of this readiness, unless they have expired."""
        times = self.times.get(ready)
        return times if times is not None and now < times.expires() else None


class Known:
    """All that is known of one PvD instance. ``dns``: how long its resolvers take.

    ``attachment``: the one of which its black holes are known, None where any will do. In another attachment
    of the same network they are tried again at once.
    """

    __slots__ = ("attachment", "dns", "places")

    def __init__(self, attachment: int | None = None) -> None:
        self.attachment = attachment
        self.dns: Times | None = None
        self.places: dict[PlaceKey, Place] = {}  # the longest unused first

    def attached(self, attachment: int) -> bool:
        """It is in this attachment now; whether that changes what is expected."""
        if attachment == self.attachment:
            return False
        changed = self.attachment is not None
        self.attachment = attachment
        if changed:
            for place in self.places.values():
                for hole in place.holes.values():
                    hole.until = min(hole.until, hole.failed_at)
        return changed

    def learning(self, keys: tuple[PlaceKey, ...], now: float) -> list[Place]:
        """These places, made where they are not there yet."""
        found = []
        for key in keys:
            place = self.places.pop(key, None)
            if place is None:
                if len(self.places) >= PLACES_KEPT:
                    del self.places[next(iter(self.places))]
                place = Place(now)
            self.places[key] = place
            place.touched = now
            found.append(place)
        return found

    def resolved(self, seconds: float, now: float) -> None:
        """Its resolvers answered after so many seconds."""
        if self.dns is None:
            self.dns = Times(seconds, now)
        else:
            self.dns.measured(seconds, now)


@lru_cache(maxsize=4096)
def levels(host: str, port: int) -> tuple[PlaceKey, PlaceKey, PlaceKey]:
    """Host and port, the port, the PvD in general."""
    return PlaceKey(fold(host), port), PlaceKey("", port), ANYWHERE
