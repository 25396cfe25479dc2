"""What the application wants of a path. Pure.

The words are RFC 9622 s6.2's: *require* and *prohibit* always hold, *prefer* and *avoid* order what is left.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from .selectors import Selector, near

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .model import ProvisioningDomain

_T = TypeVar("_T")


class Preference(enum.IntEnum):
    """How much a property of a path is wanted (RFC 9622 s6.2), from most to least."""

    REQUIRE = 2
    PREFER = 1
    NONE = 0
    AVOID = -1
    PROHIBIT = -2


class CapacityProfile(enum.StrEnum):
    """What a connection is for (RFC 9622 s8.1.6 ``connCapacityProfile``), and so what may be paid for it."""

    DEFAULT = "default"
    SCAVENGER = "scavenger"
    INTERACTIVE = "interactive"
    NON_INTERACTIVE = "non-interactive"
    STREAMING = "streaming"
    CAPACITY_SEEKING = "capacity-seeking"


#: How the branches of a race follow each other (RFC 9623 s4.2).
RACING = ("staggered", "failover")


#: The rules by which PvDs may be compared, in their usual order; the last four only where they are asked for.
RANKING_RULES = (
    *("zone", "route", "preference", "reachability", "cost", "validated", "time", "stability", "incumbent"),
    *("choice", "hints", "name", "security", "rate", "errors", "spread"),
)


@dataclass(frozen=True, init=False, slots=True)
class Policy:
    """What is required, preferred, avoided and prohibited of the path of a connection.

    - Required selectors of one kind are alternatives; those of different kinds must all hold:
      ``require=["pvd:wifi", "pvd:vpn", "cost:unmetered"]`` is wifi or vpn, and unmetered.
    - One prohibited selector is enough to exclude a PvD.
    - Of the preferred, the one written first is preferred most.
    - Required and prohibited *family* selectors restrict the families that may be used inside every PvD, and
      exclude a PvD only if that leaves it none. ``prefer=["family:ipv6"]`` prefers PvDs that have IPv6,
      ``avoid=["family:ipv4"]`` avoids those that have nothing else.

    - ``capacity_profile`` is what the connection is for (RFC 9622 s8.1.6, see `CapacityProfile`).
    - ``latency_budget``: the seconds in which a PvD that costs less is *adequate*: one that costs more starts
      when those before it have failed, or when the budget is spent. None: what the capacity profile has.
    - ``min_rate``: bits a second that a PvD must have, where its rate is known.
    - ``rank_by``: the ranking rules that compare PvDs, by name, instead of all of them.
    - ``racing``: ``staggered`` (by head starts) or ``failover`` (the next when all before it have failed;
      RFC 9623 s4.2.3).
    - ``priority``: who has a higher one takes an exclusive PvD from who has a lower one.
    - ``cross_pvd``: an answer may be dialled in another PvD than the one that gave it (RFC 7556 s5.2.1).

    Raises ValueError for a word that is no selector and a value that makes no sense. A policy of nothing is
    false.
    """

    require: tuple[Selector, ...]
    prefer: tuple[Selector, ...]
    avoid: tuple[Selector, ...]
    prohibit: tuple[Selector, ...]
    capacity_profile: CapacityProfile | None
    latency_budget: float | None
    min_rate: float | None
    rank_by: tuple[str, ...]
    racing: str | None
    priority: int
    cross_pvd: bool
    families: tuple[int, ...] = field(compare=False, repr=False)
    """The families, of (6, 4), that may be used."""
    _alternatives: tuple[tuple[Selector, ...], ...] = field(compare=False, repr=False)
    _prohibited: tuple[Selector, ...] = field(compare=False, repr=False)

    def __init__(
        self,
        require: Iterable[str | Selector] = (),
        prefer: Iterable[str | Selector] = (),
        avoid: Iterable[str | Selector] = (),
        prohibit: Iterable[str | Selector] = (),
        *,
        capacity_profile: CapacityProfile | str | None = None,
        latency_budget: float | None = None,
        min_rate: float | None = None,
        rank_by: Iterable[str] = (),
        racing: str | None = None,
        priority: int = 0,
        cross_pvd: bool = False,
    ) -> None:
        for name, words in (
            ("require", require),
            ("prefer", prefer),
            ("avoid", avoid),
            ("prohibit", prohibit),
        ):
            object.__setattr__(self, name, _selectors(name, words))
        if capacity_profile is not None:
            capacity_profile = _capacity_profile(capacity_profile)
        if latency_budget is not None and not _is_number(latency_budget):
            raise ValueError(f"latency_budget must be seconds of at least 0, not {latency_budget!r}")
        if min_rate is not None and not (_is_number(min_rate) and min_rate > 0):
            raise ValueError(f"min_rate must be bits a second above 0, not {min_rate!r}")
        if racing is not None and racing not in RACING:
            raise ValueError(f"racing must be one of {', '.join(RACING)}, not {racing!r}")
        if isinstance(priority, bool) or not isinstance(priority, int):
            raise ValueError(f"priority must be a whole number, not {priority!r}")
        object.__setattr__(self, "capacity_profile", capacity_profile)
        object.__setattr__(self, "latency_budget", latency_budget)
        object.__setattr__(self, "min_rate", min_rate)
        object.__setattr__(self, "rank_by", _rank_by(rank_by))
        object.__setattr__(self, "racing", racing)
        object.__setattr__(self, "priority", priority)
        object.__setattr__(self, "cross_pvd", bool(cross_pvd))
        object.__setattr__(self, "families", _families(self.require, self.prohibit))
        object.__setattr__(self, "_alternatives", _by_kind(self.require))
        object.__setattr__(self, "_prohibited", tuple(s for s in self.prohibit if s.kind != "family"))

    def __bool__(self) -> bool:
        return bool(
            self.require
            or self.prefer
            or self.avoid
            or self.prohibit
            or self.capacity_profile
            or self.rank_by
            or self.racing
            or self.priority
            or self.cross_pvd
        ) or not (self.latency_budget is None and self.min_rate is None)

    def __iter__(self) -> Iterator[tuple[Preference, Selector]]:
        """All of it, in the order of application (RFC 9623 s4.1.3): prohibit, require, prefer, avoid."""
        yield from ((Preference.PROHIBIT, selector) for selector in self.prohibit)
        yield from ((Preference.REQUIRE, selector) for selector in self.require)
        yield from ((Preference.PREFER, selector) for selector in self.prefer)
        yield from ((Preference.AVOID, selector) for selector in self.avoid)

    def __str__(self) -> str:
        return (
            ", ".join(f"{preference.name.lower()} {selector}" for preference, selector in self)
            or "no preference"
        )

    def prohibited_by(self, pvd: ProvisioningDomain) -> Selector | None:
        """The selector that prohibits a PvD as a whole, or None. Families are `families`' matter."""
        return _first(self._prohibited, pvd)

    def lacking(self, pvd: ProvisioningDomain) -> tuple[Selector, ...]:
        """The required alternatives of which a PvD satisfies none; empty if it satisfies all requirements."""
        for alternatives in self._alternatives:
            if _first(alternatives, pvd) is None:
                return alternatives
        return ()

    def preferred_by(self, pvd: ProvisioningDomain) -> int:
        """The position in ``prefer`` of the first that prefers a PvD, its length if none does."""
        found = _first(self.prefer, pvd)
        return len(self.prefer) if found is None else self.prefer.index(found)

    def avoided_by(self, pvd: ProvisioningDomain) -> Selector | None:
        """The selector that avoids a PvD, or None."""
        for selector in self.avoid:
            if selector.kind == "family":
                if pvd.families and set(pvd.families) <= set(selector.families()):
                    return selector
            elif selector.matches(pvd):
                return selector
        return None


def _selectors(name: str, words: Iterable[str | Selector]) -> tuple[Selector, ...]:
    return tuple(w if isinstance(w, Selector) else _parsed(name, w) for w in several(name, words))


def _capacity_profile(word: str) -> CapacityProfile:
    try:
        return CapacityProfile(word)
    except ValueError:
        raise ValueError(
            f"capacity_profile must be one of {', '.join(CapacityProfile)}, not {word!r}"
        ) from None


def _rank_by(words: Iterable[str]) -> tuple[str, ...]:
    rules = tuple(several("rank_by", words))
    for word in rules:
        if word not in RANKING_RULES:
            raise ValueError(f"rank_by: no ranking rule {word!r}{near(str(word), RANKING_RULES)}")
    return rules


def _is_number(value: object) -> bool:
    """Whether it is a number of at least 0; infinity is one."""
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 0


def _parsed(name: str, word: str) -> Selector:
    if not isinstance(word, str):
        raise ValueError(f"{name}: {word!r} is not a selector: write text such as 'pvd:wifi'")
    return Selector.parse(word)


def _first(selectors: tuple[Selector, ...], pvd: ProvisioningDomain) -> Selector | None:
    for selector in selectors:
        if selector.matches(pvd):
            return selector
    return None


def _by_kind(require: tuple[Selector, ...]) -> tuple[tuple[Selector, ...], ...]:
    kinds = dict.fromkeys(s.kind for s in require if s.kind != "family")
    return tuple(tuple(s for s in require if s.kind == kind) for kind in kinds)


def _families(require: tuple[Selector, ...], prohibit: tuple[Selector, ...]) -> tuple[int, ...]:
    required = [f for s in require if s.kind == "family" for f in s.families()] or [6, 4]
    prohibited = [f for s in prohibit if s.kind == "family" for f in s.families()]
    return tuple(f for f in (6, 4) if f in required and f not in prohibited)


def several(name: str, values: Iterable[_T]) -> Iterable[_T]:
    """The values, or ValueError for a lone one where a list belongs."""
    if isinstance(values, str | bytes | Selector | int):  # a lone word would be taken letter by letter
        shown = str(values) if isinstance(values, Selector) else values
        raise ValueError(f"{name} takes a list: write {name}=[{shown!r}]")
    return values
