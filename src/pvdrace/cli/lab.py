"""``pvdrace lab``: a multi-homed host in network namespaces, for any program."""

from __future__ import annotations

import os
from difflib import get_close_matches
from typing import TYPE_CHECKING

import click

from .exits import OTHER, complain

if TYPE_CHECKING:
    from collections.abc import Callable


@click.group()
def lab() -> None:
    """A multi-homed host in a box, and what goes wrong with it.

    Made of network namespaces; as root, or unprivileged where the kernel allows user namespaces. No packet
    leaves them, and all of it is gone afterwards.
    """


@lab.command("list")
def list_() -> None:
    """The scenarios."""
    from ..lab.scenarios import SCENARIOS

    width = max(map(len, SCENARIOS))
    for name, scenario in SCENARIOS.items():
        click.echo(f"{name:<{width}}  {scenario.description}")


@lab.command(
    short_help="Run COMMAND on the host of SCENARIO.", context_settings={"allow_interspersed_args": False}
)
@click.argument("scenario")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def run(scenario: str, command: tuple[str, ...]) -> int:
    """Run COMMAND on the multi-homed host of SCENARIO; the exit code is that of COMMAND.

    \b
      pvdrace lab run eth-blackhole -- curl -m 5 https://www.example.test/
      pvdrace lab run eth-blackhole -- pvdrace connect www.example.test 443 --tls

    In it, resolv.conf and routes are those of the scenario, common programs trust its certificates, and
    PVDRACE_CONFIG names a file with its PvDs.
    """
    from ..lab.run import run_command

    _check(scenario)
    words = command[1:] if command[0] == "--" else command
    if not words:
        raise click.UsageError("Missing argument 'COMMAND...'", click.get_current_context())
    return guarded_by_lab(lambda: run_command(scenario, words))


@lab.command()
@click.argument("scenario")
def shell(scenario: str) -> int:
    """A shell on the multi-homed host of SCENARIO."""
    from ..lab.run import run_command
    from ..lab.scenarios import SCENARIOS

    _check(scenario)
    names = ", ".join(provider.name for provider in SCENARIOS[scenario].providers)
    click.echo(f"{scenario}: {SCENARIOS[scenario].description}", err=True)
    click.echo(f"The links are {names}; try https://www.example.test/; leave with exit.", err=True)
    program = os.environ.get("SHELL") or "/bin/sh"
    return guarded_by_lab(lambda: run_command(scenario, [program]))


def guarded_by_lab(work: Callable[[], int]) -> int:
    """Run something in a lab; where there can be no lab, one line says why."""
    from ..lab import LabError

    try:
        return work()
    except LabError as error:
        return complain(str(error), OTHER)


def _check(scenario: str) -> None:
    from ..lab.scenarios import SCENARIOS

    if scenario not in SCENARIOS:
        near = get_close_matches(scenario, SCENARIOS, 1)
        hint = f"did you mean {near[0]}?" if near else "'pvdrace lab list' shows them all"
        raise click.UsageError(f"no scenario {scenario!r}; {hint}")
