"""``pvdrace list --watch``: a table that stays right, or a line for each change. Nothing is sent."""

from __future__ import annotations

import json
import time
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import click

from ..model import PvdSet
from .describe import as_json as values
from .describe import differences, differing_keys, what_it_is
from .output import stderr, stdout
from .staying import Picture, is_live, stay
from .tables import NO_PVDS, print_pvds, pvds_table

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from ..connector import Connector
    from ..discovery.diff import PvdChange
    from ..model import ProvisioningDomain

SCHEMA = "pvdrace.change/1"
#: Changes that are remembered below the table.
REMEMBERED = 3
#: Seconds between two looks at the DNS files, which wake nobody.
LOOK = 1.0


async def watch(connector: Connector, as_json: bool) -> None:
    """Show the PvDs of a connector until somebody ends it."""
    console = stdout()
    if as_json:
        await stay(partial(_lines, connector, as_json=True), partial(_look, connector))
    elif not is_live(console):
        await stay(partial(_lines, connector, as_json=False), partial(_look, connector))
    else:
        table = _Table(Picture(console))
        try:
            await stay(partial(table.show, connector), partial(_look, connector), resized=table.draw)
        finally:
            table.picture.leave()


async def _lines(connector: Connector, *, as_json: bool) -> None:
    """The PvDs as they are, and then a line for each change, at once."""
    pvds = await connector.snapshot()
    if as_json:
        for pvd in pvds:
            _print_json("present", pvd, None)
    elif len(pvds):
        print_pvds(pvds, stdout())
    else:
        stderr().print(NO_PVDS)
    async with aclosing(_changes(connector, pvds)) as changes:
        async for change, before in changes:
            if as_json:
                _print_json(change.kind, change.pvd, before)
            else:
                click.echo(_line(change, before))


def _print_json(kind: str, pvd: ProvisioningDomain, before: ProvisioningDomain | None) -> None:
    event: dict[str, Any] = {"schema": SCHEMA, "time": time.time(), "change": kind}
    now = time.monotonic()
    if kind == "changed" and before is not None:
        event["differs"] = differing_keys(before, pvd, now)
    click.echo(json.dumps({**event, "pvd": values(pvd, now)}))


def _line(change: PvdChange, before: ProvisioningDomain | None) -> str:
    """``12:01:02  changed    wifi  state usable -> link down``."""
    said = ""
    if change.kind == "changed" and before is not None:
        said = "; ".join(differences(before, change.pvd)) or "attached anew"
    said = said or what_it_is(change.pvd)
    return f"{time.strftime('%H:%M:%S')}  {change.kind:<9}  {change.pvd.name}  {said}".rstrip()


class _Table:
    """The table, and the last changes below it."""

    def __init__(self, picture: Picture) -> None:
        self.picture = picture
        self.pvds = PvdSet()
        self.told: list[str] = []

    async def show(self, connector: Connector) -> None:
        self.pvds = await connector.snapshot()
        self.draw()
        async with aclosing(_changes(connector, self.pvds)) as changes:
            async for change, before in changes:
                self.told = [*self.told, _line(change, before)][-REMEMBERED:]
                self.pvds = await connector.snapshot()
                self.draw()

    def draw(self) -> None:
        from rich.console import Group
        from rich.text import Text

        table = pvds_table(self.pvds, self.picture.console) if len(self.pvds) else Text(NO_PVDS)
        below = [Text(f"\n{self.told[0]}", "dim", no_wrap=True, overflow="ellipsis")] if self.told else []
        below += [Text(line, "dim", no_wrap=True, overflow="ellipsis") for line in self.told[1:]]
        self.picture.draw(Group(table, *below))


async def _changes(
    connector: Connector, pvds: PvdSet
) -> AsyncGenerator[tuple[PvdChange, ProvisioningDomain | None], None]:
    """Each change, with the PvD as it was before."""
    before = {pvd.name: pvd for pvd in pvds}
    async with aclosing(connector.watch()) as changes:
        async for change in changes:
            yield change, before.get(change.pvd.name)
            if change.kind == "withdrawn":
                before.pop(change.pvd.name, None)
            else:
                before[change.pvd.name] = change.pvd


async def _look(connector: Connector) -> None:
    """What makes no event is seen when somebody looks."""
    while True:
        await anyio.sleep(LOOK)
        await connector.snapshot()
