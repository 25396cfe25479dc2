"""What is known, as rows that can be put away, merged with what others know, and taken back. Pure.

Only of PvDs that are recognised again, by their identity. Round-trip times stay in memory (RFC 9623 s4: they
are short-lived), and so does what belongs to a moment: incumbents and flaps.
"""

from __future__ import annotations

from math import inf, isfinite
from typing import TYPE_CHECKING, Any, NamedTuple

from .blackholes import LONGEST_BLOCK, BlackHole
from .estimates import RATES_HALF_LIFE, Rate, Times
from .places import FAILURES_OF_A_FAMILY, WHOLE, Known, Place, PlaceKey

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .history import History

READY = "ready:"
DNS, RATE, HOLE, WON = "dns", "rate", "hole:", "won:"
_FAMILIES = (WHOLE, 4, 6)


class Fact(NamedTuple):
    """One thing that is known of a PvD, for a host and port (none: any). ``at``: when it was learnt, seconds.

    ==============  ======================  =====================  =======================
    ``kind``        ``x``                   ``y``                  ``z``
    ==============  ======================  =====================  =======================
    ``ready:NAME``  mean, seconds           mean deviation         1 for a lower bound
    ``dns``         mean, seconds           mean deviation
    ``rate``        successes, faded        failures, faded
    ``hole:N``      failures                length of the block    its end, 0 for none
    ``won:N``
    ==============  ======================  =====================  =======================

    N is a family, 0 for all of the PvD.
    """

    pvd: str
    identity: str
    host: str
    port: int
    kind: str
    x: float = 0.0
    y: float = 0.0
    z: float = 0.0
    at: float = 0.0

    @property
    def key(self) -> tuple[str, str, str, int, str]:
        """What it is about."""
        return self[:5]

    def shifted(self, seconds: float) -> Fact:
        """The same on another clock."""
        end = self.z + seconds if self.kind.startswith(HOLE) and self.z else self.z
        return self._replace(at=self.at + seconds, z=end)


def fact(row: tuple[Any, ...]) -> Fact | None:
    """The fact that a row from outside says, None if it cannot be one."""
    if len(row) != len(Fact._fields):
        return None
    pvd, identity, host, port, kind, *numbers = row
    texts = (pvd, identity, host, kind)
    if not all(isinstance(text, str) for text in texts) or type(port) is not int or not 0 <= port <= 65535:
        return None
    if not all(isinstance(n, int | float) and isfinite(n) and n >= 0 for n in numbers):
        return None
    known = kind.startswith(READY) or kind in (DNS, RATE)
    if not (known or kind in [f"{word}{family}" for word in (HOLE, WON) for family in _FAMILIES]):
        return None
    return Fact(*row) if pvd and identity else None


def facts(history: History, since: float = -inf) -> list[Fact]:
    """What is known of PvDs that are recognised again, and was learnt after ``since``."""
    found: list[Fact] = []
    for (name, identity), known in history.known.items():
        if not isinstance(identity, str):
            continue
        if (dns := known.dns) is not None and dns.at > since:
            found.append(Fact(name, identity, "", 0, DNS, dns.mean, dns.deviation, 0.0, dns.at))
        for key in reversed(known.places):  # the last touched first
            place = known.places[key]
            if place.touched <= since:
                break
            found += [
                Fact(name, identity, *key, kind, x, y, z, at)
                for kind, x, y, z, at in _of_place(place)
                if at > since
            ]
    return found


def _of_place(place: Place) -> Iterator[tuple[str, float, float, float, float]]:
    for ready, times in place.times.items():
        yield f"{READY}{ready}", times.mean, times.deviation, float(times.bound), times.at
    if place.rate.good or place.rate.bad:
        yield RATE, place.rate.good, place.rate.bad, 0.0, place.rate.at
    for family, hole in place.holes.items():
        end = hole.until if hole.until > -inf else 0.0
        at = max(hole.failed_at, hole.worked_at)
        yield f"{HOLE}{family}", hole.failures, hole.span, end, at
    for family, at in place.won.items():
        yield f"{WON}{family}", 0.0, 0.0, 0.0, at


def merged(old: Fact, new: Fact, since: float) -> Fact:
    """What two say of the same thing, where ``new`` knows of what was put away until ``since``.

    The later one, if nobody else has learnt anything since. Of two that did not know of each other: the mean
    of times, the larger share; but a block or a success is a moment's, and the last one counts.
    """
    if old.at <= since or old.kind.startswith((HOLE, WON)):
        return new if new.at >= old.at else old
    at = max(old.at, new.at)
    if old.kind == RATE:
        before, after = (0.5 ** ((at - one.at) / RATES_HALF_LIFE) for one in (old, new))
        return new._replace(x=max(old.x * before, new.x * after), y=max(old.y * before, new.y * after), at=at)
    if old.z != new.z:  # a measurement counts, not a lower bound
        return (new if old.z else old)._replace(at=at)
    return new._replace(x=(old.x + new.x) / 2, y=max(old.y, new.y), at=at)


def restore(history: History, known: Iterable[Fact], now: float) -> None:
    """Let a history know these, as if it had learnt them: the oldest first, so that the newest stay."""
    for each in sorted(known, key=lambda one: one.at):
        each = each._replace(at=min(each.at, now))  # a clock may have been put back
        one = history.known.setdefault((each.pvd, each.identity), Known())
        if each.kind == DNS:
            one.dns = Times.restored(each.x, each.y, each.at)
            continue
        (place,) = one.learning((PlaceKey(each.host, each.port),), each.at)
        _into(place, each, now)
    history.forget_answers()


def _into(place: Place, each: Fact, now: float) -> None:
    word, _, rest = each.kind.partition(":")
    if each.kind == RATE:
        place.rate = Rate.restored(each.x, each.y, each.at)
    elif word == "ready":
        place.times[rest] = Times.restored(each.x, each.y, each.at, bound=each.z > 0)
    elif word == "won":
        place.won[int(rest)] = each.at
    else:
        family = int(rest)
        hole = BlackHole(1.0 if family == WHOLE else FAILURES_OF_A_FAMILY)
        hole.failures, hole.span = each.x, min(each.y, LONGEST_BLOCK)
        if each.x:
            hole.failed_at = each.at
            hole.until = min(each.z, now + LONGEST_BLOCK) if each.z else -inf
        else:
            hole.worked_at = each.at
        place.holes[family] = hole
