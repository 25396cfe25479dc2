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

if TYPE_CHECKING:
    from collections.abc import Callable

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
        return complain(str(error), OTHER)


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
    if _only_portals(error):
        return PORTALS
    return NO_PVD if isinstance(error, NoUsablePvd) else FAILED


def _only_portals(error: PvdRaceError) -> bool:
    """Whether every PvD that could have carried the connection is behind a captive portal."""
    if error.report is None:
        return False
    ranking = error.report.ranking
    if ranking.ranked:
        return all(r.pvd.reachability is Reachability.PORTAL for r in ranking.ranked)
    return any(r.excluded is not None and r.excluded.rule == "reachability" for r in ranking.excluded)


def _usage(error: click.ClickException) -> str:
    message = error.format_message().rstrip(".")
    context = getattr(error, "ctx", None)
    return f"{message} (see '{context.command_path} --help')" if context is not None else message
