"""What ``pvdrace top`` shows, as cells, as a picture and as JSON. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..model import Reachability
from ..pictures.timeline import say_seconds
from .describe import REACH_STYLES, cost
from .describe import as_json as pvd_as_json
from .output import Cell, as_table, cell

if TYPE_CHECKING:
    from rich.console import RenderableType

    from ..telemetry.overview import Look, Overview

SCHEMA = "pvdrace.top/1"
#: From so many columns on a terminal shows one line a PvD.
WIDE_ENOUGH = 118
RIGHT = ("rank", "latency", "races", "tries", "won", "failed", "open", "in", "out", "in/s", "out/s")
NOBODY = "no process tells of its races: start one with PVDRACE_LIVE=1"


def headers(latency: bool) -> tuple[str, ...]:
    """The columns where there is room, or a pipe."""
    learnt = ("latency",) if latency else ()
    counts = ("races", "tries", "won", "failed", "open", "in", "out", "in/s", "out/s")
    return ("pvd", "reaches", "rank", "because", *learnt, "cost", *counts)


def row_of(row: Overview, latency: bool) -> list[Cell]:
    """The cells for `headers`."""
    learnt = [_latency(row)] if latency else []
    price = cell(cost(row.pvd) if row.pvd is not None else "")
    stands = [_name(row), _reach(row), _place(row), cell(*row.because)]
    return [*stands, *learnt, price, *_counts(row), *_rates(row)]


def narrow_headers(latency: bool) -> tuple[str, ...]:
    """The columns in 80: what belongs to the name stands below it, and rates below what they add to."""
    learnt = ("latency",) if latency else ()
    return ("pvd", "rank", *learnt, "races", "tries", "won", "failed", "open", "in", "out")


def narrow_row_of(row: Overview, latency: bool) -> list[Cell]:
    """The cells for `narrow_headers`."""
    learnt = [_latency(row)] if latency else []
    name, reach = _name(row), _reach(row)
    price = cost(row.pvd) if row.pvd is not None else ""
    rates = [each.lines for each in _rates(row)]
    *counts, received, sent = _counts(row)
    because = list(row.because)
    if row.place is not None:
        because[:1] = [f"{row.place}. {because[0]}" if because else f"{row.place}."]
    elif row.because == reach.lines:
        because = []
    return [
        cell(*name.lines, *reach.lines, price, style=name.style),
        cell(*because),
        *learnt,
        *counts,
        cell(*received.lines, *rates[0]),
        cell(*sent.lines, *rates[1]),
    ]


def picture_of(look: Look, latency: bool, width: int) -> RenderableType:
    """A table for a terminal of this width, with a line below it."""
    from rich.console import Group
    from rich.text import Text

    right = tuple(set(RIGHT) - {"rank"})
    if width >= WIDE_ENOUGH:
        table = as_table(headers(latency), [row_of(row, latency) for row in look.rows], RIGHT)
    else:
        rows = [narrow_row_of(row, latency) for row in look.rows]
        table = as_table(narrow_headers(latency), rows, right)
    return Group(table, "", Text(f"{summary(look)}; q quits", "dim"))


def summary(look: Look) -> str:
    """How many processes tell, and what of their races."""
    trouble = f"; {look.trouble}" if look.trouble else ""
    if not look.tolds:
        return f"{NOBODY}{trouble}"
    won, lost, cancelled = (
        sum(getattr(told, outcome) for told in look.tolds) for outcome in ("won", "lost", "cancelled")
    )
    number = len({told.pid for told in look.tolds})
    who = "1 process tells" if number == 1 else f"{number} processes tell"
    return f"{who} of {won + lost + cancelled} races: {won} won, {lost} lost, {cancelled} cancelled{trouble}"


def as_json(look: Look, now: float) -> dict[str, Any]:
    """One look as plain values; ``now`` is a reading of the monotonic clock."""
    return {
        "schema": SCHEMA,
        "time": look.time,
        "trouble": look.trouble,
        "processes": [
            {
                "pid": told.pid,
                "since": told.since,
                "last": told.last or None,
                "won": told.won,
                "lost": told.lost,
                "cancelled": told.cancelled,
            }
            for told in look.tolds
        ],
        "pvds": [_row_as_json(row, now) for row in look.rows],
    }


def _row_as_json(row: Overview, now: float) -> dict[str, Any]:
    counts, volume = row.counts, row.volume
    return {
        "name": row.name,
        "rank": row.place,
        "because": list(row.because),
        "latency": row.latency,
        "races": counts.races,
        "attempts": counts.attempts,
        "won": counts.won,
        "failed": counts.failed,
        "cancelled": counts.cancelled,
        "open": volume.open,
        "received": volume.received,
        "sent": volume.sent,
        "receiving": volume.receiving,
        "sending": volume.sending,
        "pvd": None if row.pvd is None else pvd_as_json(row.pvd, now),
    }


def _name(row: Overview) -> Cell:
    return cell(row.name, style="bold" if row.place is not None else "dim")


def _place(row: Overview) -> Cell:
    return cell(str(row.place) if row.place is not None else "")


def _reach(row: Overview) -> Cell:
    if row.pvd is None:
        return cell()
    if row.pvd.unusable is not None:
        return cell(row.pvd.unusable, style="red")
    if row.pvd.reachability is Reachability.UNKNOWN:
        return cell()
    return cell(row.pvd.reachability.value, style=REACH_STYLES[row.pvd.reachability])


def _latency(row: Overview) -> Cell:
    return cell(say_seconds(row.latency) if row.latency is not None else "")


def _counts(row: Overview) -> list[Cell]:
    counts, volume = row.counts, row.volume
    failed = cell(_number(counts.failed), style="red" if counts.failed else "")
    races, tries, won, connections = map(_number, (counts.races, counts.attempts, counts.won, volume.open))
    carried = (_size(volume.received), _size(volume.sent))
    return [cell(races), cell(tries), cell(won), failed, cell(connections), *map(cell, carried)]


def _rates(row: Overview) -> list[Cell]:
    return [cell(f"{_size(rate)}/s" if rate else "") for rate in (row.volume.receiving, row.volume.sending)]


def _number(number: int) -> str:
    return str(number) if number else ""


def _size(number: float) -> str:
    """Bytes in one unit of a thousand; nothing for none."""
    if not number:
        return ""
    value, unit = float(number), "B"
    for bigger in ("kB", "MB", "GB", "TB"):
        if value < 999.5:
            break
        value, unit = value / 1000, bigger
    return f"{value:.0f} {unit}" if unit == "B" or value >= 9.95 else f"{value:.1f} {unit}"
