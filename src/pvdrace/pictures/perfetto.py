"""A race in Chrome's trace event format, which Perfetto and chrome://tracing open. Pure.

A process is the race, its threads are the PvDs. What overlaps inside a PvD has threads of its own there: on
one thread slices nest or stand apart, and neither viewer draws others.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from .clean import cleaned
from .words import because, describe, outcome, position, result, what

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .timeline import Lane, Row, Timeline

Event = dict[str, Any]
#: The number of the process, and of the thread in it that has the race as a whole.
RACE = 1


def trace(timeline: Timeline) -> str:
    """The JSON object of a timeline. Times are microseconds from the race's start."""
    timeline = cleaned(timeline)
    metadata, events = list(_names(timeline)), list(_race(timeline))
    thread = RACE
    for place, lane in enumerate(timeline.lanes, 1):
        for n, rows in enumerate(_threads(lane)):
            thread += 1
            name = lane.pvd if n == 0 else f"{lane.pvd} ({n + 1})"
            metadata += _thread(thread, name, place * 1000 + n)
            if n == 0:
                events += _remarks(lane, thread)
            for row in rows:
                events += _slices(row, thread, timeline)
    events.sort(key=lambda event: (event["ts"], -event.get("dur", 0)))
    value = {
        "traceEvents": [*metadata, *events],
        "displayTimeUnit": "ms",
        "otherData": {
            "race": timeline.title,
            "verdict": timeline.verdict,
            "outcome": timeline.state,
            "order": [
                {"pvd": lane.pvd, "begins": position(lane, timeline.until), "because": because(lane)}
                for lane in timeline.lanes
            ],
            "left out": [
                {"pvd": left_out.pvd, "reason": left_out.reason, "rule": left_out.rule}
                for left_out in timeline.excluded
            ],
        },
    }
    return json.dumps(value, ensure_ascii=False, allow_nan=False) + "\n"


def _names(timeline: Timeline) -> Iterator[Event]:
    yield _meta("process_name", RACE, {"name": timeline.title})
    yield _meta("process_labels", RACE, {"labels": timeline.verdict})
    yield from _thread(RACE, "race", 0)


def _race(timeline: Timeline) -> Iterator[Event]:
    yield _slice(timeline.title, "race", RACE, 0.0, timeline.until, {"verdict": timeline.verdict})
    for left_out in timeline.excluded:
        args = {"reason": left_out.reason, "rule": left_out.rule}
        yield _instant(f"{left_out.pvd} left out", "ranking", RACE, 0.0, args)


def _threads(lane: Lane) -> list[list[Row]]:
    """The rows of a PvD that take time, on as few threads as keep them apart."""
    threads: list[list[Row]] = [[]]
    for row in sorted((row for row in lane.rows if row.bars), key=lambda row: row.bars[0].start):
        for thread in threads:
            if not thread or _after(row, thread[-1]):
                thread.append(row)
                break
        else:
            threads.append([row])
    return threads


def _after(row: Row, last: Row) -> bool:
    """Whether a row stands behind another one on a thread. What took no time and began with it does not."""
    start = _micro(row.bars[0].start)
    return _micro(last.bars[-1].end) <= start and _micro(last.bars[0].start) < start


def _slices(row: Row, thread: int, timeline: Timeline) -> Iterator[Event]:
    """A lookup or an attempt, and inside an attempt TCP and what came after."""
    args = {"outcome": row.state, "reason": outcome(row), **dict(row.facts)}
    yield _slice(what(row), row.kind, thread, row.bars[0].start, row.bars[-1].end, args)
    if row.kind == "attempt":
        for bar in row.bars:
            yield _slice(timeline.name_of(bar.kind), bar.kind, thread, bar.start, bar.end, {})
    if row.state in ("won", "failed"):
        yield _instant(row.state, "outcome", thread, row.bars[-1].end, {"reason": describe(row, timeline)})


def _remarks(lane: Lane, thread: int) -> Iterator[Event]:
    """When its turn came, and what happened to the PvD and to its addresses besides."""
    if lane.began is not None:
        args = {"because": because(lane), "came to": result(lane), "head start": lane.delay or "none"}
        yield _instant(f"{lane.pvd} begins", "ranking", thread, lane.began, args)
    for row in lane.rows:
        if row.at is not None:
            yield _instant(row.label or lane.pvd, "remark", thread, row.at, {"reason": outcome(row)})


def _thread(thread: int, name: str, place: int) -> Iterator[Event]:
    yield _meta("thread_name", thread, {"name": name})
    yield _meta("thread_sort_index", thread, {"sort_index": place})


def _meta(name: str, thread: int, args: dict[str, Any]) -> Event:
    return {"ph": "M", "name": name, "pid": RACE, "tid": thread, "args": args}


def _slice(name: str, category: str, thread: int, start: float, end: float, args: Event) -> Event:
    at = _micro(start)
    event = {"ph": "X", "name": name, "cat": category, "pid": RACE, "tid": thread, "ts": at}
    return {**event, "dur": max(_micro(end) - at, 0), "args": args}


def _instant(name: str, category: str, thread: int, at: float, args: Event) -> Event:
    event = {"ph": "i", "s": "t", "name": name, "cat": category, "pid": RACE, "tid": thread}
    return {**event, "ts": _micro(at), "args": args}


def _micro(seconds: float) -> int:
    """Whole microseconds: slices that touch do not overlap by an error of rounding."""
    return max(round(seconds * 1e6), 0)
