"""The table of the PvDs, as wide as there is room."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .describe import NARROW, WIDE, narrow_row, wide_row
from .output import as_table, print_table

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from ..model import PvdSet

NO_PVDS = "no provisioning domains: no interface, and none in the configuration"
WIDE_ENOUGH = 130


def print_pvds(pvds: PvdSet, console: Console) -> None:
    """Print them once."""
    if console.is_terminal:
        console.print(pvds_table(pvds, console), soft_wrap=False)
    else:
        print_table(WIDE, [wide_row(pvd) for pvd in pvds], console, right=("metric",))


def pvds_table(pvds: PvdSet, console: Console) -> Table:
    """For a terminal."""
    if console.width < WIDE_ENOUGH:
        return as_table(NARROW, [narrow_row(pvd) for pvd in pvds])
    return as_table(WIDE, [wide_row(pvd) for pvd in pvds], right=("metric",))
