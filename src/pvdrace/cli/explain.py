"""``pvdrace explain HOST PORT``: which PvDs would run, and why. It sends no packet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from .exits import NO_PVD, OK, complain
from .options import (
    Port,
    config_option,
    configuration_from,
    history_option,
    json_option,
    policy_from,
    policy_options,
)

if TYPE_CHECKING:
    from ..config.configuration import Configuration
    from ..model import PvdSet
    from ..policy import Policy
    from ..ranking.explanation import Explanation


@click.command(short_help="Which PvDs would run for HOST and PORT, and why.")
@click.argument("host")
@click.argument("port", type=Port())
@click.option("--tls", is_flag=True, help="For a connection with TLS: times are learnt apart.")
@policy_options
@history_option("Begin with what past connections taught.")
@json_option
@config_option
def explain(
    host: str,
    port: int,
    tls: bool,
    history: str | None,
    as_json: bool,
    profile: str | None,
    label: str | None,
    **preferences: Any,
) -> int:
    """Which PvDs would run for HOST and PORT, in which order, and why.

    Nothing is sent: all of it is read from the configuration, the policies and the kernel.
    """
    import anyio

    from ..calls import check_endpoint
    from .describe import absent

    try:
        check_endpoint(host, port)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    configuration, policy = configuration_from(profile), policy_from(**preferences)
    ready = "tls" if tls else "tcp"
    explanation, pvds = anyio.run(_explain, host, port, configuration, history, policy, label, ready)
    if as_json:
        click.echo(explanation.to_json(indent=2))
    else:
        _print(explanation)
    for line in absent(preferences, list(pvds)):
        complain(line, OK)
    return 0 if explanation.usable else NO_PVD


async def _explain(
    host: str,
    port: int,
    config: Configuration | str | None,
    history: str | None,
    policy: Policy | None,
    label: str | None,
    ready: str,
) -> tuple[Explanation, PvdSet]:
    from ..connector import Connector

    connector = Connector(config, history=history)
    try:  # not as a context manager: that would begin to probe
        explanation = await connector.explain(host, port, policy=policy, label=label, ready=ready)
        return explanation, await connector.snapshot()
    finally:
        connector.close()


def _print(explanation: Explanation) -> None:
    from ..ranking.explanation import HEADERS
    from .output import cell, print_table, stdout

    console = stdout()
    if not console.is_terminal:
        console.out(str(explanation))
        return
    console.print(explanation.heading())
    print_table(HEADERS, [[cell(*lines) for lines in row] for row in explanation.rows()], console)
