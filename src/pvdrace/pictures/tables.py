"""The tables of a race's page: who ran, in which order and why; and every lookup and attempt. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .markup import Markup, join, tag
from .timeline import say_seconds
from .words import moment, outcome, position, result, what

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .timeline import Lane, LeftOut, Row, Timeline, Why


def order_table(timeline: Timeline) -> Markup:
    """Every PvD: when it might begin, why it stands there or was left out, and what came of it."""
    names = ("PvD", "May begin", "Why", "Came to")
    rows = [_ran(n, lane, timeline) for n, lane in enumerate(timeline.lanes, 1)]
    rows += [_left_out(left_out) for left_out in timeline.excluded]
    return _table(
        "order", "Who ran, and why", "PvDs in the order of the race, then those left out", names, rows
    )


def steps_table(timeline: Timeline) -> Markup | None:
    """Every lookup, every attempt, every remark, lane by lane."""
    names = ("PvD and step", "Began", "Took", "Of it", "Came to", "Details")
    rows = [_step(lane, row, timeline) for lane in timeline.lanes for row in lane.rows if row.state != "idle"]
    if not rows:
        return None
    caption = "Everything that the picture shows, in the same order"
    return _table("steps", "Lookups and attempts", caption, names, rows)


def _ran(place: int, lane: Lane, timeline: Timeline) -> Markup:
    return tag(
        "tr",
        tag("th", f"{place}. ", tag("bdi", lane.pvd), scope="row", role="rowheader"),
        _cell("May begin", position(lane, timeline.until)),
        _cell("Why", _reasons(lane.because)),
        _cell("Came to", result(lane), "good" if lane.won else None),
        role="row",
    )


def _left_out(left_out: LeftOut) -> Markup:
    return tag(
        "tr",
        tag("th", tag("bdi", left_out.pvd), scope="row", role="rowheader"),
        _cell("May begin", "left out"),
        _cell("Why", _reason(left_out.rule, left_out.reason)),
        _cell("Came to", "not used"),
        role="row",
    )


def _step(lane: Lane, row: Row, timeline: Timeline) -> Markup:
    about = (" ", tag("bdi", what(row))) if what(row) else ()
    began = row.bars[0].start if row.bars else row.at
    parts = ", ".join(f"{timeline.name_of(bar.kind)} {say_seconds(bar.end - bar.start)}" for bar in row.bars)
    details = ", ".join(f"{name} {value}" for name, value in row.facts)
    tone = {"won": "good", "failed": "bad"}.get(row.state)
    return tag(
        "tr",
        tag("th", tag("bdi", lane.pvd), *about, scope="row", role="rowheader"),
        _cell("Began", "" if began is None else moment(began), "number"),
        _cell("Took", "" if row.seconds is None else say_seconds(row.seconds), "number"),
        _cell("Of it", parts if row.kind == "attempt" else ""),
        _cell("Came to", outcome(row), tone),
        _cell("Details", details),
        role="row",
    )


def _reasons(reasons: Sequence[Why]) -> Markup | str:
    if not reasons:
        return "nothing tells it from the others"
    return tag("ul", *(tag("li", _reason(why.rule, why.text)) for why in reasons), class_="plain")


def _reason(rule: str, text: str) -> Markup:
    said = tag("bdi", text)
    return join(said, tag("span", " (rule: ", tag("code", rule), ")", class_="quiet")) if rule else said


def _table(key: str, title: str, caption: str, names: Sequence[str], rows: Sequence[Markup]) -> Markup:
    head = map(_column, names)
    table = tag(
        "table",
        tag("caption", caption),
        tag("thead", tag("tr", *head, role="row"), role="rowgroup"),
        tag("tbody", *rows, role="rowgroup"),
        role="table",
    )
    return tag(
        "section",
        tag("h2", title, id=key),
        tag("div", table, class_="scroll"),
        aria_labelledby=key,
    )


def _column(name: str) -> Markup:
    number = "number" if name in ("Began", "Took") else None
    return tag("th", name, scope="col", class_=number, role="columnheader")


def _cell(name: str, content: str | Markup, class_: str | None = None) -> Markup:
    """A cell; ``name`` stands before it on a phone, where the head of the table has no room."""
    inner = content if isinstance(content, Markup) or not content else tag("bdi", content)
    return tag("td", inner, data_name=name, class_=class_, role="cell") if inner else tag("td", role="cell")
