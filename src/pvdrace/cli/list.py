"""``pvdrace list``: the PvDs of this host and what is known of each. It sends no packet unless told to."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import click

from .exits import OK, complain
from .options import config_file, config_option, json_option

if TYPE_CHECKING:
    from ..connector import Connector
    from ..model import PvdSet

SCHEMA = "pvdrace.list/1"


@click.command("list")
@json_option
@click.option("--watch", is_flag=True, help="Stay, and show what comes, goes and changes.")
@click.option("--probe", is_flag=True, help="Probe them too, as the configuration says.")
@config_option
def list_(as_json: bool, watch: bool, probe: bool) -> int:
    """The PvDs of this host and what is known of each.

    Nothing is sent: all of it is read from the configuration and the kernel. With --probe PvDs are probed, if
    the configuration says what to ask.

    With --watch a table that stays right, until Ctrl-C; in a pipe the table, and then one line for each
    change. With --watch and --json: one object a line, in which "change" is present, added, withdrawn,
    changed or better.
    """
    import anyio

    if watch:
        anyio.run(_watch, config_file(), as_json, probe)
    else:
        anyio.run(_list, config_file(), as_json, probe)
    return 0


async def _list(config: str | None, as_json: bool, probe: bool) -> None:
    from ..connector import Connector

    connector = Connector(config)
    if probe:
        _warn_of_no_probes(connector)
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


def _warn_of_no_probes(connector: Connector) -> None:
    if not connector.probes:
        from .probe import NOTHING

        complain(NOTHING, OK)


def _print(pvds: PvdSet) -> None:
    from .output import stderr, stdout
    from .tables import NO_PVDS, print_pvds

    if len(pvds):
        print_pvds(pvds, stdout())
    else:
        stderr().print(NO_PVDS)


async def _watch(config: str | None, as_json: bool, probe: bool) -> None:
    from ..connector import Connector
    from .watching import watch

    connector = Connector(config)
    if probe:
        _warn_of_no_probes(connector)
        async with connector:
            await watch(connector, as_json)
    else:  # a connector that is not entered probes nothing
        try:
            await watch(connector, as_json)
        finally:
            connector.close()
