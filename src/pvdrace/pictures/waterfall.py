"""A timeline as lines of text: so many columns, these glyphs. Pure: the styles are names, not colours.

From left to right: the PvD and its head start, what was asked or dialled, the bars, how long it took, and
what came of it. Bars have half a column's resolution where the glyphs allow it.
"""

from __future__ import annotations

from dataclasses import dataclass
from textwrap import wrap
from typing import TYPE_CHECKING, NamedTuple

from .scale import SHORTEST, labels, round_up, ticks
from .timeline import Bar, Kind, Lane, LeftOut, Row, Timeline, say_seconds

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

NARROWEST = 50
KINDS: tuple[Kind, ...] = ("lookup", "handshake", "ready")


class Piece(NamedTuple):
    """Text in one style. Styles: see `pvdrace.telemetry.terminal.STYLES`."""

    text: str
    style: str = ""


Line = list[Piece]


@dataclass(frozen=True)
class Glyphs:
    """What to draw with. A bar is (whole column, its left half, its right half)."""

    bars: Mapping[Kind, tuple[str, str, str]]
    grid: str
    won: str
    failed: str
    pending: str
    ellipsis: str


UNICODE = Glyphs(
    {"lookup": ("─", "╴", "╶"), "handshake": ("━", "╸", "╺"), "ready": ("■", "■", "■")},
    grid="┊",
    won="✓",
    failed="✗",
    pending="▸",
    ellipsis="…",
)
ASCII = Glyphs(
    {"lookup": ("-", "-", "-"), "handshake": ("=", "=", "="), "ready": ("#", "#", "#")},
    grid=":",
    won="*",
    failed="x",
    pending=">",
    ellipsis="..",
)


def glyphs_for(encoding: str | None) -> Glyphs:
    """The glyphs that an encoding can carry."""
    bars = "".join(glyph for bar in UNICODE.bars.values() for glyph in bar)
    marks = UNICODE.grid + UNICODE.won + UNICODE.failed + UNICODE.pending + UNICODE.ellipsis
    try:
        (bars + marks).encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return ASCII
    return UNICODE


def waterfall(
    timeline: Timeline, width: int = 80, glyphs: Glyphs = UNICODE, *, footnotes: bool = True
) -> list[Line]:
    """Draw a timeline into at most ``width`` columns (never fewer than 50).

    ``footnotes``: why the PvDs stand in this order, and what the bars mean.
    """
    columns = _Columns.fit(timeline, max(width, NARROWEST))
    drawing = _Drawing(timeline, columns, glyphs)
    lines = [_headline(timeline, columns.total, glyphs)]
    if timeline.lanes:
        lines += [[], drawing.axis()]
        for lane in timeline.lanes:
            lines += drawing.lane(lane)
    if timeline.excluded:
        lines += [[], *_excluded(timeline.excluded, columns, glyphs)]
    if footnotes and any(reasons for _, reasons in timeline.order):
        lines += [[], *_order(timeline.order, columns.total)]
    if footnotes and timeline.lanes:
        lines += [[], _legend(timeline, glyphs)]
    return lines


def plain(lines: Sequence[Line]) -> str:
    """The lines as text without any style."""
    return "\n".join("".join(piece.text for piece in line).rstrip() for line in lines)


class _Columns(NamedTuple):
    total: int
    lane: int
    label: int
    bars: int
    time: int
    note: int

    @classmethod
    def fit(cls, timeline: Timeline, width: int) -> _Columns:
        """Give the bars what the texts leave, and the texts no more than they need."""
        rows = [row for lane in timeline.lanes for row in lane.rows]
        names = [text for lane in timeline.lanes for text in (lane.pvd, lane.delay)]
        names += [left_out.pvd for left_out in timeline.excluded]
        lane = min(_longest(names), max(8, width // 7))
        label = min(_longest([row.label for row in rows]), max(15, width // 5))
        note = min(_longest([row.note for row in rows]), max(12, width // 4))
        time = 7
        # One column between the others, and one more for the mark at a bar's end.
        bars = width - (lane + 2) - (label + 2) - 2 - (time + 1) - (note + 1)
        return cls(width, lane, label, bars, time, note)


class _Drawing:
    def __init__(self, timeline: Timeline, columns: _Columns, glyphs: Glyphs) -> None:
        self.timeline = timeline
        self.columns = columns
        self.glyphs = glyphs
        running = timeline.state == "running"
        self.until = round_up(timeline.until) if running else max(timeline.until, SHORTEST)
        self.ticks = ticks(self.until, columns.bars / 8, 0.98)  # eight columns or more apart

    def axis(self) -> Line:
        """The scale: round times above the columns that they stand for."""
        # A label begins at its tick; the row's time and note columns are free here.
        room = [" "] * (self.columns.bars + self.columns.time + self.columns.note)
        for tick, text in zip(self.ticks, labels(self.ticks, self.until), strict=True):
            room[self._cell(tick) : self._cell(tick) + len(text)] = text
        indent = self.columns.lane + 2 + self.columns.label + 2
        return [Piece(" " * indent), Piece("".join(room).rstrip(), "axis")]

    def lane(self, lane: Lane) -> Iterator[Line]:
        """The rows of one PvD; its head start stands below its name."""
        heads = [Piece(lane.pvd, "winner" if lane.won else "lane"), Piece(lane.delay, "dim")]
        rows = list(lane.rows)
        if lane.delay and len(rows) == 1:
            rows.append(Row("", "idle"))
        for n, row in enumerate(rows):
            head = heads[n] if n < len(heads) else Piece("")
            yield [self._text(head.text, self.columns.lane, head.style), Piece("  "), *self.row(row)]

    def row(self, row: Row) -> Line:
        columns = self.columns
        faded = "dim" if row.state in ("cancelled", "skipped", "idle") else ""
        style = {"won": "won", "failed": "failed", "pending": "pending"}.get(row.state, faded)
        label = self._middle(row.label, columns.label)
        took = "" if row.seconds is None else say_seconds(row.seconds)
        return [
            Piece(label, "won" if row.state == "won" else faded or "label"),
            Piece("  "),
            *self._bars(row, faded),
            Piece(f" {took:>{columns.time}} ", faded or "time"),
            Piece(" "),
            Piece(self._note(row.note), style),
        ]

    def _bars(self, row: Row, faded: str) -> Iterator[Piece]:
        """The bars, the mark after the last, and the grid in what they leave free."""
        cells = [Piece(" ")] * (self.columns.bars + 1)
        for tick in self.ticks[1:]:
            cells[self._cell(tick)] = Piece(self.glyphs.grid, "grid")
        halves: dict[int, Bar] = {}
        for each in row.bars:
            first = self._half(each.start)
            last = max(self._half(each.end), first + 1)
            halves.update(dict.fromkeys(range(first, last), each))
        for cell in sorted({half // 2 for half in halves}):
            left, right = halves.get(2 * cell), halves.get(2 * cell + 1)
            # Where two bars meet inside a column, the later one shows its half.
            if (bar := right or left) is not None:
                whole, left_half, right_half = self.glyphs.bars[bar.kind]
                both = left is not None and right is not None and left.kind == right.kind
                glyph = whole if both else right_half if right is not None else left_half
                cells[cell] = Piece(glyph, faded or bar.kind)
        mark = {"won": self.glyphs.won, "failed": self.glyphs.failed, "pending": self.glyphs.pending}
        if halves and row.state in mark:
            cells[max(halves) // 2 + 1] = Piece(mark[row.state], row.state)
        return _merged(cells)

    def _half(self, seconds: float) -> int:
        return min(round(seconds / self.until * self.columns.bars * 2), self.columns.bars * 2 - 1)

    def _cell(self, seconds: float) -> int:
        return min(self._half(seconds) // 2, self.columns.bars - 1)

    def _text(self, text: str, width: int, style: str) -> Piece:
        return Piece(f"{self._cut(text, width):<{width}}", style)

    def _cut(self, text: str, width: int) -> str:
        return cut(text, width, self.glyphs)

    def _note(self, text: str) -> str:
        """Errors read ``what: details``; where there is no room, the details go first."""
        what = text.partition(": ")[0]
        return what if len(text) > self.columns.note >= len(what) else self._cut(text, self.columns.note)

    def _middle(self, text: str, width: int) -> str:
        """An address keeps both its ends: what tells it from its neighbours is often the last of it."""
        if len(text) > width:
            mark = self.glyphs.ellipsis
            tail = (width - len(mark)) // 2
            text = text[: width - len(mark) - tail] + mark + text[len(text) - tail :]
        return f"{text:<{width}}"


def cut(text: str, width: int, glyphs: Glyphs) -> str:
    """Text in at most ``width`` columns."""
    return text if len(text) <= width else text[: max(width - len(glyphs.ellipsis), 0)] + glyphs.ellipsis


def _headline(timeline: Timeline, width: int, glyphs: Glyphs) -> Line:
    title = cut(timeline.title, width, glyphs)
    verdict = cut(timeline.verdict, width - len(title) - 2, glyphs)
    return [Piece(title, "title"), Piece("  "), Piece(verdict, timeline.state)]


def _excluded(excluded: Sequence[LeftOut], columns: _Columns, glyphs: Glyphs) -> Iterator[Line]:
    indent = columns.lane + 2
    for name, reason, _ in excluded:
        text = cut(f"left out: {reason}", columns.total - indent, glyphs)
        name = f"{cut(name, columns.lane, glyphs):<{columns.lane}}"
        yield [Piece(name, "dim"), Piece("  "), Piece(text, "dim")]


def _order(order: Sequence[tuple[str, str]], width: int) -> Iterator[Line]:
    """Who comes before whom, and what ranking saw in each."""
    said = [f"{name} ({reasons})" if reasons else name for name, reasons in order]
    # A PvD and its reasons stay on one line.
    unbroken = ", ".join(text.replace(" ", "\0") for text in said)
    for line in wrap(f"order  {unbroken}", width, subsequent_indent=" " * 7):
        yield [Piece(line.replace("\0", " "), "dim")]


def _legend(timeline: Timeline, glyphs: Glyphs) -> Line:
    """Only what is there to see."""
    line: Line = []
    for kind in KINDS:
        if kind in timeline.kinds:
            line += [Piece(glyphs.bars[kind][0] * 2, kind), Piece(f" {timeline.name_of(kind)}   ", "dim")]
    return line


def _longest(texts: Sequence[str]) -> int:
    return max(map(len, texts), default=0)


def _merged(cells: Sequence[Piece]) -> Iterator[Piece]:
    """Neighbours of one style as one piece."""
    text, style = "", cells[0].style
    for cell in cells:
        if cell.style != style:
            yield Piece(text, style)
            text, style = "", cell.style
        text += cell.text
    yield Piece(text, style)
