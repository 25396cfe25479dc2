"""A report as a timeline to draw: lanes, rows, bars. Pure.

The report may be of a race that is over or of one that runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..pictures.timeline import Bar, Lane, LeftOut, Outcome, Row, State, Timeline, Why, say_seconds
from .actions import Skip
from .events import PvdAdded, PvdWithdrawn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..model import Ranked
    from .report import AttemptRecord, LookupRecord, RaceReport


def timeline(report: RaceReport, now: float | None = None) -> Timeline:
    """The timeline of a report; ``now``, in seconds from the start, is for a race that is still running."""
    running = now is not None and report.result is None
    until = max(report.elapsed, now) if running and now is not None else report.elapsed
    lanes = tuple(_lanes(report, until, running))
    order = tuple(
        (r.pvd.name, ", ".join(str(reason).replace(": ", " ") for reason in r.because))
        for r in report.ranking.ranked
    )
    excluded = tuple(
        LeftOut(r.pvd.name, r.excluded.text, r.excluded.rule)
        for r in report.ranking.excluded
        if r.excluded is not None
    )
    title = f"{report.endpoint}{' over TLS' if report.ready == 'tls' else ''}"
    state: Outcome = "running"
    if not running:
        state = "won" if report.outcome == "won" else "lost" if report.outcome == "lost" else "cancelled"
    verdict = _verdict(report, state, until)
    return Timeline(title, verdict, state, lanes, order, excluded, until, report.ready)


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
        won = winner is not None and winner.pvd == name
        because = tuple(Why(reason.rule, reason.text) for reason in each.because)
        yield Lane(name, _delay(each), won, rows, each.head_start, because)


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
    log = [(time - report.started, entry) for time, entry in report.log]
    for at, entry in log:
        if isinstance(entry, PvdAdded) and entry.ranked.pvd.name == pvd:
            yield Row("", "skipped", f"came up at {say_seconds(at)}", at=at)
    for lookup in report.lookups:
        if lookup.pvd == pvd:
            yield _lookup_row(lookup, until, running)
    for attempt in report.attempts:
        if attempt.pvd == pvd:
            yield _attempt_row(attempt, until, running)
    for at, entry in log:
        if isinstance(entry, Skip) and entry.pvd == pvd:
            yield Row(entry.address, "skipped", entry.reason, at=at)
    for at, entry in log:
        if isinstance(entry, PvdWithdrawn) and entry.pvd == pvd:
            yield Row("", "failed", f"gone at {say_seconds(at)}: {entry.reason}", at=at)


def _lookup_row(lookup: LookupRecord, until: float, running: bool) -> Row:
    end = until if lookup.ended is None else lookup.ended
    bars = (Bar("lookup", lookup.started, end),)
    state, note = _came_of_lookup(lookup, running)
    facts = _known(server=lookup.server, answer=", ".join(lookup.addresses))
    return Row(lookup.type, state, note, bars, "lookup", facts)


def _came_of_lookup(lookup: LookupRecord, running: bool) -> tuple[State, str]:
    match lookup.outcome:
        case "answered":
            count = len(lookup.addresses)
            note = "no address" if not count else "1 address" if count == 1 else f"{count} addresses"
            return "answered", f"{note}, cached" if lookup.cached else note
        case "failed":
            return "failed", lookup.error or "failed"
        case "cancelled":
            return "cancelled", _cancelled(lookup.error)
    return _unfinished("asking", running)


def _attempt_row(attempt: AttemptRecord, until: float, running: bool) -> Row:
    end = until if attempt.ended is None else attempt.ended
    between = end if attempt.connected is None else attempt.connected
    bars = [Bar("handshake", attempt.started, between)]
    if attempt.connected is not None and (end > between or attempt.outcome == "pending"):
        bars.append(Bar("ready", between, end))
    label = f"{attempt.remote} (proxy)" if attempt.through else attempt.remote
    state, note = _came_of_attempt(attempt, running)
    rtt = None if attempt.rtt is None else say_seconds(attempt.rtt)
    facts = _known(port=str(attempt.port), source=attempt.local, proxy=attempt.through, round_trip=rtt)
    return Row(label, state, note, tuple(bars), "attempt", facts)


def _came_of_attempt(attempt: AttemptRecord, running: bool) -> tuple[State, str]:
    match attempt.outcome:
        case "won":
            return "won", "won"
        case "failed":
            return "failed", attempt.error or "failed"
        case "cancelled":
            return "cancelled", _cancelled(attempt.error)
    return _unfinished("connecting" if attempt.connected is None else "handshaking", running)


def _known(**facts: str | None) -> tuple[tuple[str, str], ...]:
    return tuple((name.replace("_", " "), value) for name, value in facts.items() if value)


def _cancelled(reason: str | None) -> str:
    return "cancelled" if reason in (None, "", "another won") else reason


def _unfinished(doing: str, running: bool) -> tuple[State, str]:
    return ("pending", doing) if running else ("cancelled", "cancelled")
