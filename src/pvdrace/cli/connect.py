"""``pvdrace connect HOST PORT``: race once, print the timeline; on a terminal also while it runs."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

import click

from ..model import Reachability
from .exits import PORTALS, complain
from .options import (
    Port,
    config_option,
    configuration_from,
    history_option,
    json_option,
    policy_from,
    policy_options,
    timeout_option,
)
from .pictures import FORMATS, Pictures, picture_options, print_waterfall

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ..config.configuration import Configuration
    from ..connector import Connector
    from ..errors import PvdRaceError
    from ..policy import Policy
    from ..race.report import RaceReport
    from ..telemetry.terminal import LiveRace


@click.command(short_help="Race to HOST and PORT once, print the timeline.")
@click.argument("host")
@click.argument("port", type=Port())
@click.option("--tls", is_flag=True, help="A winner must have done TLS with a certificate that verifies.")
@click.option("--ca-file", metavar="FILE", help="Trust these authorities (PEM) instead of the system's.")
@policy_options
@timeout_option("For the whole race.")
@history_option("Begin with what past connections taught, and learn from this one.")
@json_option
@picture_options
@config_option
def connect(
    host: str,
    port: int,
    tls: bool,
    ca_file: str | None,
    timeout: float | None,
    history: str | None,
    as_json: bool,
    profile: str | None,
    label: str | None,
    **others: Any,
) -> int:
    """Race to HOST on PORT across the PvDs, once, and print the timeline of the race."""
    import anyio

    from ..calls import check_endpoint
    from .describe import absent

    if ca_file and not tls:
        raise click.UsageError("--ca-file is for --tls")
    try:
        check_endpoint(host, port)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    pictures = Pictures({name: others.pop(name) for name in FORMATS}, as_json=as_json)
    context = trust(ca_file) if tls else False
    configuration = configuration_from(profile)
    policy = policy_from(**others)
    seen: list[RaceReport] = []
    try:
        report, failure, portals = anyio.run(
            _connect, host, port, context, configuration, history, policy, label, timeout, seen
        )
    except KeyboardInterrupt:
        for report in seen:  # who interrupts a race wants to see where it hung
            _show(report, as_json, pictures)
        raise
    code = 0 if report is None else _show(report, as_json, pictures)
    if report is not None:
        for line in absent(others, [ranked.pvd for each in report.ranking for ranked in each]):
            complain(line, code)
    if portals:
        return complain(portals, PORTALS)
    if failure is not None:
        raise failure
    return code


def trust(ca_file: str | None) -> ssl.SSLContext:
    """The context of the system's trust store, or of a file of authorities."""
    try:
        return ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        reason = "no certificate in it" if isinstance(error, ssl.SSLError) else error.strerror
        raise click.UsageError(f"--ca-file {ca_file}: {reason}") from None


async def _connect(
    host: str,
    port: int,
    tls: bool | ssl.SSLContext,
    configuration: Configuration | str | None,
    history: str | None,
    policy: Policy | None,
    label: str | None,
    timeout: float | None,
    seen: list[RaceReport],
) -> tuple[RaceReport | None, PvdRaceError | None, str]:
    from ..connector import Connector
    from ..errors import PvdRaceError
    from ..telemetry.live import live_sinks
    from ..telemetry.terminal import LiveRace
    from .output import stderr

    live = LiveRace(stderr(), "tls" if tls else "tcp")
    hooks: list[Callable[[RaceReport], object]] = [seen.append, *live_sinks()]
    async with Connector(configuration, observe=live.observe, hooks=hooks, history=history) as connector:

        async def race() -> tuple[RaceReport | None, PvdRaceError | None]:
            try:
                connection = await connector.open_connection(
                    host, port, tls=tls, policy=policy, label=label, timeout=timeout
                )
            except PvdRaceError as error:
                return error.report, error
            await connection.aclose()
            return connection.report, None

        report, error = await _beside(live, race)
        return report, error, await _portals(connector, error)


async def _portals(connector: Connector, error: PvdRaceError | None) -> str:
    """Where nothing but portals stands in the way: which, in one line; the rest is in the report.

    A race does not wait for probes; who has lost one may.
    """
    from ..reachability import portal_words
    from .exits import only_portals

    if error is None or error.report is None or not connector.probes:
        return ""
    if not only_portals(error.report):
        names = [ranked.pvd.name for ranked in error.report.ranking.ranked]
        here = await connector.snapshot()
        if names := [name for name in names if name in here]:
            await connector.probe(*names)
    pvds = await connector.snapshot()
    held = [f"{pvd.name} is {portal_words(pvd)}" for pvd in pvds if pvd.reachability is Reachability.PORTAL]
    return f"{error.report.endpoint}: {', '.join(held)}" if only_portals(error.report, pvds) else ""


async def _beside(
    live: LiveRace, race: Callable[[], Awaitable[tuple[RaceReport | None, PvdRaceError | None]]]
) -> tuple[RaceReport | None, PvdRaceError | None]:
    """Race, with the live view next to it for as long."""
    import anyio

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(live.show)
        result = await race()
        tasks.cancel_scope.cancel()
    return result


def _show(report: RaceReport, as_json: bool, pictures: Pictures) -> int:
    if as_json:
        click.echo(report.to_json(indent=2))
    elif not pictures.take_stdout:
        print_waterfall(report)
    return pictures.draw(report)
