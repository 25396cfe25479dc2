"""A race in words: what happened, when, in which PvD. Pure.

Two voices of one log: `words` for tests (``wifi -> v6``: keyed by PvD and family, never by an id) and
`story` for people (``wifi -> 2001:db8::1``, with every answer); `moments` is the second, entry by entry.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from .actions import HELD_BACK, TIMEOUT, Action, Cancel, Connect, Lookup, Skip
from .events import (
    Connected,
    Event,
    Failed,
    LookupAnswered,
    LookupFailed,
    PvdAdded,
    PvdWithdrawn,
    Ready,
)

if TYPE_CHECKING:
    from ..model import Candidate

Log = Sequence[tuple[float, Event | Action]]
GAP = " " * 7


def words(log: Log, started: float, lost: str | None = None) -> str:
    """The timeline for tests: actions and failures, attempts named by family (``v6``, ``v6#2``)."""
    names: dict[tuple[str, str], str] = {}

    def by_family(candidate: Candidate) -> str:
        key = (candidate.pvd.name, candidate.remote)
        if key not in names:
            family = f"v{candidate.family}"
            alike = sum(1 for (pvd, _), n in names.items() if pvd == key[0] and n.startswith(family))
            names[key] = f"{family}#{alike + 1}" if alike else family
        return names[key]

    return _lines(log, started, by_family, answers=False, lost=lost)


def story(log: Log, started: float, lost: str | None = None) -> str:
    """The timeline for people: every lookup, every answer, every attempt, by address."""
    return _lines(log, started, lambda candidate: candidate.remote, answers=True, lost=lost)


def moments(log: Log, started: float) -> Iterator[tuple[float, str]]:
    """Every entry of the log in words, with its seconds from the start."""
    subjects: dict[int, Lookup | Connect] = {}
    for time, entry in log:
        text = _say(entry, subjects, lambda candidate: candidate.remote, answers=True)
        if text is not None:
            yield time - started, text


def _lines(
    log: Log, started: float, name: Callable[[Candidate], str], *, answers: bool, lost: str | None
) -> str:
    moments: list[tuple[str, list[str]]] = []
    subjects: dict[int, Lookup | Connect] = {}
    for time, entry in log:
        text = _say(entry, subjects, name, answers)
        if text is None:
            continue
        label = _milliseconds(time - started)
        if not moments or moments[-1][0] != label:
            moments.append((label, []))
        _append(moments[-1][1], text, entry)
    if lost is not None:
        label = _milliseconds(log[-1][0] - started if log else 0.0)
        if not moments or moments[-1][0] != label:
            moments.append((label, []))
        moments[-1][1].append(f"lost: {lost}")
    return "\n".join(f"{label:>8} ms  {GAP.join(texts)}" for label, texts in moments)


def _append(texts: list[str], text: str, entry: Event | Action) -> None:
    """The questions of one PvD are one phrase: ``wifi ? AAAA A``."""
    if isinstance(entry, Lookup) and texts and texts[-1].startswith(f"{entry.pvd.name} ? "):
        texts[-1] += f" {entry.type}"
    else:
        texts.append(text)


def _say(
    entry: Event | Action,
    subjects: dict[int, Lookup | Connect],
    name: Callable[[Candidate], str],
    answers: bool,
) -> str | None:
    match entry:
        case Lookup():
            subjects[entry.id] = entry
            return f"{entry.pvd.name} ? {entry.type}"
        case Connect():
            subjects[entry.id] = entry
            by = " (proxy)" if entry.through else ""
            return f"{entry.candidate.pvd.name} -> {name(entry.candidate)}{by}"
        case Cancel(target=Lookup() as lookup):
            return f"{lookup.pvd.name} cancelled {lookup.type}"
        case Cancel(reason=reason):
            assert isinstance(entry.target, Connect)
            candidate = entry.target.candidate
            if reason.startswith(TIMEOUT):
                return f"{candidate.pvd.name} x {name(candidate)} {reason}"
            verb = HELD_BACK if reason == HELD_BACK else "cancelled"
            return f"{candidate.pvd.name} {verb} {name(candidate)}"
        case Skip():
            return f"{entry.pvd} skips {entry.address}: {entry.reason}"
        case PvdAdded():
            return f"{entry.ranked.pvd.name} added"
        case PvdWithdrawn():
            return f"{entry.pvd} withdrawn: {entry.reason}"
        case _:
            return _say_result(entry, subjects.get(entry.id), name, answers)


def _say_result(
    event: LookupAnswered | LookupFailed | Connected | Ready | Failed,
    subject: Lookup | Connect | None,
    name: Callable[[Candidate], str],
    answers: bool,
) -> str | None:
    match event, subject:
        case LookupAnswered(), Lookup():
            if not answers:
                return None
            found = ", ".join(event.addresses) or "no address"
            return f"{subject.pvd.name} {subject.type} {found}{_by(event.server, event.cached)}"
        case LookupFailed(), Lookup():
            return f"{subject.pvd.name} x {subject.type} {event.error}"
        case Connected(), Connect():
            return f"{subject.candidate.pvd.name} connected {name(subject.candidate)}"
        case Ready(), Connect():
            return f"{subject.candidate.pvd.name} won {name(subject.candidate)}"
        case Failed(), Connect():
            return f"{subject.candidate.pvd.name} x {name(subject.candidate)} {event.error}"
    return None


def _by(server: str | None, cached: bool) -> str:
    return " (cached)" if cached else f" (from {server})" if server else ""


def _milliseconds(seconds: float) -> str:
    milliseconds = seconds * 1000
    whole = round(milliseconds)
    return f"{whole}" if abs(milliseconds - whole) < 1e-6 else f"{milliseconds:.1f}"
