"""What a race looks like on paper: a lane per PvD, a row per lookup and attempt, bars in seconds. Pure.

The report may be of a race that is over or of one that runs; `waterfall` turns the timeline into lines of
text for a terminal. Not to be confused with `pvdrace.race.timeline`, which tells the same story in words.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ..race.events import PvdAdded, PvdWithdrawn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..model import Ranked
    from ..race.report import AttemptRecord, LookupRecord, RaceReport

#: ``ready`` is what comes after the transport handshake: TLS, or the application's check.
Kind = Literal["lookup", "handshake", "ready"]
State = Literal["pending", "answered", "won", "failed", "cancelled", "skipped", "idle"]


@dataclass(frozen=True, slots=True)
class Bar:
    """Something took time. Times are seconds from the race's start."""

    kind: Kind
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Row:
    """A lookup (``label`` is its type), an attempt (its remote address), or a remark without bars."""

    label: str
    state: State
    note: str = ""
    bars: tuple[Bar, ...] = ()

    @property
    def seconds(self) -> float | None:
        """How long it took, or has taken so far."""
        return self.bars[-1].end - self.bars[0].start if self.bars else None


@dataclass(frozen=True, slots=True)
class Lane:
    """One PvD of the race; ``delay`` is its head start in words, empty for the first to run."""

    pvd: str
    delay: str
    won: bool
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Timeline:
    """A whole race. ``until`` is its length so far in seconds.

    ``order`` has for each PvD that may run what ranking saw in it, ``excluded`` why the others may not.
    """

    title: str
    verdict: str
    state: Literal["running", "won", "lost", "cancelled"]
    lanes: tuple[Lane, ...]
    order: tuple[tuple[str, str], ...]
    excluded: tuple[tuple[str, str], ...]
    until: float


def timeline(report: RaceReport, now: float | None = None) -> Timeline:
    """The timeline of a report; ``now``, in seconds from the start, is for a race that is still running."""
    running = now is not None and report.result is None
    until = max(report.elapsed, now) if running and now is not None else report.elapsed
    lanes = tuple(_lanes(report, until, running))
    order = tuple(
        (r.pvd.name, ", ".join(str(reason).replace(": ", " ") for reason in r.because))
        for r in report.ranking.ranked
    )
    excluded = tuple((r.pvd.name, str(r.excluded)) for r in report.ranking.excluded)
    title = f"{report.endpoint}{' over TLS' if report.ready == 'tls' else ''}"
    state: Literal["running", "won", "lost", "cancelled"] = "running"
    if not running:
        state = "won" if report.outcome == "won" else "lost" if report.outcome == "lost" else "cancelled"
    return Timeline(title, _verdict(report, state, until), state, lanes, order, excluded, until)


def say_seconds(seconds: float) -> str:
    """A duration as people write it, with the digits that matter: ``8.4 ms``, ``346 ms``, ``2.05 s``."""
    if seconds < 0.00995:
        return f"{seconds * 1000:.1f} ms"
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.2f} s" if seconds < 9.995 else f"{seconds:.1f} s"


def _verdict(report: RaceReport, state: str, until: float) -> str:
    if state == "running":
        return f"racing, {say_seconds(until)}"
    if report.winner is not None:
        return f"won by {report.winner.pvd} in {say_seconds(report.winner.ended or until)}"
    if state == "cancelled":
        return f"cancelled after {say_seconds(until)}"
    return f"lost after {say_seconds(until)}: {report.failure}" if report.log else f"lost: {report.failure}"


def _lanes(report: RaceReport, until: float, running: bool) -> Iterator[Lane]:
    ranked: list[Ranked] = list(report.ranking.ranked)
    for _, entry in report.log:
        if isinstance(entry, PvdAdded):
            known = [r.pvd.name for r in ranked]
            if entry.ranked.pvd.name not in known:
                ranked.insert(entry.position, entry.ranked)
    winner = report.winner
    for each in ranked:
        name = each.pvd.name
        rows = tuple(_rows(report, name, until, running))
        if not rows:
            rows = (Row("", "idle", _why_idle(report, each, running)),)
        yield Lane(name, _delay(each), winner is not None and winner.pvd == name, rows)


def _delay(ranked: Ranked) -> str:
    if ranked.head_start is None:
        return "reserve"
    return f"+{say_seconds(ranked.head_start)}" if ranked.head_start else ""


def _why_idle(report: RaceReport, ranked: Ranked, running: bool) -> str:
    if not running:
        return "not needed" if report.winner is not None else "not tried"
    if ranked.head_start is None:
        return "if all else fails"
    return f"from {say_seconds(ranked.head_start)} on"


def _rows(report: RaceReport, pvd: str, until: float, running: bool) -> Iterator[Row]:
    changes = [(say_seconds(time - report.started), entry) for time, entry in report.log]
    for at, entry in changes:
        if isinstance(entry, PvdAdded) and entry.ranked.pvd.name == pvd:
            yield Row("", "skipped", f"came up at {at}")
    for lookup in report.lookups:
        if lookup.pvd == pvd:
            yield _lookup_row(lookup, until, running)
    for attempt in report.attempts:
        if attempt.pvd == pvd:
            yield _attempt_row(attempt, until, running)
    for skip in report.skipped:
        if skip.pvd == pvd:
            yield Row(skip.address, "skipped", skip.reason)
    for at, entry in changes:
        if isinstance(entry, PvdWithdrawn) and entry.pvd == pvd:
            yield Row("", "failed", f"gone at {at}: {entry.reason}")


def _lookup_row(lookup: LookupRecord, until: float, running: bool) -> Row:
    end = until if lookup.ended is None else lookup.ended
    bars = (Bar("lookup", lookup.started, end),)
    match lookup.outcome:
        case "answered":
            count = len(lookup.addresses)
            note = "no address" if not count else "1 address" if count == 1 else f"{count} addresses"
            return Row(lookup.type, "answered", f"{note}, cached" if lookup.cached else note, bars)
        case "failed":
            return Row(lookup.type, "failed", lookup.error or "failed", bars)
        case "cancelled":
            return Row(lookup.type, "cancelled", _cancelled(lookup.error), bars)
    return Row(lookup.type, *_unfinished("asking", running), bars)


def _attempt_row(attempt: AttemptRecord, until: float, running: bool) -> Row:
    end = until if attempt.ended is None else attempt.ended
    between = end if attempt.connected is None else attempt.connected
    bars = [Bar("handshake", attempt.started, between)]
    if attempt.connected is not None and (end > between or attempt.outcome == "pending"):
        bars.append(Bar("ready", between, end))
    done = tuple(bars)
    label = f"{attempt.remote} (proxy)" if attempt.through else attempt.remote
    match attempt.outcome:
        case "won":
            return Row(label, "won", "won", done)
        case "failed":
            return Row(label, "failed", attempt.error or "failed", done)
        case "cancelled":
            return Row(label, "cancelled", _cancelled(attempt.error), done)
    doing = "connecting" if attempt.connected is None else "handshaking"
    return Row(label, *_unfinished(doing, running), done)


def _cancelled(reason: str | None) -> str:
    return "cancelled" if reason in (None, "", "another won") else reason


def _unfinished(doing: str, running: bool) -> tuple[State, str]:
    return ("pending", doing) if running else ("cancelled", "cancelled")
