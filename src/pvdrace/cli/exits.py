"""Exit codes, and the one line that goes with each. Nothing that is expected to happen shows a traceback.

==== ===========================================================
0    it worked
1    something else is in the way (the lab, the kernel, a closed pipe)
2    usage or configuration
3    no usable PvD
4    all attempts failed
5    nothing but captive portals
130  interrupted
==== ===========================================================
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click

from ..errors import ConfigurationError, NoUsablePvd, PvdRaceError
from ..model import Reachability
from ..race.events import PvdWithdrawn
from ..reachability import BEHIND_PORTAL

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..model import PvdSet
    from ..race.report import RaceReport

OK = 0
OTHER = 1
USAGE = 2
NO_PVD = 3
FAILED = 4
PORTALS = 5
INTERRUPTED = 130


def guarded(work: Callable[[], object]) -> int:
    """Run a command; what it raises becomes one line on stderr and an exit code."""
    try:
        code = work()
        sys.stdout.flush()
        return code if isinstance(code, int) else OK
    except (KeyboardInterrupt, click.Abort):
        return INTERRUPTED
    except _NoArguments as error:
        sys.stderr.write(f"{error.format_message()}\n")
        return USAGE
    except click.ClickException as error:
        return complain(_usage(error), USAGE)
    except PvdRaceError as error:
        return complain(str(error), exit_code(error))
    except BrokenPipeError:
        # What is still in the buffer has no reader either; let the interpreter's last flush go nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OTHER
    except OSError as error:
        return complain(_of_the_system(error), OTHER)


#: A group without a command; click has it from 8.2 on, and shows help with code 0 before that.
_NoArguments: type[click.UsageError] | tuple[()] = getattr(click.exceptions, "NoArgsIsHelpError", ())


def complain(message: str, code: int) -> int:
    """One line on stderr; returns the code."""
    sys.stderr.write(f"pvdrace: {' '.join(message.split())}\n")
    return code


def exit_code(error: PvdRaceError) -> int:
    """The exit code for an error of the library."""
    if isinstance(error, ConfigurationError):
        return USAGE
    if error.report is not None and only_portals(error.report):
        return PORTALS
    return NO_PVD if isinstance(error, NoUsablePvd) else FAILED


def only_portals(report: RaceReport, pvds: PvdSet | None = None) -> bool:
    """Whether every PvD that could have carried the connection is behind a captive portal.

    So it was known when the race began, or has turned out while it ran; or since then, as ``pvds`` have it.
    """
    left = {
        entry.pvd
        for _, entry in report.log
        if isinstance(entry, PvdWithdrawn) and entry.reason.startswith(BEHIND_PORTAL)
    }
    left |= {pvd.name for pvd in pvds or () if pvd.reachability is Reachability.PORTAL}
    ranked, excluded = ([r.pvd for r in each] for each in report.ranking)
    if ranked:
        return all(pvd.name in left or pvd.reachability is Reachability.PORTAL for pvd in ranked)
    return any(pvd.reachability is Reachability.PORTAL for pvd in excluded)


def _of_the_system(error: OSError) -> str:
    """What went wrong and where, without the number of it."""
    where = f"{error.filename}: " if error.filename is not None else ""
    return f"{where}{error.strerror}" if error.strerror else str(error)


def _usage(error: click.ClickException) -> str:
    message = error.format_message().rstrip(".")
    context = getattr(error, "ctx", None)
    return f"{message} (see '{context.command_path} --help')" if context is not None else message
