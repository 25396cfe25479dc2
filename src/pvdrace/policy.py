"""What the application wants of a path: selectors, policies, and rules by destination. Pure.

The words are RFC 9622 s6.2's: *require* and *prohibit* always hold, *prefer* and *avoid* order what is left.
"""

from __future__ import annotations

import enum
import ipaddress
import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, TypeVar

from .model import COST_FLAGS, CostClass, Endpoint, ProvisioningDomain, Reachability, parse_literal
from .names import fold, pattern_to_ascii

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

_T = TypeVar("_T")


class Preference(enum.IntEnum):
    """How much a property of a path is wanted (RFC 9622 s6.2), from most to least."""

    REQUIRE = 2
    PREFER = 1
    NONE = 0
    AVOID = -1
    PROHIBIT = -2


@dataclass(frozen=True, slots=True)
class Selector:
    """A set of PvDs, written ``kind:pattern``; a ``*`` in the pattern stands for any text.

    =====================  ==========================================================================
    ``pvd:NAME``           by name
    ``interface:NAME``     by device; the one kind in which case counts
    ``type:WORD``          by type: wired, wifi, cellular, vpn, ... or your own word
    ``group:WORD``         by one of its groups
    ``cost:WORD``          by cost class (unmetered, fixed, variable, unknown) or flag (roaming, ...)
    ``family:WORD``        by the families of its addresses: ipv4, ipv6
    ``reachability:WORD``  by what it is known to reach: unknown, validated, portal, partial, none
    =====================  ==========================================================================
    """

    kind: str
    pattern: str

    def __post_init__(self) -> None:
        kind, pattern = self.kind, self.pattern
        if kind not in _VALUES:
            raise ValueError(f"selector {str(self)!r}: no kind {kind!r}{_near(kind, KINDS)}")
        if not pattern:
            raise ValueError(
                f"selector {str(self)!r} selects nothing: write {kind}:NAME, or {kind}:* for any"
            )
        words = _WORDS.get(kind)
        if words and not any(_glob(pattern, word) for word in words):
            hint = _HINTS.get((kind, pattern.lower())) or _near(pattern, words)
            raise ValueError(f"selector {str(self)!r}: no {kind} {pattern!r}{hint}")

    @classmethod
    def parse(cls, text: str) -> Selector:
        """Read ``pvd:wifi*``. Raises ValueError, one line that says what to write instead."""
        kind, colon, pattern = (part.strip() for part in text.partition(":"))
        if not colon:
            word = kind or "NAME"
            others = ", ".join(f"{kind}:{word}" for kind in KINDS[1:4])
            raise ValueError(f"selector {text!r} has no kind: write pvd:{word}, or one of {others}")
        return cls(kind, pattern)

    def matches(self, pvd: ProvisioningDomain) -> bool:
        """Whether a PvD is in the set."""
        if self.kind == "interface":
            return pvd.interface is not None and _glob(self.pattern, pvd.interface, case_sensitive=True)
        pattern, values = self.pattern, _VALUES[self.kind](pvd)
        return pattern in values or any(_glob(pattern, value) for value in values)

    def families(self) -> tuple[int, ...]:
        """For a family selector, the families it names, of (6, 4)."""
        return tuple(f for f in (6, 4) if _glob(self.pattern, f"ipv{f}"))

    def __str__(self) -> str:
        return f"{self.kind}:{self.pattern}"


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

    Raises ValueError for a word that is no selector. A policy of nothing is false.
    """

    require: tuple[Selector, ...]
    prefer: tuple[Selector, ...]
    avoid: tuple[Selector, ...]
    prohibit: tuple[Selector, ...]
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
    ) -> None:
        for name, words in (
            ("require", require),
            ("prefer", prefer),
            ("avoid", avoid),
            ("prohibit", prohibit),
        ):
            object.__setattr__(self, name, _selectors(name, words))
        object.__setattr__(self, "families", _families(self.require, self.prohibit))
        object.__setattr__(self, "_alternatives", _by_kind(self.require))
        object.__setattr__(self, "_prohibited", tuple(s for s in self.prohibit if s.kind != "family"))

    def __bool__(self) -> bool:
        return bool(self.require or self.prefer or self.avoid or self.prohibit)

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


@dataclass(frozen=True, init=False, slots=True)
class Match:
    """Conditions on a destination, all of which must hold; one that is left empty holds always.

    ``host``: a name; ``*.corp.example`` is every name below it, ``.corp.example`` is that and the name
    itself; a ``*`` stands for any text; case and a final dot do not count, and ``bücher.example`` is
    ``xn--bcher-kva.example``. ``port``: numbers. ``subnet``:
    prefixes that an IP literal must lie in; a name lies in none. Raises ValueError for what is not a port
    or a prefix, and for a name beyond ASCII that is none.
    """

    host: tuple[str, ...]
    port: tuple[int, ...]
    subnet: tuple[str, ...]

    def __init__(
        self, host: Iterable[str] = (), port: Iterable[int] = (), subnet: Iterable[str] = ()
    ) -> None:
        object.__setattr__(self, "host", tuple(_pattern(h) for h in _several("host", host)))
        object.__setattr__(self, "port", tuple(_port(p) for p in _several("port", port)))
        object.__setattr__(self, "subnet", tuple(str(_subnet(s)) for s in _several("subnet", subnet)))

    def matches(self, endpoint: Endpoint) -> bool:
        """Whether a destination fulfils all conditions."""
        if self.port and endpoint.port not in self.port:
            return False
        literal = parse_literal(endpoint.host)
        if self.subnet and (literal is None or not any(_in(literal.address, s) for s in self.subnet)):
            return False
        name = literal.address if literal else fold(endpoint.host)
        return not self.host or any(_host_matches(pattern, name) for pattern in self.host)


@dataclass(frozen=True, slots=True)
class Rule:
    """A policy for some destinations."""

    match: Match
    policy: Policy


def first_match(rules: Sequence[Rule], endpoint: Endpoint) -> tuple[int, Rule] | None:
    """The first rule for a destination and its number, counted from 1; None if there is none."""
    return next(((n, rule) for n, rule in enumerate(rules, 1) if rule.match.matches(endpoint)), None)


def layers(
    endpoint: Endpoint,
    *,
    call: Policy | None = None,
    rules: Sequence[Rule] = (),
    application: Policy | None = None,
) -> list[tuple[str, Policy]]:
    """The policies that hold for one call and what they are called, the closest to the caller first."""
    found: list[tuple[str, Policy]] = []
    if call:
        found.append(("call", call))
    rule = first_match(rules, endpoint)
    if rule is not None:
        found.append((f"rule {rule[0]}", rule[1].policy))
    if application:
        found.append(("application", application))
    return found


#: For each kind of selector, the words of a PvD that a pattern is held against.
_VALUES: dict[str, Callable[[ProvisioningDomain], Sequence[str]]] = {
    "pvd": lambda pvd: (pvd.name,),
    "interface": lambda pvd: (pvd.interface,) if pvd.interface else (),
    "type": lambda pvd: (pvd.type,),
    "group": lambda pvd: pvd.groups,
    "cost": lambda pvd: (pvd.cost.kind.value, *pvd.cost.flags),
    "family": lambda pvd: tuple(f"ipv{family}" for family in pvd.families),
    "reachability": lambda pvd: (pvd.reachability.value,),
}
KINDS = tuple(_VALUES)

#: The kinds that have a closed list of words.
_WORDS: dict[str, tuple[str, ...]] = {
    "cost": (*(kind.value for kind in CostClass), *sorted(COST_FLAGS)),
    "family": ("ipv4", "ipv6"),
    "reachability": tuple(kind.value for kind in Reachability),
}
#: Where the nearest word would be the opposite of what was meant.
_HINTS = {("cost", "metered"): ", write cost:fixed and cost:variable"}


def _selectors(name: str, words: Iterable[str | Selector]) -> tuple[Selector, ...]:
    return tuple(w if isinstance(w, Selector) else _parsed(name, w) for w in _several(name, words))


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


def _several(name: str, values: Iterable[_T]) -> Iterable[_T]:
    if isinstance(values, str | bytes | Selector | int):  # a lone word would be taken letter by letter
        shown = str(values) if isinstance(values, Selector) else values
        raise ValueError(f"{name} takes a list: write {name}=[{shown!r}]")
    return values


def _near(word: str, words: Sequence[str]) -> str:
    import difflib  # 5 ms that only a mistake pays for

    close = difflib.get_close_matches(word.lower(), words, n=1)
    meant = f", did you mean {close[0]!r}?" if close else ""
    return f"{meant}; there are {', '.join(words)}"


def _glob(pattern: str, text: str, *, case_sensitive: bool = False) -> bool:
    if "*" not in pattern:
        return pattern == text if case_sensitive else pattern.lower() == text.lower()
    return _compiled(pattern, case_sensitive).fullmatch(text) is not None


@lru_cache(maxsize=1024)
def _compiled(pattern: str, case_sensitive: bool) -> re.Pattern[str]:
    parts = (re.escape(part) for part in pattern.split("*"))
    return re.compile(".*".join(parts), re.DOTALL if case_sensitive else re.DOTALL | re.IGNORECASE)


def _host_matches(pattern: str, name: str) -> bool:
    if pattern.startswith("."):
        return name == pattern[1:] or name.endswith(pattern)
    return _glob(pattern, name)


def _pattern(host: str) -> str:
    return pattern_to_ascii(host).removesuffix(".").lower()


def _port(port: object) -> int:
    if not isinstance(port, int) or isinstance(port, bool) or not 0 < port < 65536:
        raise ValueError(f"port {port!r} is not a number from 1 to 65535")
    return port


@lru_cache(maxsize=1024)
def _subnet(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        return ipaddress.ip_network(text)
    except (ValueError, TypeError) as error:
        raise ValueError(f"subnet {text!r} is not a prefix: {error}") from None


def _in(address: str, subnet: str) -> bool:
    return ipaddress.ip_address(address) in _subnet(subnet)
