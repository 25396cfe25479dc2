"""Tables, as a terminal shows them and as a pipe wants them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console
    from rich.table import Table


class Cell(NamedTuple):
    """What stands in one place of a table: lines, and rich's word for their style."""

    lines: tuple[str, ...]
    style: str = ""


def cell(*lines: str, style: str = "") -> Cell:
    """A cell of these lines; empty ones are left out."""
    return Cell(tuple(line for line in lines if line), style)


def stdout() -> Console:
    """The console for data."""
    from ..telemetry.terminal import console_for

    return console_for(sys.stdout)


def stderr() -> Console:
    """The console for progress."""
    from ..telemetry.terminal import console_for

    return console_for(sys.stderr)


def print_table(
    headers: Sequence[str], rows: Sequence[Sequence[Cell]], console: Console, right: Sequence[str] = ()
) -> None:
    """Print a table: on a terminal cells have lines, in a pipe each row is one line.

    ``right`` are the headers of the columns that align there.
    """
    if console.is_terminal:
        console.print(as_table(headers, rows, right), soft_wrap=False)
    else:
        console.out(aligned(headers, rows, right))
        console.file.flush()


def as_table(headers: Sequence[str], rows: Sequence[Sequence[Cell]], right: Sequence[str] = ()) -> Table:
    """A table for a terminal."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for header in headers:
        justify = "right" if header in right else "left"
        table.add_column(header, justify=justify, overflow="fold")  # type: ignore[arg-type]
    for row in rows:
        table.add_row(*(Text("\n".join(c.lines), c.style) for c in row))
    return table


def aligned(
    headers: Sequence[str],
    rows: Sequence[Sequence[Cell]],
    right: Sequence[str] = (),
    least: Sequence[int] = (),
) -> str:
    """A table for programs and for eyes: one line a row, columns two blanks apart, ``-`` for nothing.

    ``least`` are widths of columns, where there were rows before.
    """
    texts = _texts(headers, rows)
    to_right = [header in right for header in headers]
    lines = [
        "  ".join(
            f"{text:>{width}}" if r else f"{text:<{width}}"
            for text, width, r in zip(line, widths(headers, rows, least), to_right, strict=True)
        )
        for line in texts
    ]
    return "\n".join(line.rstrip() for line in lines)


def widths(headers: Sequence[str], rows: Sequence[Sequence[Cell]], least: Sequence[int] = ()) -> list[int]:
    """Those of the columns of `aligned`."""
    columns = zip(least or [0] * len(headers), *_texts(headers, rows), strict=True)
    return [max(most, *map(len, column)) for most, *column in columns]


def _texts(headers: Sequence[str], rows: Sequence[Sequence[Cell]]) -> list[list[str]]:
    return [
        [header.upper() for header in headers],
        *([",".join(cell.lines) or "-" for cell in row] for row in rows),
    ]
