"""What a race looks like on paper: a lane per PvD, a row per lookup and attempt, bars in seconds. Pure.

Not to be confused with `pvdrace.race.timeline`, which tells the same story in words.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

#: ``ready`` is what comes after the transport handshake: TLS, or the application's check.
Kind = Literal["lookup", "handshake", "ready"]
State = Literal["pending", "answered", "won", "failed", "cancelled", "skipped", "idle"]
Outcome = Literal["running", "won", "lost", "cancelled"]


@dataclass(frozen=True, slots=True)
class Bar:
    """Something took time. Times are seconds from the race's start."""

    kind: Kind
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Row:
    """A lookup (``label`` is its type), an attempt (its remote address), or a remark without bars.

    ``facts`` is what else is known of it, as names and values for people. ``at`` is when a remark was made,
    in seconds from the race's start, where that is known.
    """

    label: str
    state: State
    note: str = ""
    bars: tuple[Bar, ...] = ()
    kind: Literal["lookup", "attempt", "remark"] = "remark"
    facts: tuple[tuple[str, str], ...] = ()
    at: float | None = None

    @property
    def seconds(self) -> float | None:
        """How long it took, or has taken so far."""
        return self.bars[-1].end - self.bars[0].start if self.bars else None


class Why(NamedTuple):
    """A reason: the rule that gave it, and what it saw."""

    rule: str
    text: str


class LeftOut(NamedTuple):
    """A PvD that does not run, and why."""

    pvd: str
    reason: str
    rule: str = ""


@dataclass(frozen=True, slots=True)
class Lane:
    """One PvD of the race; ``delay`` is its head start in words, empty for the first to run.

    ``head_start`` is the same in seconds, None for one that runs only when all before it have failed.
    ``because`` is why it stands where it stands.
    """

    pvd: str
    delay: str
    won: bool
    rows: tuple[Row, ...]
    head_start: float | None = 0.0
    because: tuple[Why, ...] = ()

    @property
    def began(self) -> float | None:
        """When the first thing was done in it, None if nothing was."""
        return min((row.bars[0].start for row in self.rows if row.bars), default=None)


@dataclass(frozen=True, slots=True)
class Timeline:
    """A whole race. ``until`` is its length so far in seconds.

    ``order`` has for each PvD that may run what ranking saw in it, ``excluded`` why the others may not.
    ``ready`` is what a winner had to have done: ``tcp``, ``tls`` or the name of the application's check.
    """

    title: str
    verdict: str
    state: Outcome
    lanes: tuple[Lane, ...]
    order: tuple[tuple[str, str], ...]
    excluded: tuple[LeftOut, ...]
    until: float
    ready: str = "tcp"

    @property
    def kinds(self) -> frozenset[Kind]:
        """The kinds of bars that are there to see."""
        return frozenset(bar.kind for lane in self.lanes for row in lane.rows for bar in row.bars)

    def name_of(self, kind: Kind) -> str:
        """What a kind of bar is called for people."""
        after = "TLS" if self.ready == "tls" else "check"
        return {"lookup": "lookup", "handshake": "TCP", "ready": after}[kind]


def say_seconds(seconds: float) -> str:
    """A duration as people write it, with the digits that matter: ``8.4 ms``, ``346 ms``, ``2.05 s``."""
    if seconds < 0.00995:
        return f"{seconds * 1000:.1f} ms"
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.2f} s" if seconds < 9.995 else f"{seconds:.1f} s"
