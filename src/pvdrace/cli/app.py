"""The program and its commands."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from .._version import __version__
from .connect import connect
from .demo import demo
from .exits import guarded
from .explain import explain
from .history import history
from .lab import lab
from .list import list_
from .options import config_option
from .probe import probe
from .proxy import proxy
from .resolve import resolve
from .show import show
from .top import top

if TYPE_CHECKING:
    from collections.abc import Sequence


class Program(click.Group):
    """A group whose commands return exit codes and whose errors are one line."""

    def invoke(self, ctx: click.Context) -> Any:
        """As click's; guarded here too, where click has not yet dealt with Ctrl-C in its own way."""
        return guarded(lambda: super(Program, self).invoke(ctx))

    def run(self) -> int:
        """Run with the arguments of the process; the exit code."""
        import logging

        if logging.lastResort is not None:  # what prints warnings where nothing else is set up
            logging.lastResort.setFormatter(logging.Formatter("pvdrace: %(message)s"))
        code: int = self.main(prog_name="pvdrace", standalone_mode=False)
        return code

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        *_: Any,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """As click's, but that the errors and exit codes are ours (see `pvdrace.cli.exits`)."""
        code = guarded(lambda: super(Program, self).main(args, prog_name, standalone_mode=False, **extra))
        if standalone_mode:
            sys.exit(code)
        return code


@click.group(
    cls=Program,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="pvdrace", message="%(prog)s %(version)s")
@config_option
def app() -> None:
    """Happy eyeballs across provisioning domains (PvDs): the first working path wins, and says why.

    A SELECTOR names PvDs: pvd:NAME, interface:NAME, type:WORD, group:WORD, cost:WORD, family:ipv4,
    reachability:WORD; a * stands for any text.

    Exit codes: 0 ok, 2 usage or configuration, 3 no usable PvD, 4 all attempts failed,
    5 nothing but captive portals, 1 anything else.
    """


for command in (list_, resolve, connect, show, explain, probe, proxy, history, top, lab, demo):
    app.add_command(command)
