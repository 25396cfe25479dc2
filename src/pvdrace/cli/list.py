"""``pvdrace list``: the PvDs of this host and what is known of each. It sends no packet unless told to."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import click

from .options import config_file, config_option, json_option

if TYPE_CHECKING:
    from ..model import ProvisioningDomain, PvdSet

SCHEMA = "pvdrace.list/1"
CHANGE_SCHEMA = "pvdrace.change/1"
WIDE_ENOUGH = 130


@click.command("list")
@json_option
@click.option("--watch", is_flag=True, help="Stay, and print a line whenever one comes, goes or changes.")
@click.option("--probe", is_flag=True, help="Probe them first, as the configuration says.")
@config_option
def list_(as_json: bool, watch: bool, probe: bool) -> int:
    """The PvDs of this host and what is known of each.

    Nothing is sent: all of it is read from the configuration and the kernel. With --probe and with --watch
    PvDs are probed, if the configuration says what to ask.

    With --watch and --json: one object a line, in which "change" is present, added, withdrawn, changed or
    better.
    """
    import anyio

    if watch:
        anyio.run(_watch, config_file(), as_json)
    else:
        anyio.run(_list, config_file(), as_json, probe)
    return 0


async def _list(config: str | None, as_json: bool, probe: bool) -> None:
    from ..connector import Connector

    connector = Connector(config)
    if probe:
        async with connector:
            await connector.probe()
            pvds = await connector.snapshot()
    else:  # a connector that is not entered probes nothing
        try:
            pvds = await connector.snapshot()
        finally:
            connector.close()
    if as_json:
        from .describe import as_json as values

        now = time.monotonic()
        click.echo(json.dumps({"schema": SCHEMA, "pvds": [values(pvd, now) for pvd in pvds]}, indent=2))
    else:
        _print(pvds)


def _print(pvds: PvdSet) -> None:
    from .describe import NARROW, WIDE, narrow_row, wide_row
    from .output import print_table, stderr, stdout

    console = stdout()
    if not len(pvds):
        stderr().print("no provisioning domains: no interface, and none in the configuration")
    elif console.is_terminal and console.width < WIDE_ENOUGH:
        print_table(NARROW, [narrow_row(pvd) for pvd in pvds], console)
    else:
        print_table(WIDE, [wide_row(pvd) for pvd in pvds], console, right=("metric",))


async def _watch(config: str | None, as_json: bool) -> None:
    from ..connector import Connector

    async with Connector(config) as connector:
        for pvd in await connector.snapshot():
            _tell("present", pvd, as_json)
        async for change in connector.watch():
            _tell(change.kind, change.pvd, as_json)


def _tell(kind: str, pvd: ProvisioningDomain, as_json: bool) -> None:
    """One line, at once."""
    from .describe import as_json as values
    from .describe import wide_row

    if as_json:
        event: dict[str, Any] = {"schema": CHANGE_SCHEMA, "time": time.time(), "change": kind}
        click.echo(json.dumps({**event, "pvd": values(pvd, time.monotonic())}))
        return
    _, interface, _, addresses, _, _, _, _, state = wide_row(pvd)
    facts = (",".join(cell.lines) for cell in (interface, addresses, state))
    click.echo(f"{time.strftime('%H:%M:%S')}  {kind:<9}  {pvd.name}  " + "  ".join(filter(None, facts)))
