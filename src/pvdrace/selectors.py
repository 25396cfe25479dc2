"""The words that name sets of PvDs: ``kind:pattern``. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from .model import COST_FLAGS, CostClass, ProvisioningDomain, Reachability

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


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
            raise ValueError(f"selector {str(self)!r}: no kind {kind!r}{near(kind, KINDS)}")
        if not pattern:
            raise ValueError(
                f"selector {str(self)!r} selects nothing: write {kind}:NAME, or {kind}:* for any"
            )
        words = _WORDS.get(kind)
        if words and not any(glob(pattern, word) for word in words):
            hint = _HINTS.get((kind, pattern.lower())) or near(pattern, words)
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
            return pvd.interface is not None and glob(self.pattern, pvd.interface, case_sensitive=True)
        pattern, values = self.pattern, _VALUES[self.kind](pvd)
        return pattern in values or any(glob(pattern, value) for value in values)

    def families(self) -> tuple[int, ...]:
        """For a family selector, the families it names, of (6, 4)."""
        return tuple(f for f in (6, 4) if glob(self.pattern, f"ipv{f}"))

    def __str__(self) -> str:
        return f"{self.kind}:{self.pattern}"


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


def near(word: str, words: Sequence[str]) -> str:
    """What may have been meant, for an error: ``, did you mean 'wifi'?; there are …``."""
    import difflib  # 5 ms that only a mistake pays for

    close = difflib.get_close_matches(word.lower(), words, n=1)
    meant = f", did you mean {close[0]!r}?" if close else ""
    return f"{meant}; there are {', '.join(words)}"


def glob(pattern: str, text: str, *, case_sensitive: bool = False) -> bool:
    """Whether a text is what a pattern says, in which ``*`` stands for any text."""
    if "*" not in pattern:
        return pattern == text if case_sensitive else pattern.lower() == text.lower()
    return _compiled(pattern, case_sensitive).fullmatch(text) is not None


@lru_cache(maxsize=1024)
def _compiled(pattern: str, case_sensitive: bool) -> re.Pattern[str]:
    parts = (re.escape(part) for part in pattern.split("*"))
    return re.compile(".*".join(parts), re.DOTALL if case_sensitive else re.DOTALL | re.IGNORECASE)
