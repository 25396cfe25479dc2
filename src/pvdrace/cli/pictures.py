"""``--html FILE`` and its like: a race drawn into files, or onto stdout."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from .exits import OTHER, complain

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ..race.report import RaceReport

    Command = TypeVar("Command", bound=Callable[..., Any])

STDOUT = "-"
#: What can be drawn, and what help says of it.
FORMATS = {
    "html": "Draw a page: waterfall, tables, reasons",
    "svg": "Draw the waterfall as SVG",
    "perfetto": "Write a Chrome trace, for ui.perfetto.dev",
    "sqlog": "Write the log as qlog (JSON-SEQ)",
}


def picture_options(command: Command) -> Command:
    """``--html``, ``--svg``, ``--perfetto`` and ``--sqlog``; give them to `Pictures`."""
    for name in reversed(FORMATS):
        command = click.option(
            f"--{name}", metavar="FILE", callback=_check_file, help=f"{FORMATS[name]}; - for stdout."
        )(command)
    return command


class Pictures:
    """The pictures that were asked for: a file, or ``-``, for each format.

    Two things for stdout are a usage error; ``as_json`` is one of them.
    """

    def __init__(self, files: Mapping[str, str | None], *, as_json: bool = False) -> None:
        self.files = {name: file for name, file in files.items() if file is not None}
        there = [f"--{name} -" for name, file in self.files.items() if file == STDOUT]
        if as_json:
            there.insert(0, "--json")
        if len(there) > 1:
            raise click.UsageError(f"stdout takes one of these: {', '.join(there)}")

    @property
    def take_stdout(self) -> bool:
        """Whether nothing else may be printed there."""
        return STDOUT in self.files.values()

    def draw(self, report: RaceReport) -> int:
        """Draw all of them; what cannot be written costs its line on stderr, and the exit code."""
        code = 0
        for name, file in self.files.items():
            drawn: str = getattr(report, f"to_{name}")()
            if file == STDOUT:
                click.echo(drawn.encode(), nl=False)
                continue
            try:
                Path(file).write_bytes(drawn.encode())
            except OSError as error:
                code = complain(f"--{name} {file}: {error.strerror}", OTHER)
        return code


def print_waterfall(report: RaceReport) -> None:
    """The race as the terminal shows it."""
    from ..telemetry.terminal import draw
    from .output import stdout

    console = stdout()
    console.print(draw(report, console))


def _check_file(_context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """Before anything is raced for: a place where a file can be."""
    if value is None or value == STDOUT:
        return value
    path = Path(value)
    if path.is_dir():
        raise click.UsageError(f"{parameter.opts[0]} {value}: is a directory")
    if not path.absolute().parent.is_dir():
        raise click.UsageError(f"{parameter.opts[0]} {value}: there is no such directory")
    return value
