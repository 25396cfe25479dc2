"""The report: every lookup, every attempt, every reason, as a value. Pure.

A report holds what the race was given and what its log says; everything else is derived when it is asked
for, so that a connection that nobody asks about costs nothing. What it holds is enough to run the race
again: `RaceReport.replay` feeds the log to a fresh core.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from . import timeline
from .actions import Action, Cancel, Connect, Lookup, Skip
from .events import PvdWithdrawn
from .race import Lost, Race, Won
from .records import AttemptRecord as AttemptRecord
from .records import LookupRecord as LookupRecord
from .records import records

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..model import Endpoint, Ranking
    from ..pictures.colours import Scheme
    from .events import Event


@dataclass(frozen=True)
class RaceReport:
    """What a race did and why. ``str()`` is the timeline; `to_json` the schema ``pvdrace.report/1``."""

    endpoint: Endpoint
    ranking: Ranking
    log: list[tuple[float, Event | Action]] = field(repr=False)
    started: float = 0.0
    """The clock's reading at the start, in seconds; the log's times are readings of the same clock."""
    result: Won | Lost | None = None
    ready: str = "tcp"
    """What a winner had to have done: ``tcp``, ``tls`` or the name of the application's check."""
    settings: dict[str, Any] = field(default_factory=dict, repr=False)
    """The keyword arguments of `Race` that this race was given: pacing, hold, timeout, rtt."""
    ended: float | None = None
    """The clock's reading when the outcome was known; None for a race that its caller ended."""

    @classmethod
    def of(cls, race: Race, ready: str = "tcp") -> RaceReport:
        """The report of a race, at any moment of it."""
        settings = {"pacing": race.pacing, "hold": race.hold, "timeout": race.timeout, "rtt": race.rtt}
        return cls(
            race.endpoint, race.ranking, race.log, race.started, race.outcome, ready, settings, race.ended
        )

    # ------------------------------------------------------------------ what it says

    @property
    def outcome(self) -> str:
        """``won``, ``lost``, or ``cancelled`` for a race that its caller ended."""
        if self.result is None:
            return "cancelled"
        return "won" if isinstance(self.result, Won) else "lost"

    @property
    def failure(self) -> str | None:
        """Why nobody won, in a few words; None if somebody did."""
        return self.result.reason if isinstance(self.result, Lost) else None

    @property
    def elapsed(self) -> float:
        """Seconds from the start to the outcome, or to the last thing that happened if there is none."""
        if self.ended is not None:
            return self.ended - self.started
        return self.log[-1][0] - self.started if self.log else 0.0

    @cached_property
    def winner(self) -> AttemptRecord | None:
        """The attempt that won."""
        return next((attempt for attempt in self.attempts if attempt.outcome == "won"), None)

    @cached_property
    def lookups(self) -> tuple[LookupRecord, ...]:
        """Every question, in the order of asking."""
        return tuple(r for r in self._records if isinstance(r, LookupRecord))

    @cached_property
    def attempts(self) -> tuple[AttemptRecord, ...]:
        """Every attempt, in the order of starting."""
        return tuple(r for r in self._records if isinstance(r, AttemptRecord))

    @cached_property
    def skipped(self) -> tuple[Skip, ...]:
        """The addresses that were answered and not dialled, with the reason."""
        return tuple(entry for _, entry in self.log if isinstance(entry, Skip))

    @cached_property
    def _records(self) -> tuple[LookupRecord | AttemptRecord, ...]:
        return records(self.log, self.started)

    def summary(self) -> str:
        """The race in one line, as errors print it: who won, who failed of what, who was left out and why."""
        parts = []
        if w := self.winner:
            way = f"through {w.through}" if w.through else w.remote
            parts = [f"won by {w.pvd} {way} in {self.elapsed * 1000:.0f} ms"]
        parts += [
            f"{lookup.pvd} {lookup.type} {lookup.error or 'no address'}"
            for lookup in self.lookups
            if lookup.outcome == "failed" or (lookup.outcome == "answered" and not lookup.addresses)
        ]
        parts += [f"{skip.pvd} {skip.address} {skip.reason}" for skip in self.skipped]
        parts += [f"{e.pvd} withdrawn ({e.reason})" for _, e in self.log if isinstance(e, PvdWithdrawn)]
        for attempt in self.attempts:
            if attempt.outcome != "won":
                fate = attempt.error or attempt.outcome
                way = f"through {attempt.through}" if attempt.through else f"v{attempt.family}"
                parts.append(f"{attempt.pvd} {way} {fate}")
        tried = {record.pvd for record in self._records} | {skip.pvd for skip in self.skipped}
        parts += [f"{r.pvd.name} not tried" for r in self.ranking.ranked if r.pvd.name not in tried]
        parts += [f"{r.pvd.name} skipped ({r.excluded})" for r in self.ranking.excluded]
        line = f"{self.endpoint}: {', '.join(parts) or self.failure or self.outcome}"
        return " ".join(line.split())  # an error may quote somebody else's words

    def __str__(self) -> str:
        return timeline.story(self.log, self.started, self.failure)

    # ------------------------------------------------------------------ to look at, and for other tools

    def to_html(self) -> str:
        """A page: the race as a waterfall, tables of it, and the timeline. One file that loads nothing else.

        As in all of these pictures, the URLs in it are without user information and query strings.
        """
        from ..pictures.page import page
        from .lanes import timeline as lanes

        return page(lanes(self), str(self))

    def to_svg(self, *, width: int = 960, scheme: Scheme = "auto") -> str:
        """The waterfall as one SVG drawing, ``width`` pixels wide (480 to 4000).

        ``scheme``: ``light``, ``dark``, or ``auto``, the reader's choice. ValueError for anything else.
        """
        from ..pictures.svg import svg
        from .lanes import timeline as lanes

        return svg(lanes(self), width, scheme)

    def to_perfetto(self) -> str:
        """Chrome's trace event format (JSON), for https://ui.perfetto.dev and chrome://tracing."""
        from ..pictures.perfetto import trace
        from .lanes import timeline as lanes

        return trace(lanes(self))

    def to_sqlog(self) -> str:
        """The log as qlog (draft-ietf-quic-qlog-main-schema s5, JSON-SEQ), for a file named ``*.sqlog``.

        The events are ours: their schema is `pvdrace.race.qlog.SCHEMA`.
        """
        from .qlog import sqlog

        return sqlog(self)

    # ------------------------------------------------------------------ JSON, and running it again

    def to_dict(self) -> dict[str, Any]:
        """The report as plain values, schema ``pvdrace.report/1``."""
        from .codec import encode

        return encode(self)

    def to_json(self, indent: int | None = None) -> str:
        """The report as JSON text. `from_json` gives an equal report."""
        return json.dumps(self.to_dict(), indent=indent, ensure_ascii=False, allow_nan=False)

    @classmethod
    def from_json(cls, text: str | bytes) -> RaceReport:
        """Read a report back; ``ValueError`` names the place and what is wrong there."""
        from .codec import decode

        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"report: not JSON: {error}") from None
        return cls(**decode(value))

    def replay(self) -> RaceReport:
        """Feed the log to a fresh core, and return the report of that race.

        The core is pure, so the same events at the same times give the same actions (law 8): a report from
        production is a test case.
        """
        race = Race(self.endpoint, self.ranking, **self.settings)
        race.start(self.started)
        for index, (time, entry) in enumerate(self.log):
            if not isinstance(entry, Lookup | Connect | Cancel | Skip):
                race.handle(entry, time)
            elif len(race.log) <= index:  # no event caused it, so a tick did
                race.tick(time)
        if self.ended is not None:
            race.tick(self.ended)
        return RaceReport.of(race, self.ready)

    def actions(self) -> Iterator[Action]:
        """What the core asked for, in order."""
        return (e for _, e in self.log if isinstance(e, Lookup | Connect | Cancel | Skip))
