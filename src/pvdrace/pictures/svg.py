"""A race as one drawing, for documents: SVG that needs nothing else, neither fonts nor scripts. Pure.

The same columns as on a terminal: the PvD and its head start, what was asked or dialled, the bars, how long
it took, what came of it. What has no room is cut, and stands in full in the title that a pointer shows.
"""

from __future__ import annotations

from textwrap import wrap
from typing import TYPE_CHECKING, NamedTuple

from .clean import cleaned
from .colours import variables
from .markup import Markup, join, tag
from .scale import SHORTEST, labels, ticks
from .strokes import CSS, ROW, Scale, finish_of, lines, stripes, strokes, waited
from .timeline import Row, say_seconds
from .words import because, brief, columns, cut, cut_middle, describe, position

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .colours import Scheme
    from .timeline import Kind, Lane, Timeline

NARROWEST, WIDEST = 480, 4000
PAD = 20
#: Pixels that a character usually takes: of text (13 px), of names (bold), of addresses, of the title.
#: Fonts differ, and so do characters: what is wider after all is clipped at the end of its column.
TEXT, BOLD, MONO, TITLE = 7.3, 8.3, 7.3, 11.5
TOOK = 62
HEAD = 96  # where the rows begin
STYLE = (
    "text{font:13px system-ui,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif;fill:var(--ink);"
    "white-space:pre;unicode-bidi:isolate}"
    ".title{font-size:18px;font-weight:700}.verdict{font-size:14px;font-weight:600}"
    ".name{font-weight:700}.address{font:12px ui-monospace,Menlo,Consolas,'DejaVu Sans Mono',monospace}"
    ".end{text-anchor:end}.centre{text-anchor:middle}.small{font-size:12px}"
    ".quiet{fill:var(--muted)}.good{fill:var(--won)}.bad{fill:var(--failed)}"
    ".ground{fill:var(--ground)}.band{fill:var(--panel)}.glow{fill:var(--glow)}"
)
_TONE = {"won": "good", "failed": "bad", "cancelled": "quiet", "skipped": "quiet", "idle": "quiet"}


def svg(timeline: Timeline, width: int = 960, scheme: Scheme = "auto") -> str:
    """Draw a timeline, ``width`` pixels wide (480 to 4000); ``scheme``: ``auto`` is the reader's choice."""
    if not NARROWEST <= width <= WIDEST:
        raise ValueError(f"width: {width} is not from {NARROWEST} to {WIDEST} pixels")
    if scheme not in ("auto", "light", "dark"):
        raise ValueError(f"scheme: {scheme!r} is not one of auto, light, dark")
    timeline = cleaned(timeline)
    drawing = _Drawing(timeline, _Columns.fit(timeline, width))
    body = list(drawing.parts())
    size = {"width": width, "height": round(drawing.height)}
    style = f"{variables('svg.pvdrace', scheme)}{STYLE}{CSS}"
    picture = tag(
        "svg",
        tag("title", f"{timeline.title}: {timeline.verdict}", id="pvdrace-title"),
        tag("desc", _describe(timeline), id="pvdrace-desc"),
        tag("style", Markup(style)),
        stripes(),
        drawing.columns.clips(),
        tag("rect", class_="ground", rx=8, **size),
        *body,
        xmlns="http://www.w3.org/2000/svg",
        class_="pvdrace",
        viewBox=f"0 0 {size['width']} {size['height']}",
        role="img",
        aria_labelledby="pvdrace-title pvdrace-desc",
        **size,
    )
    return f"{picture}\n"


class _Columns(NamedTuple):
    """Where each column begins, in pixels, and how many characters have room in it."""

    total: int
    lane: int
    label: int
    note: int
    label_x: float
    left: float
    width: float

    @classmethod
    def fit(cls, timeline: Timeline, total: int) -> _Columns:
        """Give the bars what the texts leave, and the texts no more than they need."""
        rows = [row for lane in timeline.lanes for row in lane.rows]
        names = [text for lane in timeline.lanes for text in (lane.pvd, lane.delay)]
        names += [left_out.pvd for left_out in timeline.excluded]
        lane = min(_longest(names), int(total * 0.17 / BOLD))
        label = min(_longest([row.label for row in rows]), int(total * 0.2 / MONO))
        note = min(_longest([row.note for row in rows]), int(total * 0.2 / TEXT))
        label_x = PAD + lane * BOLD + 16
        left = label_x + label * MONO + 14
        width = total - PAD - note * TEXT - TOOK - 34 - left
        return cls(total, lane, label, note, label_x, left, width)

    @property
    def took_end(self) -> float:
        """Where durations end."""
        return self.left + self.width + 12 + TOOK

    @property
    def inner(self) -> float:
        """What is between the margins."""
        return self.total - 2 * PAD

    def clips(self) -> Markup:
        """What keeps a text in its column, whatever its font: the columns as clipping paths."""
        ends = {
            "lane": (PAD, self.label_x - 4),
            "label": (self.label_x, self.left - 4),
            "note": (self.took_end + 12, self.total - PAD / 2),
            "rest": (self.label_x, self.total - PAD / 2),
            "line": (PAD, self.total - PAD / 2),
        }
        paths = []
        for name, (x, end) in ends.items():
            box = tag("rect", x=x, y=0, width=max(end - x, 0), height="100%")
            paths.append(tag("clipPath", box, id=f"pvdrace-{name}"))
        return tag("defs", *paths)


class _Drawing:
    def __init__(self, timeline: Timeline, columns: _Columns) -> None:
        self.timeline = timeline
        self.columns = columns
        self.scale = Scale(max(timeline.until, SHORTEST), columns.left, columns.width)
        self.finish = finish_of(timeline)
        self.height: float = HEAD

    def parts(self) -> Iterator[Markup]:
        """From top to bottom."""
        yield from self._heading()
        lanes = [self._lane(lane) for lane in self.timeline.lanes]
        if lanes:
            yield from (band for band, _ in lanes)
            yield from self._axis()
            yield from (rows for _, rows in lanes)
        else:
            self.height = HEAD - ROW
        self.height += 10
        for left_out in self.timeline.excluded:
            text = f"left out: {left_out.reason}"
            room = int((self.columns.total - PAD - self.columns.label_x) / TEXT)
            yield tag(
                "g",
                tag("title", f"{left_out.pvd}: {text}"),
                self._text(PAD, cut(left_out.pvd, self.columns.lane), "name quiet", "lane"),
                self._text(self.columns.label_x, cut(text, room), "quiet", "rest"),
            )
            self.height += ROW
        yield from self._order()
        if lanes:
            yield from self._legend()
        self.height += PAD / 2

    def _heading(self) -> Iterator[Markup]:
        timeline, clip = self.timeline, _clip("line")
        tone = {"won": "good", "lost": "bad"}.get(timeline.state, "quiet")
        title = cut(timeline.title, int(self.columns.inner / TITLE))
        verdict = cut(timeline.verdict, int(self.columns.inner / BOLD))
        yield tag("text", title, x=PAD, y=34, class_="title", clip_path=clip)
        yield tag("text", verdict, x=PAD, y=56, class_=f"verdict {tone}", clip_path=clip)

    def _axis(self) -> Iterator[Markup]:
        times = ticks(self.scale.until, self.scale.width / 72)
        for time, label in zip(times, labels(times, self.scale.until), strict=True):
            yield tag("text", label, x=self.scale.at(time), y=HEAD - 9, class_="quiet small centre")
        yield lines(times, self.scale, HEAD - 4, self.height + 4, self.finish)

    def _lane(self, lane: Lane) -> tuple[Markup, Markup]:
        """The ground of one PvD, and its rows; its head start stands below its name."""
        rows = list(lane.rows)
        if lane.delay and len(rows) == 1:
            rows.append(Row("", "idle"))
        top = self.height
        heads = [(lane.pvd, "name good" if lane.won else "name"), (lane.delay, "quiet small")]
        drawn: list[Markup] = []
        for n, row in enumerate(rows):
            head, tone = heads[n] if n < len(heads) else ("", "")
            drawn.append(self._row(row, lane if n == 0 else None))
            if head:
                drawn.append(self._text(PAD, cut(head, self.columns.lane), tone, "lane"))
            self.height += ROW
        self.height += 8
        inner = self.columns.total - PAD
        band = tag(
            "rect", class_="band", x=PAD / 2, y=top - 3, width=inner, height=self.height - top - 2, rx=5
        )
        why = "; ".join(filter(None, (position(lane, self.scale.until), because(lane))))
        title = tag("title", f"{lane.pvd}: {why}")
        return tag("g", title, band), tag("g", title, *drawn)

    def _row(self, row: Row, lane: Lane | None) -> Markup:
        columns, timeline = self.columns, self.timeline
        tone, parts = _TONE.get(row.state, ""), []
        if row.state == "won":
            parts.append(
                tag(
                    "rect",
                    class_="glow",
                    x=columns.label_x - 6,
                    y=self.height,
                    width=columns.total - PAD - columns.label_x + 10,
                    height=ROW - 2,
                    rx=4,
                )
            )
        took = "" if row.seconds is None else say_seconds(row.seconds)
        label = cut_middle(row.label, columns.label)
        parts += [
            self._text(columns.label_x, label, f"address {tone}", "label"),
            strokes(row, self.scale, lane, self.height),
            self._text(columns.took_end, took, "quiet small end"),
            self._text(columns.took_end + 12, brief(row.note, columns.note), tone, "note"),
        ]
        said = describe(row, timeline)
        return tag("g", tag("title", said) if said else None, *parts)

    def _order(self) -> Iterator[Markup]:
        """Who comes before whom, and what ranking saw in each."""
        order = [(cut(name, 40), cut(reasons, 80)) for name, reasons in self.timeline.order]
        if len(order) < 2 and not any(reasons for _, reasons in order):
            return
        said = ", ".join(f"{name} ({reasons})" if reasons else name for name, reasons in order)
        self.height += 6
        for line in wrap(f"order: {said}", int(self.columns.inner / 6.6)):
            yield self._text(PAD, line, "quiet small", "line")
            self.height += ROW - 6

    def _legend(self) -> Iterator[Markup]:
        """Only what is there to see."""
        self.height += 6
        x: float = PAD
        shown: tuple[Kind, ...] = ("lookup", "handshake", "ready")
        for kind in shown:
            if kind in self.timeline.kinds:
                middle, thick = self.height + ROW / 2, 6 if kind == "lookup" else 12
                box = {"x": x, "y": middle - thick / 2, "width": 28, "height": thick, "rx": 2}
                yield tag("rect", class_=f"bar {kind}", **box)
                if kind == "ready":
                    yield tag("rect", class_="stripe", **box)
                name = self.timeline.name_of(kind)
                yield self._text(x + 34, name, "quiet small")
                x += 34 + columns(name) * TEXT + 22
        if any(waited(lane, self.timeline.until) for lane in self.timeline.lanes):
            middle = self.height + ROW / 2
            yield tag("line", class_="wait", x1=x, x2=x + 28, y1=middle, y2=middle)
            yield self._text(x + 36, "waits for its turn", "quiet small")
        self.height += ROW

    def _text(self, x: float, text: str, class_: str, column: str | None = None) -> Markup:
        if not text:
            return join()
        y = self.height + ROW / 2 + 4.5
        return tag("text", text, x=x, y=y, class_=class_ or None, clip_path=column and _clip(column))


def _clip(column: str) -> str:
    return f"url(#pvdrace-{column})"


def _describe(timeline: Timeline) -> str:
    """All of it for those who do not see it."""
    said = []
    for lane in timeline.lanes:
        rows = "; ".join(filter(None, (describe(row, timeline) for row in lane.rows)))
        said.append(f"{lane.pvd}, {position(lane, timeline.until)}: {rows}.")
    said += [f"{left_out.pvd}, left out: {left_out.reason}." for left_out in timeline.excluded]
    return " ".join(said)


def _longest(texts: list[str]) -> int:
    return max(map(columns, texts), default=0)
