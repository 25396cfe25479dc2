"""``pvdrace show FILE``: a report that was kept, drawn again."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from .pictures import Pictures, picture_options, print_waterfall


@click.command(short_help="Draw the report in FILE, as --json wrote it.")
@click.argument("file", metavar="FILE")
@picture_options
def show(file: str, **files: str | None) -> int:
    """Draw a race from its report in FILE, as ``pvdrace connect --json`` and ``report.to_json()`` write it.

    FILE may be - for stdin. Nothing is sent.
    """
    from ..race.report import RaceReport

    pictures = Pictures(files)
    try:
        text = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        report = RaceReport.from_json(text)
    except OSError as error:
        raise click.UsageError(f"{file}: {error.strerror}") from None
    except ValueError as error:
        raise click.UsageError(f"{file}: {error}") from None
    if not pictures.take_stdout:
        print_waterfall(report)
    return pictures.draw(report)
