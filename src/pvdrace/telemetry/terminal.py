"""The waterfall on a terminal, by rich: colours for the styles, and a view that moves while a race runs."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, TextIO

import anyio
from rich.console import Console
from rich.live import Live
from rich.text import Text

from ..pictures.waterfall import Line, glyphs_for, waterfall
from ..race.lanes import timeline
from ..race.report import RaceReport

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..race.race import Race

#: Seconds between two pictures of a running race.
FRAME = 0.08

#: rich's words for each style that `waterfall` uses.
STYLES = {
    "title": "bold",
    "lane": "bold",
    "winner": "bold green",
    "label": "",
    "axis": "dim",
    "grid": "bright_black",
    "time": "",
    "dim": "dim",
    "lookup": "blue",
    "handshake": "yellow",
    "ready": "cyan",
    "pending": "yellow",
    "running": "yellow",
    "won": "bold green",
    "failed": "red",
    "lost": "bold red",
    "cancelled": "dim",
}


def console_for(file: TextIO) -> Console:
    """A console on this stream: no escape codes where NO_COLOR is set (to anything) or it is no terminal."""
    plain = bool(os.environ.get("NO_COLOR")) or not file.isatty()
    if plain:
        return Console(file=file, color_system=None, highlight=False, soft_wrap=True)
    return Console(file=file, highlight=False, soft_wrap=True)


def draw(report: RaceReport, console: Console, now: float | None = None, *, footnotes: bool = True) -> Text:
    """The waterfall of a report in the width and the characters of this console.

    ``now``: seconds from the start, for a race that still runs.
    """
    lines = waterfall(timeline(report, now), console.width, glyphs_for(console.encoding), footnotes=footnotes)
    return Text("\n").join(map(styled, lines))


def styled(line: Line) -> Text:
    """One line of a waterfall, without blanks at its end."""
    text = Text()
    for piece in line:
        text.append(piece.text, STYLES.get(piece.style, ""))
    text.rstrip()
    return text


class LiveRace:
    """Shows a race while it runs, and leaves nothing behind.

    Give `observe` to the connector, and run `show` beside the race. ``ready`` is what the race will be won
    by, as in `RaceReport`. It draws from the race's own event loop, so nothing it shows is half done. Where
    the console is no terminal it does nothing.
    """

    def __init__(self, console: Console, ready: str, clock: Callable[[], float] = anyio.current_time) -> None:
        self.console = console
        self.ready = ready
        self.clock = clock
        self.race: Race | None = None

    def observe(self, race: Race) -> None:
        """The race to show; it is only read."""
        self.race = race

    async def show(self) -> None:
        """Draw until cancelled."""
        if not self.console.is_terminal or self.console.is_dumb_terminal:
            return
        with Live(console=self.console, auto_refresh=False, transient=True) as live:
            while True:
                await anyio.sleep(FRAME)
                if self.race is not None and self.race.log:
                    report = RaceReport.of(self.race, self.ready)
                    live.update(draw(report, self.console, self.clock() - self.race.started), refresh=True)
