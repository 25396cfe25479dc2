"""A race as one page: HTML that loads nothing, runs nothing, and reads well on a phone and aloud. Pure.

The picture is rows of text with a bar in each, so it takes the width that there is. What it shows on hover
or focus stands in the tables below as well.
"""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256
from typing import TYPE_CHECKING

from .._version import __version__
from .clean import clean, cleaned
from .markup import Markup, join, tag
from .scale import SHORTEST, labels, ticks
from .strokes import ROW, Scale, finish_of, lines, stripes, strokes, waited
from .style import sheet
from .tables import order_table, steps_table
from .timeline import say_seconds
from .words import because, brief, describe, position, result

if TYPE_CHECKING:
    from .timeline import Kind, Lane, LeftOut, Row, Timeline

#: How many steps the scale has at most, and how many labels a phone has room for: of more, every second.
STEPS, FEW = 8, 5
#: In percent of the track: the rest is for what stands behind the last bar.
FULL = 95
#: So many columns of a note stand in its row; all of it is in the tip and in the table.
NOTE = 24


def page(timeline: Timeline, story: str) -> str:
    """The page of a timeline; ``story`` is the race in words, shown as it is."""
    timeline = cleaned(timeline)
    style = sheet()
    digest = b64encode(sha256(style.encode()).digest()).decode("ascii")
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("meta", name="referrer", content="no-referrer"),
        tag("title", f"{timeline.title}: {timeline.verdict}"),
        tag("style", Markup(style)),
    )
    body = tag(
        "body",
        tag("a", "Skip the picture", class_="skip", href="#order"),
        _header(timeline),
        tag("main", _waterfall(timeline), order_table(timeline), steps_table(timeline), _story(story)),
        tag("footer", f"Drawn by pvdrace {__version__}. Times are from the start of the race."),
    )
    return f"<!doctype html>\n{tag('html', head, body, lang='en')}\n"


def _header(timeline: Timeline) -> Markup:
    sign, tone = {"won": ("✓ ", "good"), "lost": ("✗ ", "bad")}.get(timeline.state, ("", "quiet"))
    shown = tag("span", sign, aria_hidden="true") if sign else None
    verdict = tag("p", shown, tag("bdi", timeline.verdict, dir="ltr"), class_=f"verdict {tone}")
    return tag("header", tag("h1", tag("bdi", timeline.title, dir="ltr")), verdict)


def _waterfall(timeline: Timeline) -> Markup:
    until = max(timeline.until, SHORTEST)
    times = ticks(until, STEPS)
    scale = Scale(until, 0, FULL, "%")
    finish = finish_of(timeline)
    lanes = [_lane(lane, timeline, scale, times, finish) for lane in timeline.lanes]
    drawn = (_legend(timeline), _axis(times, scale), tag("ol", *lanes, class_="lanes")) if lanes else ()
    out = [_left_out(left_out) for left_out in timeline.excluded]
    return tag(
        "section",
        tag("h2", "Waterfall", id="waterfall"),
        *drawn,
        tag("ul", *out, class_="out", aria_label="Left out") if out else None,
        aria_labelledby="waterfall",
    )


def _legend(timeline: Timeline) -> Markup:
    """Only what is there to see; and the pattern that the bars refer to."""
    items = [tag("svg", stripes(), width=0, height=0, class_="unseen", aria_hidden="true")]
    shown: tuple[Kind, ...] = ("lookup", "handshake", "ready")
    for kind in shown:
        if kind not in timeline.kinds:
            continue
        thick = 6 if kind == "lookup" else 12
        box = {"y": 6 - thick / 2, "width": 28, "height": thick, "rx": 2}
        drawn = [tag("rect", class_=f"bar {kind}", **box)]
        if kind == "ready":
            drawn.append(tag("rect", class_="stripe", **box))
        items.append(tag("li", tag("svg", *drawn, aria_hidden="true"), timeline.name_of(kind)))
    if any(waited(lane, timeline.until) for lane in timeline.lanes):
        line = tag("line", class_="wait", x1=1, x2=28, y1=6, y2=6)
        items.append(tag("li", tag("svg", line, aria_hidden="true"), "waits for its turn"))
    return join(items[0], tag("ul", *items[1:], class_="legend", aria_label="Legend"))


def _axis(times: list[float], scale: Scale) -> Markup:
    texts = labels(times, scale.until, units=True)
    drawn = []
    for n, (time, text) in enumerate(zip(times, texts, strict=True)):
        minor = "minor" if n % 2 and len(times) > FEW else ""
        place = " ".join(filter(None, (minor, "mid" if n else "")))
        drawn.append(tag("text", text, x=scale.at(time), y=13, class_=place or None))
    return tag("div", tag("svg", *drawn, class_="track"), class_="axis", aria_hidden="true")


def _lane(lane: Lane, timeline: Timeline, scale: Scale, times: list[float], finish: float | None) -> Markup:
    rows = [
        _row(row, timeline, lane if n == 0 else None, scale, times, finish) for n, row in enumerate(lane.rows)
    ]
    came = result(lane) if lane.began is not None else ""  # else its only row says it
    badge = tag("span", f"✓ {came}" if lane.won else came, class_=f"badge {'good' if lane.won else 'quiet'}")
    why = "; ".join(filter(None, (position(lane, timeline.until), because(lane))))
    said = f"{lane.pvd}: {why}"
    head = tag(
        "div",
        tag("h3", tag("bdi", lane.pvd)),
        tag("span", lane.delay, class_="quiet") if lane.delay else None,
        badge if came else None,
        tag("span", said, class_="tip"),
        class_="head",
        role="group",
        aria_label=said,
        tabindex="0",
    )
    return tag("li", head, tag("ul", *rows, class_="rows"), class_="lane")


def _row(
    row: Row, timeline: Timeline, lane: Lane | None, scale: Scale, times: list[float], finish: float | None
) -> Markup:
    said = describe(row, timeline)
    grid = lines(times, scale, 0, ROW, finish)
    tone = {"won": "good", "failed": "bad"}.get(row.state, "quiet" if row.state != "answered" else "")
    took = "" if row.seconds is None else say_seconds(row.seconds)
    picture = tag(
        "div",
        tag("span", tag("bdi", row.label), class_="what address"),
        tag("svg", grid, strokes(row, scale, lane), class_="track", aria_hidden="true"),
        tag("span", took, class_="took"),
        tag("span", tag("bdi", brief(row.note, NOTE)), class_=f"note {tone}".strip()),
        tag("span", said, class_="tip"),
        class_=f"row {row.state}",
        role="img",
        aria_label=said,
        tabindex="0",
    )
    return tag("li", picture)


def _left_out(left_out: LeftOut) -> Markup:
    said = f"{left_out.pvd}: left out by the rule {left_out.rule}, {left_out.reason}"
    shown = tag(
        "div",
        tag("b", tag("bdi", left_out.pvd)),
        " left out: ",
        tag("bdi", left_out.reason),
        tag("span", said, class_="tip"),
        class_="gone",
        role="group",
        aria_label=said,
        tabindex="0",
    )
    return tag("li", shown)


def _story(story: str) -> Markup:
    """The timeline in words; each of its lines is one, whatever an error quotes."""
    text = "\n".join(map(clean, story.split("\n")))
    return tag(
        "section",
        tag("h2", "In words", id="words"),
        tag("pre", text, tabindex="0", aria_labelledby="words", role="region"),
        aria_labelledby="words",
    )
