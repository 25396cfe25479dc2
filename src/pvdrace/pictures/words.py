"""What pictures say of rows and lanes in whole phrases, for titles, tables and those who listen. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING
from unicodedata import east_asian_width

from .strokes import waited
from .timeline import say_seconds

if TYPE_CHECKING:
    from .timeline import Lane, Row, Timeline

ELLIPSIS = "\N{HORIZONTAL ELLIPSIS}"


def what(row: Row) -> str:
    """``AAAA lookup``, ``attempt to 192.0.2.1``; nothing for a remark on the whole PvD."""
    if row.kind == "lookup":
        return f"{row.label} lookup"
    return f"attempt to {row.label}" if row.kind == "attempt" else row.label


def describe(row: Row, timeline: Timeline) -> str:
    """A row in one phrase: what, when, how long each part took, what came of it, what else is known."""
    parts = []
    if row.bars:
        parts.append(f"from {moment(row.bars[0].start)} to {say_seconds(row.bars[-1].end)}")
    if row.kind == "attempt":
        parts += [f"{timeline.name_of(bar.kind)} {say_seconds(bar.end - bar.start)}" for bar in row.bars]
    parts.append(outcome(row))
    parts += [f"{name} {value}" for name, value in row.facts]
    about = what(row)
    return f"{about}: {', '.join(parts)}" if about else ", ".join(parts)


def outcome(row: Row) -> str:
    """What came of a row: its state, and the note where it says more."""
    if row.state in ("idle", "pending") or row.kind == "remark" or row.note.startswith(row.state):
        return f"not dialled: {row.note}" if row.state == "skipped" and row.label else row.note
    return f"{row.state}: {row.note}"


def moment(seconds: float) -> str:
    """A time from the start, as `say_seconds`; the start itself is ``0 ms``."""
    return "0 ms" if seconds < 5e-5 else say_seconds(seconds)


def position(lane: Lane, until: float) -> str:
    """When a PvD may begin, and when it began: ``+250 ms; began at 200 ms``."""
    if lane.head_start is None:
        start = "in reserve: after all before it have failed"
    elif lane.head_start == 0:
        start = "at once"
    else:
        start = f"after a head start of {say_seconds(lane.head_start)} for those before it"
    if lane.began is None:
        return start
    if waited(lane, until) is None:
        return start
    return f"{start}; began at {say_seconds(lane.began)}"


def because(lane: Lane) -> str:
    """Why it stands where it stands, in words."""
    return ", ".join(why.text for why in lane.because)


def result(lane: Lane) -> str:
    """What came of a PvD in a few words."""
    if lane.won:
        return "won"
    if lane.began is None:
        return lane.rows[0].note if lane.rows else ""
    attempts = [row for row in lane.rows if row.kind == "attempt"]
    failed = sum(row.state == "failed" for row in attempts)
    if failed:
        return f"{failed} of {len(attempts)} attempts failed"
    return f"{_count(len(attempts), 'attempt')}, none done" if attempts else "no attempt"


def columns(text: str) -> int:
    """The width of a text in columns of a fixed pitch; wide characters count double (UAX 11)."""
    return sum(2 if east_asian_width(c) in "WF" else 1 for c in text)


def cut(text: str, width: int) -> str:
    """Text in at most ``width`` columns; what is longer loses its end."""
    if columns(text) <= width:
        return text
    kept, room = [], width - 1
    for c in text:
        room -= columns(c)
        if room < 0:
            break
        kept.append(c)
    return "".join(kept) + ELLIPSIS


def cut_middle(text: str, width: int) -> str:
    """As `cut`, but both ends are kept: what tells an address from its neighbours is often the last of it."""
    if columns(text) <= width or columns(text) != len(text):
        return cut(text, width)
    tail = (width - 1) // 2
    return text[: width - 1 - tail] + ELLIPSIS + text[len(text) - tail :]


def brief(note: str, width: int) -> str:
    """A note in at most ``width`` columns. Errors read ``what: details``: the details go first."""
    short = note.partition(": ")[0]
    return short if columns(note) > width >= columns(short) else cut(note, width)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
