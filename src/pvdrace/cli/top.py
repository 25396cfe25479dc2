"""``pvdrace top``: the PvDs, their ranks, and what processes of ours do in them. It sends no packet."""

from __future__ import annotations

import itertools
import json
import os
import time
from functools import partial
from typing import TYPE_CHECKING

import click

from ..telemetry.overview import ORDERS
from .options import Seconds, config_file, config_option, history_option, json_option

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..telemetry.overview import Look
    from .looker import Looker
    from .staying import Picture


@click.command(short_help="The PvDs, and what processes of ours do in them, live.")
@click.option(
    "--interval", metavar="SECONDS", type=Seconds(min=0.1), default=2.0, help="Between looks. Default: 2."
)
@click.option("--count", metavar="N", type=click.IntRange(min=1), help="End after so many looks.")
@click.option("--sort", type=click.Choice(ORDERS), default="rank", help="Default: rank.")
@click.option("--live", metavar="DIRECTORY", help="Where processes tell of their races.")
@history_option("Show what past connections taught, and rank by it.")
@json_option
@config_option
def top(
    interval: float, count: int | None, sort: str, live: str | None, history: str | None, as_json: bool
) -> int:
    """The PvDs of this host: what they reach, how general traffic ranks them and why, and traffic of ours.

    Ours is what processes do that tell of their races: those that run with PVDRACE_LIVE=1 in their
    environment, and those that have a LiveSink. Nothing is sent, and no process is asked.

    On a terminal a table until q or Ctrl-C; in a pipe the rows of each look, with --json one object a line.
    """
    import anyio

    anyio.run(_top, config_file(), history, live, interval, count, sort, as_json)
    return 0


async def _top(
    config: str | None,
    history: str | None,
    live: str | None,
    interval: float,
    count: int | None,
    sort: str,
    as_json: bool,
) -> None:
    from ..connector import Connector
    from ..telemetry.live import live_directory
    from .looker import Looker
    from .output import stdout
    from .staying import Picture, is_live, stay

    connector = Connector(config)  # not entered: it probes nothing
    looker = Looker(connector, live or os.fspath(live_directory()), history, sort)
    latency = history is not None
    console = stdout()
    try:
        if as_json or not is_live(console):
            show = _print_json if as_json else _Lines(latency).show
            await stay(partial(_repeat, looker, show, interval, count))
            return
        screen = _Screen(Picture(console), latency)
        try:
            await stay(partial(screen.run, looker, interval, count), resized=screen.draw)
        finally:
            screen.picture.leave()
    finally:
        connector.close()


async def _repeat(looker: Looker, show: Callable[[Look], object], interval: float, count: int | None) -> None:
    import anyio

    for number in itertools.count(1):
        show(await looker.look())
        if number == count:
            return
        await anyio.sleep(interval)


def _print_json(look: Look) -> None:
    from .top_rows import as_json

    click.echo(json.dumps(as_json(look, time.monotonic())))


class _Lines:
    """A line for each PvD and look, with its time; columns keep their place as far as they can."""

    def __init__(self, latency: bool) -> None:
        self._latency = latency
        self._widths: list[int] = []

    def show(self, look: Look) -> None:
        """Print one look."""
        from .output import aligned, cell, widths
        from .top_rows import RIGHT, headers, row_of

        heads = ("time", *headers(self._latency))
        clock = cell(time.strftime("%H:%M:%S", time.localtime(look.time)))
        rows = [[clock, *row_of(row, self._latency)] for row in look.rows]
        first, self._widths = not self._widths, widths(heads, rows, self._widths)
        lines = aligned(heads, rows, RIGHT, self._widths).splitlines()
        for line in lines if first else lines[1:]:
            click.echo(line)


class _Screen:
    """The table in its place, until q is pressed."""

    def __init__(self, picture: Picture, latency: bool) -> None:
        self.picture = picture
        self._latency = latency
        self._look: Look | None = None

    async def run(self, looker: Looker, interval: float, count: int | None) -> None:
        """Look and show."""
        import anyio

        from .staying import Keys

        with Keys() as keys:
            async with anyio.create_task_group() as tasks:

                async def quit_() -> None:
                    await keys.pressed("q")
                    tasks.cancel_scope.cancel()

                tasks.start_soon(quit_)
                await _repeat(looker, self.show, interval, count)
                tasks.cancel_scope.cancel()

    def show(self, look: Look) -> None:
        """Show another look."""
        self._look = look
        self.draw()

    def draw(self) -> None:
        """Show the last look, as wide as the terminal is."""
        from .top_rows import picture_of

        if self._look is not None:
            self.picture.draw(picture_of(self._look, self._latency, self.picture.console.width))
