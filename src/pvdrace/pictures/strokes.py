"""The bars and marks of one row as SVG, wherever it stands: in a drawing or in a page. Pure.

A row is `ROW` units high; across, a `Scale` says where a time is, in pixels or in percent. Kinds differ in
shape, not only in colour: a lookup is thin, TCP is full, TLS or a check is full and striped, a wait is dots.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .markup import Markup, join, number, tag

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .timeline import Lane, Row, Timeline

ROW = 24
STRIPES = "pvdrace-stripes"
#: What the classes below look like; the variables are those of `pvdrace.pictures.colours`.
CSS = (
    ".lookup{fill:var(--lookup);stroke:var(--lookup)}"
    ".handshake{fill:var(--handshake);stroke:var(--handshake)}"
    ".ready{fill:var(--ready);stroke:var(--ready)}"
    ".bar{stroke-width:1}.cancelled .bar{fill-opacity:.25}.cancelled .stripe{opacity:0}"
    f".stripe{{fill:url(#{STRIPES});stroke:none}}.stripes{{fill:var(--ground);opacity:.45}}"
    ".wait{stroke:var(--wait);stroke-width:2;stroke-dasharray:1 5;stroke-linecap:round}"
    ".gate{stroke:var(--wait);stroke-width:2}"
    ".tick{stroke:var(--rule);stroke-width:1}"
    ".finish{stroke:var(--won);stroke-width:1.5;stroke-dasharray:5 3}"
    ".mark{fill:none;stroke-width:2.4;stroke-linecap:round;stroke-linejoin:round}"
    ".yes{stroke:var(--won)}.no{stroke:var(--failed)}.cut{stroke:var(--wait)}"
    ".spot{fill:var(--ground);stroke:var(--wait);stroke-width:1.5}"
)
_BARS = {"lookup": 6, "handshake": 12, "ready": 12}
#: Behind a bar; and on a moment of its own.
_YES, _NO, _CUT = "M3 0l3.5 4 6-8", "M4-4l8 8m0-8l-8 8", "M3-4v8"
_GONE, _SPOT = "M-4-4l8 8m0-8l-8 8", "M0-5l5 5-5 5-5-5z"


@dataclass(frozen=True, slots=True)
class Scale:
    """Where a time stands: ``until`` seconds are ``width`` units, and the start is at ``left``."""

    until: float
    left: float
    width: float
    unit: str = ""

    def at(self, seconds: float) -> str:
        """The place of a time. What is later than the end is at the end."""
        share = min(max(seconds / self.until, 0.0), 1.0)
        return number(self.left + share * self.width) + self.unit

    def span(self, start: float, end: float) -> str:
        """The width of a time, which is never nothing."""
        share = (min(end, self.until) - min(start, self.until)) / self.until
        return number(max(share, 0.004) * self.width) + self.unit


def stripes() -> Markup:
    """The pattern that the bars refer to; once in a document."""
    line = tag("rect", class_="stripes", width=2.5, height=6)
    pattern = tag(
        "pattern",
        line,
        id=STRIPES,
        width=6,
        height=6,
        patternUnits="userSpaceOnUse",
        patternTransform="rotate(45)",
    )
    return tag("defs", pattern)


def strokes(row: Row, scale: Scale, lane: Lane | None = None, top: float = 0) -> Markup:
    """The bars of a row and the mark behind them.

    With a ``lane`` the row is its first one, and shows how long the PvD has waited for its turn.
    """
    middle = top + ROW / 2
    drawn = [*(_wait(lane, scale, middle) if lane is not None else ()), *_bars(row, scale, middle)]
    if (marked := _mark(row)) is not None:
        at, mark = marked
        drawn.append(tag("svg", mark, x=scale.at(at), y=middle, width=16, height=16, overflow="visible"))
    return tag("g", *drawn, class_=row.state)


def lines(times: list[float], scale: Scale, top: float, bottom: float, finish: float | None) -> Markup:
    """The grid: a line at each of the times, and the finish of a race that was won."""
    drawn = [
        tag("line", class_="tick", x1=scale.at(time), x2=scale.at(time), y1=top, y2=bottom) for time in times
    ]
    if finish is not None:
        x = scale.at(finish)
        drawn.append(tag("line", class_="finish", x1=x, x2=x, y1=top, y2=bottom))
    return join(*drawn)


def finish_of(timeline: Timeline) -> float | None:
    """When the winner was ready."""
    won = (
        row.bars[-1].end for lane in timeline.lanes for row in lane.rows if row.state == "won" and row.bars
    )
    return next(won, None)


def waited(lane: Lane, until: float) -> float | None:
    """Until when a PvD has waited for its turn; None for one that had not to."""
    if lane.head_start == 0 or any(row.at is not None and not row.bars for row in lane.rows[:1]):
        return None
    return until if lane.began is None else lane.began


def _wait(lane: Lane, scale: Scale, middle: float) -> Iterator[Markup]:
    end = waited(lane, scale.until)
    if end is None or end <= scale.until * 0.01:
        return
    x = scale.at(end)
    yield tag("line", class_="wait", x1=scale.at(scale.until * 0.004), x2=x, y1=middle, y2=middle)
    if lane.began is not None:
        yield tag("line", class_="gate", x1=x, x2=x, y1=middle - 8, y2=middle + 8)


def _bars(row: Row, scale: Scale, middle: float) -> Iterator[Markup]:
    for bar in row.bars:
        height = _BARS[bar.kind]
        x, width, y = scale.at(bar.start), scale.span(bar.start, bar.end), middle - height / 2
        yield tag("rect", class_=f"bar {bar.kind}", x=x, y=y, width=width, height=height, rx=2)
        if bar.kind == "ready":
            yield tag("rect", class_="stripe", x=x, y=y, width=width, height=height, rx=2)


def _mark(row: Row) -> tuple[float, Markup] | None:
    """What stands behind the last bar, or where nothing but a moment is; and when that is."""
    if row.bars:
        shapes = {"won": ("yes", _YES), "failed": ("no", _NO), "cancelled": ("cut", _CUT)}
        if row.state not in shapes:
            return None
        kind, path = shapes[row.state]
        return row.bars[-1].end, tag("path", class_=f"mark {kind}", d=path)
    if row.at is None:
        return None
    if row.state == "failed":
        return row.at, tag("path", class_="mark no", d=_GONE)
    return row.at, tag("path", class_="spot", d=_SPOT)
