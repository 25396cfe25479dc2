"""``pvdrace probe``: what each PvD reaches, asked now."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import click

from .exits import OK, USAGE, complain
from .options import config_file, config_option, json_option

if TYPE_CHECKING:
    from ..model import ProvisioningDomain, Reached
    from .output import Cell

SCHEMA = "pvdrace.probe/1"
NOTHING = "nothing to ask: the configuration has no detector, http or https in [probe], and no captive_api"
HEADERS = ("pvd", "family", "reaches", "evidence", "age")

Found = list[tuple["ProvisioningDomain", tuple["Reached", ...]]]


@click.command()
@json_option
@config_option
def probe(as_json: bool) -> int:
    """What each PvD reaches, in each family, and how that is known.

    The configuration says what is asked: [probe], and captive_api of a PvD. Nothing is asked otherwise, nor
    in a PvD that a rule of the configuration prohibits.
    """
    import anyio

    from .output import stderr

    with stderr().status("probing"):  # seen on a terminal only
        found = anyio.run(_probe, config_file())
    if found is None:
        return complain(NOTHING, USAGE)
    if as_json:
        click.echo(json.dumps({"schema": SCHEMA, "pvds": [_as_json(*each) for each in found]}, indent=2))
    else:
        _print(found)
    return OK


async def _probe(config: str | None) -> Found | None:
    from ..connector import Connector

    async with Connector(config) as connector:
        if not connector.probes:
            return None
        reached = await connector.probe()
        return [(pvd, reached.get(pvd.name, ())) for pvd in await connector.snapshot()]


def _print(found: Found) -> None:
    from .output import print_table, stdout

    print_table(HEADERS, [row for each in found for row in _rows(*each)], stdout(), right=("age",))


def _rows(pvd: ProvisioningDomain, reached: tuple[Reached, ...]) -> list[list[Cell]]:
    from ..pictures.timeline import say_seconds
    from .describe import REACH_STYLES, reaches
    from .output import cell

    if not reached:
        why = pvd.unusable or "not asked"
        return [[cell(pvd.name, style="bold"), cell(), cell(), cell(why, style="dim"), cell()]]
    return [
        [
            cell(pvd.name, style="bold"),
            cell(f"IPv{one.family}"),
            cell(reaches(one), style=REACH_STYLES[one.state]),
            cell(one.evidence),
            cell(say_seconds(max(time.monotonic() - one.at, 0.0))),
        ]
        for one in reached
    ]


def _as_json(pvd: ProvisioningDomain, reached: tuple[Reached, ...]) -> dict[str, Any]:
    from .describe import reached_json

    return {
        "name": pvd.name,
        "reachability": pvd.reachability.value,
        "unusable": pvd.unusable,
        "reached": [reached_json(one, time.monotonic()) for one in reached],
    }
